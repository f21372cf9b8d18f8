//! What a power cut leaves of the files that a log wrote.
//!
//! The calls of a log that change files are noted in their order. From the notes up to any moment an
//! image is made as the disk might have it: what was synced, and of the rest each page in any of the
//! states that it had since, with lengths and names that are as old as they like.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        Mutex, MutexGuard, PoisonError,
    },
};

use crate::log::file::Change;

/// Smallest part of a file that a disk writes as a whole.
const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

type File512 = BTreeMap<u64, [u8; SECTOR as usize]>;

/// A change of a file, which its inode names, or of a name.
enum Event {
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    /// At least, or exactly so long.
    Length(u64, u64, bool),
    Zero(u64, u64, u64),
    Sync(u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

struct Recording {
    dir: PathBuf,
    /// Kept open, so that no other file gets one of these inodes.
    files: HashMap<u64, File>,
    events: Vec<Event>,
}

static ON: AtomicBool = AtomicBool::new(false);
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

fn recording() -> MutexGuard<'static, Option<Recording>> {
    RECORDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a change, and notes it if it is one of the log that is looked at.
pub(in crate::log) fn change<R: Done>(change: Change<'_>, run: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return run();
    }
    // Held meanwhile: the notes have the order of what they tell of.
    let mut recording = recording();
    let result = run();
    if let (true, Some(recording)) = (result.done(), &mut *recording) {
        recording.note(change);
    }
    result
}

/// Whether something was done.
pub(in crate::log) trait Done {
    fn done(&self) -> bool;
}

impl Done for () {
    fn done(&self) -> bool {
        true
    }
}

impl<T> Done for io::Result<T> {
    fn done(&self) -> bool {
        self.is_ok()
    }
}

impl Recording {
    fn inode(&self, file: &File) -> Option<u64> {
        let inode = file.metadata().ok()?.ino();
        self.files.contains_key(&inode).then_some(inode)
    }

    fn note(&mut self, change: Change<'_>) {
        let event = match change {
            Change::Create(path) if path.starts_with(&self.dir) => File::open(path).ok().map(|f| {
                let inode = f.metadata().unwrap().ino();
                self.files.insert(inode, f);
                Event::Create(path.into(), inode)
            }),
            Change::Write(file, parts, at) => self
                .inode(file)
                .map(|inode| Event::Write(inode, at, parts.concat())),
            Change::Length(file, length, exact) => self
                .inode(file)
                .map(|inode| Event::Length(inode, length, exact)),
            Change::Zero(file, from, to) => {
                self.inode(file).map(|inode| Event::Zero(inode, from, to))
            }
            Change::Sync(file) => self.inode(file).map(Event::Sync),
            Change::Rename(from, to) if to.starts_with(&self.dir) => {
                Some(Event::Rename(from.into(), to.into()))
            }
            Change::Remove(path) if path.starts_with(&self.dir) => Some(Event::Remove(path.into())),
            Change::SyncDir(path) if path.starts_with(&self.dir) => {
                Some(Event::SyncDir(path.into()))
            }
            _ => None,
        };
        self.events.extend(event);
    }
}

/// Notes everything that `run` does to the log in `dir`. One at a time.
pub(super) fn record(dir: &Path, run: impl FnOnce()) -> Disk {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    *recording() = Some(Recording {
        dir: dir.into(),
        files: HashMap::new(),
        events: Vec::new(),
    });
    ON.store(true, Ordering::Relaxed);
    run();
    ON.store(false, Ordering::Relaxed);
    let Recording { dir, events, .. } = recording().take().unwrap();
    Disk { dir, events }
}

/// Numbers that look random and come again.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below.max(1)
    }
}

/// How old what was not synced is.
#[derive(Clone, Copy)]
enum Age {
    Lost,
    Kept,
    Mixed,
}

impl Age {
    /// Up to which event something counts, that was synced with event `since`.
    fn until(self, since: usize, now: usize, random: &mut Random) -> usize {
        match self {
            Self::Lost => since,
            Self::Kept => now,
            Self::Mixed => match random.below(4) {
                0 => since,
                1 => now,
                _ => since + random.below((now - since) as u64 + 1) as usize,
            },
        }
    }
}

/// The notes of a run.
pub(super) struct Disk {
    dir: PathBuf,
    events: Vec<Event>,
}

impl Disk {
    /// Moments worth a power cut: before and after each sync.
    pub(super) fn moments(&self) -> Vec<usize> {
        let syncs = self.events.iter().enumerate().filter_map(|(i, event)| {
            matches!(event, Event::Sync(_) | Event::SyncDir(_)).then_some(i)
        });
        let mut moments: Vec<usize> = syncs.flat_map(|i| [i, i + 1]).collect();
        moments.dedup();
        moments
    }

    /// How far the watermark vouches for the log at a moment: what its file has durably.
    pub(super) fn vouched(&self, now: usize) -> u64 {
        let mut open: HashMap<u64, u64> = HashMap::new();
        let mut durable = 0;
        for event in &self.events[..now] {
            match event {
                Event::Write(inode, _, bytes) if bytes.starts_with(b"EMBRMARK") => {
                    let offset = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
                    if offset != u64::MAX {
                        open.insert(*inode, offset);
                    }
                }
                Event::Sync(inode) => durable = open.remove(inode).unwrap_or(0).max(durable),
                _ => {}
            }
        }
        durable
    }

    /// Writes into `to` what the disk might have if the power fails before event `now`.
    pub(super) fn image(&self, now: usize, seed: u64, to: &Path) {
        let mut random = Random(seed);
        let data = [Age::Lost, Age::Kept, Age::Mixed, Age::Mixed][random.below(4) as usize];
        let names = [Age::Lost, Age::Kept, Age::Mixed, Age::Mixed][random.below(4) as usize];
        let granule = [SECTOR, PAGE][random.below(2) as usize];
        for sub in ["aside", "cursors"] {
            fs::create_dir_all(to.join(sub)).unwrap();
        }
        for (path, inode) in self.names(now, names, &mut random) {
            let name = path.strip_prefix(&self.dir).unwrap();
            let (sectors, length) = self.content(inode, now, data, granule, &mut random);
            let file = File::create(to.join(name)).unwrap();
            file.set_len(length).unwrap();
            for (sector, bytes) in sectors.range(..length.div_ceil(SECTOR)) {
                let at = sector * SECTOR;
                let end = SECTOR.min(length - at) as usize;
                if bytes[..end].iter().any(|b| *b != 0) {
                    file.write_all_at(&bytes[..end], at).unwrap();
                }
            }
        }
    }

    /// Which name has which file.
    fn names(&self, now: usize, age: Age, random: &mut Random) -> BTreeMap<PathBuf, u64> {
        let mut synced: HashMap<PathBuf, usize> = HashMap::new();
        for (i, event) in self.events[..now].iter().enumerate() {
            if let Event::SyncDir(dir) = event {
                synced.insert(dir.clone(), i);
            }
        }
        // A journal keeps the order of names, other file systems keep each for itself.
        let ordered = random.below(2) == 0;
        let mut until: HashMap<PathBuf, usize> = HashMap::new();
        let mut counts = |path: &Path, i: usize| {
            let dir = path.parent().unwrap();
            let since = synced.get(dir).copied().unwrap_or(0);
            let key = if ordered { dir } else { path };
            i < *until
                .entry(key.into())
                .or_insert_with(|| age.until(since, now, random))
        };
        // Who has which name now, whatever the disk knows of it.
        let mut live: HashMap<PathBuf, u64> = HashMap::new();
        let mut disk = BTreeMap::new();
        for (i, event) in self.events[..now].iter().enumerate() {
            match event {
                Event::Create(path, inode) => {
                    live.insert(path.clone(), *inode);
                    if counts(path, i) {
                        disk.insert(path.clone(), *inode);
                    }
                }
                Event::Rename(from, to) => {
                    let inode = live.remove(from).unwrap();
                    live.insert(to.clone(), inode);
                    if counts(to, i) {
                        disk.insert(to.clone(), inode);
                    }
                    if counts(from, i) {
                        disk.remove(from);
                    }
                }
                Event::Remove(path) => {
                    live.remove(path);
                    if counts(path, i) {
                        disk.remove(path);
                    }
                }
                _ => {}
            }
        }
        disk
    }

    /// The sectors of a file, and its length.
    fn content(
        &self,
        inode: u64,
        now: usize,
        age: Age,
        granule: u64,
        random: &mut Random,
    ) -> (File512, u64) {
        let synced = self.events[..now]
            .iter()
            .rposition(|event| matches!(event, Event::Sync(i) if *i == inode));
        let since = synced.unwrap_or(0);
        let mut until: HashMap<u64, usize> = HashMap::new();
        let length_until = age.until(since, now, random);
        let mut sectors = File512::new();
        let mut length = 0;
        for (i, event) in self.events[..now].iter().enumerate() {
            let (at, bytes) = match event {
                Event::Write(of, at, bytes) if *of == inode => (*at, bytes.as_slice()),
                Event::Length(of, new, exact) if *of == inode => {
                    if i < length_until || i < since {
                        if *exact && *new < length {
                            // What was behind the end is gone, also when the file grows again.
                            let _ = sectors.split_off(&new.div_ceil(SECTOR));
                        }
                        length = if *exact { *new } else { length.max(*new) };
                    }
                    continue;
                }
                Event::Zero(of, from, to) if *of == inode => {
                    let whole = from.div_ceil(SECTOR)..to / SECTOR;
                    sectors.retain(|sector, _| {
                        let due = until
                            .entry(sector * SECTOR / granule)
                            .or_insert_with(|| age.until(since, now, random));
                        !(whole.contains(sector) && (i < since || i < *due))
                    });
                    continue;
                }
                _ => continue,
            };
            let mut done = 0;
            while done < bytes.len() {
                let here = at + done as u64;
                let (sector, offset) = (here / SECTOR, (here % SECTOR) as usize);
                let some = (SECTOR as usize - offset).min(bytes.len() - done);
                let due = until
                    .entry(sector * SECTOR / granule)
                    .or_insert_with(|| age.until(since, now, random));
                if i < since || i < *due {
                    let old = sectors.entry(sector).or_insert([0; SECTOR as usize]);
                    old[offset..offset + some].copy_from_slice(&bytes[done..done + some]);
                }
                done += some;
            }
            if i < since || i < length_until {
                length = length.max(at + bytes.len() as u64);
            }
        }
        (sectors, length)
    }
}
