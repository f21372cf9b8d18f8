//! Logs written by hand, byte by byte as `docs/format.md` says: any times, any order, any rings.
#![allow(dead_code)] // not every test and bench uses all of it

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use emberlog::log::{Housekeeper, LogDir, Options, Writer};

/// Unix nanosecond of tick 0; a tick is a nanosecond.
pub const BASE_NS: i64 = 1_700_000_000_000_000_000;
/// Rings that a log has.
pub const RINGS: usize = 8;

/// Value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Val<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
}

pub type Attributes<'a> = &'a [(&'a str, Val<'a>)];

/// A log that is being written.
pub struct Log {
    writer: Writer,
    housekeeper: Housekeeper,
    names: HashMap<String, u32>,
    new: Vec<(u32, String)>,
    sequences: [u64; RINGS],
}

/// A record that is being written.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(kind: u8, name: u32) -> Self {
        let mut this = Self(vec![0, 0, kind, 1]);
        this.u32(name);
        this
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn trace(&mut self, id: u128) {
        self.0.extend(id.to_be_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }

    fn done(mut self) -> Vec<u64> {
        self.pad();
        let size = (self.0.len() / 8) as u16;
        self.0[..2].copy_from_slice(&size.to_le_bytes());
        let words = self.0.chunks(8);
        words
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect()
    }
}

/// A span to be written; times in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    pub trace: u128,
    pub id: u64,
    pub parent: u64,
    pub name: &'a str,
    pub start: u64,
    pub length: u64,
    pub kind: u8,
    pub status: u8,
    pub attributes: Attributes<'a>,
}

impl Log {
    pub fn open(dir: &Path, segment_bytes: u64) -> Self {
        let options = Options {
            segment_bytes,
            ..Options::default()
        };
        let (writer, housekeeper) = LogDir::lock(dir, &options).unwrap().start().unwrap();
        let mut this = Self {
            writer,
            housekeeper,
            names: HashMap::new(),
            new: Vec::new(),
            sequences: [0; RINGS],
        };
        this.roll();
        this
    }

    /// Begins a segment.
    pub fn roll(&mut self) {
        let mut anchor = Bytes::new(10, 0);
        anchor.u64(0);
        anchor.u64(BASE_NS as u64);
        anchor.u64(1 << 32);
        anchor.u64(1);
        let mut resource = Bytes::new(9, 0);
        resource.u32(3);
        resource.u32(0);
        resource.u32(1);
        resource.u32(100);
        resource.u64(0);
        let mut prologue = [anchor.done(), resource.done()].concat();
        for (text, id) in &self.names {
            prologue.extend(name_record(*id, text));
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        self.writer.roll(&prologue, deadline).unwrap();
    }

    fn name(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(id) = self.names.get(text) {
            return *id;
        }
        let id = 256 + self.names.len() as u32;
        self.names.insert(text.to_owned(), id);
        self.new.push((id, text.to_owned()));
        id
    }

    /// Appends `count` records as one frame of a ring, behind the names that are new.
    pub fn frame(&mut self, ring: usize, count: u64, words: &[u64]) {
        let names: Vec<u64> = self
            .new
            .drain(..)
            .flat_map(|(id, text)| name_record(id, &text))
            .collect();
        if !names.is_empty() {
            self.writer.append_own(&names).unwrap();
        }
        let first = self.sequences[ring];
        if self.writer.append(ring as u32, 0, first, words).is_err() {
            self.roll();
            self.writer.append(ring as u32, 0, first, words).unwrap();
        }
        self.sequences[ring] += count;
    }

    pub fn commit(&mut self) {
        self.writer.commit().unwrap();
    }

    pub fn close(mut self) {
        self.commit();
        self.writer.close().unwrap();
        self.housekeeper.stop().unwrap();
    }

    fn attributes(&mut self, bytes: &mut Bytes, attributes: Attributes<'_>) {
        for (key, value) in attributes {
            let key = self.name(key);
            bytes.u32(key);
            let (kind, value) = match value {
                Val::Text(text) => (5, text.as_bytes().to_vec()),
                Val::Int(v) => (2, v.to_le_bytes().to_vec()),
                Val::Float(v) => (4, v.to_le_bytes().to_vec()),
            };
            bytes.u8(kind);
            bytes.0.extend(&(value.len() as u32).to_le_bytes()[..3]);
            bytes.0.extend(value);
            bytes.pad();
        }
    }

    pub fn trace_start(
        &mut self,
        name: &str,
        trace: u128,
        tick: u64,
        threshold: u64,
        attributes: Attributes<'_>,
    ) -> Vec<u64> {
        let name = self.name(name);
        let mut bytes = Bytes::new(1, name);
        bytes.trace(trace);
        bytes.u64(tick);
        bytes.u64(0);
        bytes.u64(threshold);
        bytes.u16(0);
        bytes.u16(attributes.len() as u16);
        bytes.u32(0);
        bytes.u64(0);
        self.attributes(&mut bytes, attributes);
        bytes.done()
    }

    pub fn trace_end(
        &mut self,
        name: &str,
        trace: u128,
        (end, length): (u64, u64),
        status: u8,
        attributes: Attributes<'_>,
    ) -> Vec<u64> {
        let name = self.name(name);
        let mut bytes = Bytes::new(2, name);
        bytes.trace(trace);
        bytes.u64(end);
        bytes.u64(length);
        bytes.u8(status);
        bytes.u8(0);
        bytes.u16(0);
        bytes.u16(attributes.len() as u16);
        bytes.u16(0);
        bytes.u64(0);
        self.attributes(&mut bytes, attributes);
        bytes.done()
    }

    pub fn span(&mut self, span: &Span<'_>) -> Vec<u64> {
        let name = self.name(span.name);
        let mut bytes = Bytes::new(3, name);
        bytes.trace(span.trace);
        bytes.u64(span.id);
        bytes.u64(span.parent);
        bytes.u64(span.start + span.length);
        bytes.u64(span.length);
        bytes.u8(span.kind);
        bytes.u8(span.status);
        bytes.u16(0);
        bytes.u16(span.attributes.len() as u16);
        bytes.u16(0);
        self.attributes(&mut bytes, span.attributes);
        bytes.done()
    }

    /// The start of a span, without its end.
    pub fn span_start(&mut self, span: &Span<'_>) -> Vec<u64> {
        let name = self.name(span.name);
        let mut bytes = Bytes::new(4, name);
        bytes.trace(span.trace);
        bytes.u64(span.id);
        bytes.u64(span.parent);
        bytes.u64(span.start);
        bytes.u8(span.kind);
        bytes.u8(0);
        bytes.u16(0);
        bytes.u16(0);
        bytes.u16(0);
        bytes.done()
    }

    pub fn event(
        &mut self,
        event_type: &str,
        (trace, span): (u128, u64),
        tick: u64,
        attributes: Attributes<'_>,
    ) -> Vec<u64> {
        let event_type = self.name(event_type);
        let mut bytes = Bytes::new(5, event_type);
        bytes.trace(trace);
        bytes.u64(span);
        bytes.u64(tick);
        bytes.u32(event_type);
        bytes.u16(0);
        bytes.u16(attributes.len() as u16);
        bytes.u64(0);
        self.attributes(&mut bytes, attributes);
        bytes.done()
    }

    pub fn metric(
        &mut self,
        (name, unit): (&str, &str),
        value: f64,
        (trace, span): (u128, u64),
        tick: u64,
        attributes: Attributes<'_>,
    ) -> Vec<u64> {
        let (name, unit) = (self.name(name), self.name(unit));
        let mut bytes = Bytes::new(6, name);
        bytes.trace(trace);
        bytes.u64(span);
        bytes.u64(tick);
        bytes.u64(value.to_bits());
        bytes.u32(unit);
        bytes.u8(1);
        bytes.u8(0);
        bytes.u16(0);
        bytes.u16(attributes.len() as u16);
        bytes.u16(0);
        bytes.u32(0);
        self.attributes(&mut bytes, attributes);
        bytes.done()
    }
}

fn name_record(id: u32, text: &str) -> Vec<u64> {
    let mut bytes = Bytes::new(8, id);
    bytes.u32(text.len() as u32);
    bytes.u32(0);
    bytes.0.extend(text.as_bytes());
    bytes.done()
}
