//! Reading the files of [`left`](super) step by step.

use std::{
    fs::File,
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::PathBuf,
    sync::atomic::{fence, Ordering},
};

use super::{
    super::{
        folder::{self, Folder},
        layout::{at, Identity, HEADER_BYTES, NAMES_BYTES, NAMES_MAGIC, SPAN_WORDS},
        slots::settled,
        spans::OpenSpan,
    },
    LeftInstance, LeftRing,
};
use crate::{
    clock::Anchor,
    record::{
        id::{InstanceId, LogId},
        layout::RecordKind,
        names::FIRST_ID,
        view::{bytes_of, bytes_of_mut},
        Record,
    },
};

/// A file as numbers, all of them bounds-checked by the system call that reads them.
struct Words(File);

impl Words {
    fn bytes(&self, at: usize, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, at as u64)?;
        Ok(bytes)
    }

    fn words(&self, at: usize, words: usize) -> io::Result<Vec<u64>> {
        let mut out = vec![0; words];
        self.0.read_exact_at(bytes_of_mut(&mut out), at as u64)?;
        Ok(out)
    }

    /// One number. It is read until two readings agree: a system call is not bound to copy eight
    /// bytes at once.
    fn number(&self, word: usize) -> io::Result<u64> {
        let read = || Ok::<_, io::Error>(u64::from_le(self.words(word * 8, 1)?[0]));
        let mut last = read()?;
        for _ in 0..64 {
            // SeqCst, here and below: readings happen in this order, on the processor too. What
            // their order means is said where it matters.
            fence(Ordering::SeqCst);
            let next = read()?;
            if next == last {
                break;
            }
            last = next;
        }
        fence(Ordering::SeqCst);
        Ok(last)
    }
}

pub fn instance(log: LogId, instance: InstanceId, folder: Folder) -> LeftInstance {
    let mut left = LeftInstance {
        log,
        instance,
        log_dir: None,
        names: Vec::new(),
        resource: Vec::new(),
        anchor: None,
        last_sign_of_life: None,
        losses: Vec::new(),
        rings: Vec::new(),
        problems: Vec::new(),
        folder,
    };
    if let Err(error) = names(&mut left) {
        left.problems.push(format!("{}: {error}", folder::NAMES));
    }
    let files = left.folder.files().unwrap_or_default();
    for name in files.iter().filter(|name| name.starts_with("ring-")) {
        match ring(&left, name) {
            Ok(ring) => left.rings.push(ring),
            Err(error) => left.problems.push(format!("{name}: {error}")),
        }
    }
    left.rings.sort_by_key(|ring| ring.ring);
    left
}

/// Where the log of an instance lies.
pub fn log_dir(folder: &Folder) -> Option<PathBuf> {
    let file = Words(folder.open_file(folder::NAMES).ok()?);
    path_in(&file).ok()?
}

fn path_in(file: &Words) -> io::Result<Option<PathBuf>> {
    let len = usize::try_from(file.number(at::LOG_PATH)?).unwrap_or(usize::MAX);
    let start = (at::LOG_PATH + 1) * 8;
    if len == 0 || len > HEADER_BYTES - start {
        return Ok(None);
    }
    let path = file.bytes(start, len)?;
    Ok(Some(std::ffi::OsString::from_vec(path).into()))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn names(left: &mut LeftInstance) -> io::Result<()> {
    let file = Words(left.folder.open_file(folder::NAMES)?);
    let head = file.bytes(0, 48)?;
    let ours = head[..8] == *NAMES_MAGIC && head[16..32] == left.log.0;
    if !ours || head[32..48] != left.instance.0 {
        return Err(wrong("not the name table of this instance"));
    }
    left.log_dir = path_in(&file)?;
    left.last_sign_of_life = Some(file.number(at::ALIVE)?).filter(|tick| *tick > 0);
    left.anchor = anchor(&file)?;
    left.losses = losses(&file)?;
    // The number is read before the records that it counts.
    let committed = usize::try_from(file.number(at::COMMITTED)?).unwrap_or(usize::MAX);
    let committed = committed.min(NAMES_BYTES - HEADER_BYTES) / 8;
    let words = file.words(HEADER_BYTES, committed)?;
    let mut rest = &words[..];
    while let [head, len, ..] = *rest {
        let head = u64::from_le(head);
        let (size, kind, id) = (
            head as usize & 0xffff,
            (head >> 16) as u8,
            (head >> 32) as u32,
        );
        let len = u64::from_le(len) as usize & 0xffff_ffff;
        let text = rest.get(2..size).map(bytes_of);
        let text = text.and_then(|text| text.get(..len));
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        match text {
            Some(text) if kind == RecordKind::Name as u8 && id >= FIRST_ID => {
                left.names.push((id, text.to_owned()));
            }
            _ if kind == RecordKind::Resource as u8 && (2..=rest.len()).contains(&size) => {
                left.resource = rest[..size].to_vec();
                if Record::read(bytes_of(&left.resource), 0).is_err() {
                    left.resource.clear();
                    return Err(wrong("the resource record is damaged"));
                }
            }
            _ => return Err(wrong("a name definition is damaged")),
        }
        rest = &rest[size..];
    }
    Ok(())
}

/// The anchor that counts. The other slot may hold half of the next one, also for ever, if the
/// process was killed while it wrote that.
fn anchor(file: &Words) -> io::Result<Option<Anchor>> {
    let found = settled(
        || file.number(at::ANCHOR_GENERATION),
        || file.words(at::ANCHORS * 8, 6),
    )?;
    let (generation, words) = found.ok_or_else(|| wrong("its anchor does not stand still"))?;
    let at = 3 * (generation % 2) as usize;
    let anchor = Anchor {
        tick: u64::from_le(words[at]),
        unix_ns: u64::from_le(words[at + 1]) as i64,
        rate: u64::from_le(words[at + 2]),
    };
    Ok((anchor.rate != 0).then_some(anchor))
}

fn losses(file: &Words) -> io::Result<Vec<(u8, u8, u64)>> {
    let table = file.words(at::LOSSES * 8, 256)?;
    let each = table.iter().enumerate().filter(|(_, total)| **total != 0);
    Ok(each
        .map(|(i, total)| ((i / 16) as u8, (i % 16) as u8, u64::from_le(*total)))
        .collect())
}

fn ring(left: &LeftInstance, name: &str) -> io::Result<LeftRing> {
    let file = left.folder.open_file(name)?;
    let len = file.metadata()?.len();
    let file = Words(file);
    let identity = Identity::decode(&file.bytes(0, Identity::BYTES)?)
        .ok_or_else(|| wrong("not a ring, or of a newer format"))?;
    if identity.log != left.log || identity.instance != left.instance {
        return Err(wrong("a ring of another instance"));
    }
    let shape = identity.shape;
    if len < shape.bytes() as u64 {
        return Err(wrong("shorter than its header says"));
    }
    let lease = file.number(at::LEASE)? as u32;
    let name = file.bytes(at::THREAD_NAME * 8, super::super::layout::THREAD_NAME_BYTES)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut ring = LeftRing {
        ring: identity.ring,
        lease: if lease % 2 == 1 {
            lease
        } else {
            lease.wrapping_sub(1)
        },
        leased: lease % 2 == 1,
        thread: file.number(at::THREAD)?,
        thread_name: String::from_utf8_lossy(name).into_owned(),
        pid: identity.pid,
        anchor: anchor(&file)?,
        losses: losses(&file)?,
        ..LeftRing::default()
    };
    // The table before the records: a span that ends meanwhile is then seen at least once.
    for slot in 0..shape.slots.min(1024) as u16 {
        let at = HEADER_BYTES + usize::from(slot) * SPAN_WORDS * 8;
        if let Some(span) = open_span(&file, at)? {
            ring.open.push((slot, span));
        }
    }
    records(&file, shape.data_at, shape.capacity as u64, &mut ring)?;
    Ok(ring)
}

/// The span in a slot, if two readings in a row agree: a slot never holds the same span twice, so
/// then nothing changed in between.
fn open_span(file: &Words, at: usize) -> io::Result<Option<OpenSpan>> {
    let first = file.words(at, SPAN_WORDS)?;
    fence(Ordering::SeqCst);
    let second = file.words(at, SPAN_WORDS)?;
    let Ok(words) = <[u64; SPAN_WORDS]>::try_from(first) else {
        return Ok(None);
    };
    Ok((words[..] == second[..])
        .then(|| OpenSpan::from_words(&words))
        .flatten())
}

/// Head and the sequence of the record there.
fn head(file: &Words) -> io::Result<(u64, Option<u64>)> {
    let found = settled(|| file.number(at::HEAD), || file.words(at::SLOTS * 8, 4))?;
    let (head, slots) = found.ok_or_else(|| wrong("its head does not stand still"))?;
    let slot = slots.chunks(2).find(|slot| u64::from_le(slot[0]) == head);
    Ok((head, slot.map(|slot| u64::from_le(slot[1]))))
}

fn records(file: &Words, data_at: usize, capacity: u64, ring: &mut LeftRing) -> io::Result<()> {
    // The tail before the head, so that the head is at most one capacity behind it; the data
    // after that; the head again: what it passed meanwhile may have been written over.
    let tail = file.number(at::TAIL)?;
    let (from, _) = head(file)?;
    let waiting = tail.wrapping_sub(from);
    if (from.wrapping_sub(tail) as i64) > 0 {
        // Released since: everything up to that tail is in the log.
        return Ok(());
    }
    if waiting > capacity || tail % 8 != 0 || from % 8 != 0 || tail > 1 << 62 {
        ring.damaged_bytes = waiting.min(capacity);
        return Ok(());
    }
    let start = from & (capacity - 1);
    let until_end = waiting.min(capacity - start);
    let mut words = file.words(data_at + start as usize, (until_end / 8) as usize)?;
    words.extend(file.words(data_at, ((waiting - until_end) / 8) as usize)?);
    fence(Ordering::SeqCst);
    let (head, sequence) = head(file)?;
    if !(from..tail).contains(&head) {
        return Ok(());
    }
    let Some(sequence) = sequence else {
        ring.damaged_bytes = tail - head;
        return Ok(());
    };
    ring.first_sequence = sequence;
    let mut position = head;
    while position < tail {
        let rest = &words[((position - from) / 8) as usize..];
        let size = (u64::from_le(rest[0]) & 0xffff) as usize;
        if size == 0 {
            // The rest of the area was skipped.
            let end = (position | (capacity - 1)) + 1;
            if end >= tail {
                break;
            }
            position = end;
        } else if size <= rest.len() {
            ring.records.extend_from_slice(&rest[..size]);
            ring.count += 1;
            position += size as u64 * 8;
        } else {
            break;
        }
    }
    ring.damaged_bytes = tail - position;
    Ok(())
}
