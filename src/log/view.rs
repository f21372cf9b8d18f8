//! One segment as a reader sees it: frozen at the commit mark that it loaded.
//!
//! Always true:
//! - reading never writes, never takes a lock that the writer knows, never passes the mark
//! - a mark counts if it was published since this machine started or lies below the durable
//!   watermark; otherwise the segment ends where its frames stop to check
//! - the checksum of a frame is checked before its first byte is handed out, once per view
//! - an index file that does not check is as good as none: the segment is scanned

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::record::id::TraceId;

use super::{
    checked::Checked,
    error::{FrameError, ReadError},
    file,
    frame::Frame,
    index::{FrameEntry, IndexFile},
    layout::{
        base_of, frame_intact, index_name, Bad, FrameHeader, SegmentHeader, FORMAT_MAJOR,
        HEADER_BYTES,
    },
    map::{FileMap, ReadMap},
    meta::Meta,
    scan::{Damage, SegmentScan},
    walk::trace_hash,
    watermark::UNKNOWN,
    Position,
};

/// A segment of a [`Snapshot`](super::Snapshot).
pub struct SegmentView {
    path: PathBuf,
    header: SegmentHeader,
    map: Arc<ReadMap>,
    /// Bytes of the file that this view covers.
    end: u64,
    sealed: bool,
    /// Offset in the segment below which nothing is a torn tail.
    proven: u64,
    /// What the mark was taken from, if it does not count: mark, state and durable offset.
    doubtful: Option<(u64, bool, u64)>,
    index: OnceLock<Index>,
    /// In place of an index file that turned out to be damaged on use.
    rebuilt: OnceLock<SegmentScan>,
    pub(super) meta: OnceLock<Meta>,
    checked: OnceLock<Checked>,
}

enum Index {
    File(IndexFile<FileMap>),
    Scan(Box<SegmentScan>),
}

impl Index {
    fn entries(&self) -> &[FrameEntry] {
        match self {
            Self::File(file) => &file.entries,
            Self::Scan(scan) => &scan.index.entries,
        }
    }
}

impl fmt::Debug for SegmentView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentView")
            .field("path", &self.path)
            .field("end", &self.end)
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

impl SegmentView {
    /// Opens a segment on its own, all of it taken as durable.
    ///
    /// # Errors
    /// It cannot be read, is damaged in its header, or of a newer format.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::open_until(path, u64::MAX)
    }

    /// Opens a segment of a log that is durable up to the log offset `durable`.
    pub(super) fn open_until(path: &Path, durable: u64) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io {
            path: path.into(),
            source,
        };
        let file = file::open_ro(path).map_err(failed)?;
        let map = ReadMap::open(&file).map_err(failed)?;
        let header = match SegmentHeader::decode(&map.header()) {
            Ok(header) => header,
            Err(Bad::Newer(found)) => {
                return Err(ReadError::NewerFormat {
                    path: path.into(),
                    found,
                    newest: FORMAT_MAJOR,
                })
            }
            Err(Bad::Damaged) => {
                let source = io::Error::new(io::ErrorKind::InvalidData, "the header is damaged");
                return Err(failed(source));
            }
        };
        let name = path.file_name().and_then(|n| n.to_str());
        if name.and_then(|n| base_of(n, ".seg")) != Some(header.base) {
            let source = io::Error::new(io::ErrorKind::InvalidData, "the name belongs to another");
            return Err(failed(source));
        }
        let mut view = Self {
            path: path.into(),
            header,
            map: Arc::new(map),
            end: HEADER_BYTES,
            sealed: false,
            proven: 0,
            doubtful: None,
            index: OnceLock::new(),
            rebuilt: OnceLock::new(),
            meta: OnceLock::new(),
            checked: OnceLock::new(),
        };
        view.capture(durable);
        Ok(view)
    }

    /// Loads state and mark of a log that is durable up to the log offset `durable`.
    fn capture(&mut self, durable: u64) {
        let sealed = self.map.is_sealed();
        let mark = self.map.mark();
        // Without a watermark whatever checks counts, but only the mark says how far to look.
        let known = if durable == UNKNOWN { 0 } else { durable };
        let known = known.saturating_sub(self.header.base);
        let (len, durable) = (self.map.len(), durable.saturating_sub(self.header.base));
        let plausible = mark >= HEADER_BYTES && mark <= len && mark % 8 == 0;
        if plausible && (self.header.is_of_this_boot() || sealed && mark <= durable) {
            self.map.grant(mark);
            (self.end, self.sealed) = (mark, sealed);
            self.proven = durable.max(mark);
            self.doubtful = None;
            return;
        }
        let doubtful = Some((mark, sealed, durable));
        if self.doubtful == doubtful {
            return;
        }
        // What was not synced may be gone although the mark is there, or there without it. An
        // impossible mark is damage. What checks counts.
        let most = if plausible {
            mark.max(known.min(len))
        } else {
            len
        } & !7;
        self.map.grant(most);
        self.proven = durable;
        self.doubtful = doubtful;
        let mut scan = SegmentScan::new(self.header.salt);
        extend(&mut scan, &self.map, most, self.proven);
        self.end = scan.end().min(most);
        self.sealed = sealed && scan.seal.is_some() && self.end == mark;
        self.forget();
        self.index = OnceLock::from(Index::Scan(Box::new(scan)));
    }

    /// Forgets what was learned.
    fn forget(&mut self) {
        self.index = OnceLock::new();
        self.rebuilt = OnceLock::new();
        self.meta = OnceLock::new();
        self.checked = OnceLock::new();
    }

    /// Whether more may come: it is not sealed, or was not when this view was captured.
    pub(super) fn may_grow(&self) -> bool {
        !self.sealed
    }

    /// Whether the file is still the one that was mapped. Only files without frames are ever
    /// replaced.
    pub(super) fn is_replaced(&self) -> bool {
        let head = super::dir::read_head(&self.path);
        !head.is_ok_and(|head| head.header == Ok(self.header))
    }

    /// Captures the segment again, extending what is known about it.
    pub(super) fn refresh(&mut self, durable: u64) {
        let (before, doubted) = (self.end, self.doubtful.is_some());
        self.capture(durable);
        if self.doubtful.is_some() {
            return;
        }
        if self.end < before || doubted {
            // Recovery cut a torn tail: what was learned may be about bytes that are gone.
            self.forget();
            return;
        }
        // More frames need a longer bitmap, from here on; checking them again is cheap.
        self.checked = OnceLock::new();
        if let Some(Index::Scan(scan)) = self.index.get_mut() {
            scan.forget_torn();
            extend(scan, &self.map, self.end, self.proven);
        }
        if let Some(mut meta) = self.meta.take() {
            self.learn(&mut meta);
            let _ = self.meta.set(meta);
        }
    }

    /// A view of the same that can be refreshed while others use this one.
    pub(super) fn duplicate(&self) -> Self {
        // Others may be learning now: what was learned of frames first, then the frames.
        let meta = self.meta.get().cloned();
        let index = match self.index.get() {
            Some(Index::Scan(scan)) => OnceLock::from(Index::Scan(scan.clone())),
            _ => OnceLock::new(),
        };
        Self {
            path: self.path.clone(),
            header: self.header,
            map: self.map.clone(),
            end: self.end,
            sealed: self.sealed,
            proven: self.proven,
            doubtful: self.doubtful,
            index,
            rebuilt: OnceLock::new(),
            meta: meta.map_or_else(OnceLock::new, OnceLock::from),
            checked: OnceLock::new(),
        }
    }

    /// Whose it is and where it lies.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it will never change again.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Its first position.
    pub fn start(&self) -> Position {
        self.at(0)
    }

    /// The position after everything that this view covers.
    pub fn end(&self) -> Position {
        self.at(self.end)
    }

    /// Bytes of frames that this view covers.
    pub fn frame_bytes(&self) -> u64 {
        self.end - HEADER_BYTES
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.end == HEADER_BYTES
    }

    pub(super) fn at(&self, offset: u64) -> Position {
        Position {
            epoch: self.header.epoch,
            offset: self.header.base + offset,
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let file = self.sealed.then(|| self.open_index()).flatten();
            file.map_or_else(|| Index::Scan(Box::new(self.scan())), Index::File)
        })
    }

    fn open_index(&self) -> Option<IndexFile<FileMap>> {
        let file = file::open_ro(&self.path.with_file_name(index_name(self.header.base))).ok()?;
        let map = FileMap::open(&file).ok()?;
        IndexFile::open(map, self.header.salt, self.header.base, self.end)
    }

    /// Reads the whole segment.
    pub(super) fn scan(&self) -> SegmentScan {
        let mut scan = SegmentScan::new(self.header.salt);
        extend(&mut scan, &self.map, self.end, self.proven);
        scan
    }

    /// What the header repeats of the first frame, unchecked.
    pub(super) fn opening(&self) -> Vec<u8> {
        self.map.opening()
    }

    /// The index file that a scan gives.
    pub(super) fn index_bytes(&self) -> Vec<u8> {
        let mut scan = self.scan();
        scan.index
            .encode(self.header.salt, self.header.base, self.end)
    }

    /// Whether the index file is there, intact, and says what a scan says.
    pub fn index_is_right(&self) -> bool {
        let file = self.open_index();
        file.is_some_and(|file| file.bytes() == self.index_bytes())
    }

    /// All frames that check, in order.
    pub fn frames(&self) -> &[FrameEntry] {
        self.index().entries()
    }

    /// What does not check, as far as a scan has seen it: an index file knows nothing of it.
    pub fn damage(&self) -> &[Damage] {
        match self.index() {
            Index::Scan(scan) => &scan.damage,
            Index::File(_) => self.rebuilt.get().map_or(&[], |scan| &scan.damage),
        }
    }

    /// Numbers of the frames that may hold records of this trace, in order. They share a hash
    /// with it; look at the ids.
    pub fn find_trace(&self, trace: TraceId) -> impl Iterator<Item = u32> {
        let hash = trace_hash(trace.as_u128() as u64);
        let frames = match self.index() {
            Index::Scan(scan) => scan.index.find(hash),
            Index::File(file) => file.find(hash).unwrap_or_else(|| {
                let found = self.rebuilt().index.find(hash).into_iter();
                found.filter_map(|frame| self.renumbered(frame)).collect()
            }),
        };
        frames.into_iter()
    }

    fn rebuilt(&self) -> &SegmentScan {
        self.rebuilt.get_or_init(|| self.scan())
    }

    /// The number in [`frames`](Self::frames) of a frame that was found by scanning in place of a
    /// damaged index file: a frame that was damaged since has a number there and none in the scan.
    fn renumbered(&self, scanned: u32) -> Option<u32> {
        let offset = self.rebuilt().index.entries.get(scanned as usize)?.offset;
        let number = self.frames().partition_point(|e| e.offset < offset);
        (self.frames().get(number)?.offset == offset).then_some(number as u32)
    }

    /// Which trace may have records in which frame: the hash of the trace (high half) and the
    /// number of the frame, in no order.
    pub(crate) fn trace_pairs(&self) -> Vec<u64> {
        match self.index() {
            Index::Scan(scan) => scan.index.pairs().to_vec(),
            Index::File(file) => file.pairs().unwrap_or_else(|| {
                let pairs = self.rebuilt().index.pairs().iter();
                let known = pairs.filter_map(|pair| {
                    let frame = self.renumbered(*pair as u32)?;
                    Some(*pair >> 32 << 32 | u64::from(frame))
                });
                known.collect()
            }),
        }
    }

    /// Lets go of the pages of all frames: they are read from the file again when they are needed.
    pub(crate) fn release(&self) {
        self.map.release();
    }

    /// The frame with this number in [`frames`](Self::frames).
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn frame(&self, number: u32) -> Result<Frame<'_>, FrameError> {
        let (header, bytes) = self.checked_frame(number)?;
        let meta = self.meta();
        let anchor = meta
            .anchors
            .get(header.anchor)
            .or_else(|| meta.anchors.near(header.anchor))
            .or(meta.borrowed_anchor.as_ref())
            .copied();
        let position = self.at(u64::from(header.offset));
        let anchor = anchor.ok_or(FrameError::NoAnchor(position))?;
        let instance = self.header.instance;
        Ok(Frame::new(header, bytes, position, instance, anchor))
    }

    pub(super) fn checked_frame(&self, number: u32) -> Result<(FrameHeader, &[u8]), FrameError> {
        let no_such = FrameError::NoSuchFrame(number);
        let entry = self.frames().get(number as usize).ok_or(no_such)?;
        let from = u64::from(entry.offset);
        let damaged = FrameError::Damaged(self.at(from));
        let bytes = self.map.bytes(from, entry.end()).ok_or(damaged)?;
        let header = FrameHeader::decode(bytes, from, entry.end()).ok_or(damaged)?;
        if header.length != entry.length || header.count != entry.count {
            return Err(damaged);
        }
        let checked = self
            .checked
            .get_or_init(|| Checked::new(self.frames().len()));
        if !checked.is(number as usize, || frame_intact(self.header.salt, bytes)) {
            return Err(damaged);
        }
        if !header.is_known() {
            return Err(FrameError::Newer(self.at(from)));
        }
        Ok((header, bytes))
    }
}

fn extend(scan: &mut SegmentScan, mut map: &ReadMap, end: u64, proven: u64) {
    scan.extend(&mut map, end, proven);
}
