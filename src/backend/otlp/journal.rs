//! The series of a metrics tail, beside its cursor: what was added up, up to which position, and
//! what of that may not have been sent.
//!
//! Always true:
//! - a batch is here before the first of its requests leaves, so that after a crash the very same
//!   points are sent again, and nothing is added up twice
//! - what does not check at the end of the file was never sent; the file ends before it
//!
//! The file is a row of entries: length and CRC32C (4 bytes each, little-endian), then the entry: a
//! batch with its position, requests and series, or the word that its requests were sent.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use super::{
    aggregate::{
        Attributes, Buckets, Data, Distribution, Instance, Metered, MetricKey, Number, Series,
        State,
    },
    exponential::{self, Exponential},
    send::Placed,
};
use crate::{
    backend::{exact, SinkError},
    log::Position,
    model::AttributeMap,
    record::{
        id::{InstanceId, LogId},
        kinds::Aggregation,
    },
    sync::fault::step,
};

/// The file is written anew when it is longer than this and than four times what it would be then.
const LONG: u64 = 4 << 20;
/// Version of the entries; an older one is read or left, a newer one left.
const VERSION: u8 = 1;
const BATCH: u8 = 1;
const SENT: u8 = 2;

/// An open file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Length after the last rewrite.
    base: u64,
    placed: Option<Placed>,
    /// Requests that may not have been sent, last one first.
    outbox: Vec<Vec<u8>>,
    /// What was there before the batch at hand.
    before: Option<Placed>,
}

fn failed(path: &Path, what: &str, error: &io::Error) -> SinkError {
    SinkError::Retry(format!("cannot {what} {}: {error}", path.display()).into())
}

impl Journal {
    /// Opens the file of a tail, and what it says.
    pub(super) fn open(dir: &Path, name: &str) -> Result<(Self, State), SinkError> {
        let folder = dir.join("cursors");
        let path = folder.join(format!("{name}.series"));
        let open = || {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&folder)?;
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|error| failed(&path, "open", &error))?;
        let mut this = Self {
            file,
            bytes: 0,
            base: 0,
            placed: None,
            outbox: Vec::new(),
            before: None,
            path,
        };
        let mut state = State::default();
        let mut rest = bytes.as_slice();
        while let Some((entry, after)) = entry(rest) {
            if this.read(entry, &mut state).is_none() {
                break;
            }
            rest = after;
        }
        this.bytes = (bytes.len() - rest.len()) as u64;
        let cut = this.file.set_len(this.bytes);
        cut.map_err(|error| failed(&this.path, "cut", &error))?;
        this.before = this.placed;
        Ok((this, state))
    }

    fn read(&mut self, entry: &[u8], state: &mut State) -> Option<()> {
        let mut reader = Reader(entry);
        if reader.byte()? != VERSION {
            return None;
        }
        match reader.byte()? {
            SENT => self.outbox.clear(),
            BATCH => {
                let log = LogId(reader.bytes(16)?.try_into().ok()?);
                let position = Position {
                    epoch: reader.number()?,
                    offset: reader.number()?,
                };
                if self.placed.is_some_and(|placed| placed.log != log) {
                    *state = State::default();
                }
                let requests = reader.number()?;
                let mut outbox = Vec::new();
                for _ in 0..requests {
                    outbox.push(reader.blob()?.to_vec());
                }
                outbox.reverse();
                state.absorb(read_state(&mut reader)?);
                self.placed = Some(Placed { log, position });
                self.outbox = outbox;
            }
            _ => return None,
        }
        Some(())
    }

    /// Up to where it goes.
    pub(super) fn placed(&self) -> Option<Placed> {
        self.placed
    }

    /// The next request that may not have been sent.
    pub(super) fn unsent(&self) -> Option<&[u8]> {
        self.outbox.last().map(Vec::as_slice)
    }

    /// It was.
    pub(super) fn next(&mut self) {
        self.outbox.pop();
    }

    /// Keeps a batch that is about to be sent.
    pub(super) fn begin(
        &mut self,
        placed: Placed,
        requests: &[Vec<u8>],
        batch: &State,
    ) -> Result<(), SinkError> {
        self.append(&batch_entry(placed, requests, batch))?;
        self.placed = Some(placed);
        Ok(())
    }

    /// All requests were sent; `state` is what was added up until now.
    pub(super) fn sent(&mut self, state: &State) -> Result<(), SinkError> {
        self.append(&[VERSION, SENT])?;
        self.before = self.placed;
        if self.bytes > LONG && self.bytes > 4 * self.base {
            self.rewrite(state)?;
        }
        Ok(())
    }

    /// The batch at hand was refused: `state` is what was there before it.
    pub(super) fn restore(&mut self, state: &State) -> Result<(), SinkError> {
        if self.placed == self.before {
            return Ok(());
        }
        self.placed = self.before;
        self.rewrite(state)
    }

    fn append(&mut self, entry: &[u8]) -> Result<(), SinkError> {
        let bytes = framed(entry);
        let written = step("journal.append").and_then(|()| self.file.write_all(&bytes));
        if let Err(error) = written {
            // Half an entry must not stand before the next one.
            let _ = self.file.set_len(self.bytes);
            return Err(failed(&self.path, "write", &error));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self, state: &State) -> Result<(), SinkError> {
        let entries = match self.placed {
            Some(placed) => framed(&batch_entry(placed, &[], state)),
            None => Vec::new(),
        };
        let new = self.path.with_extension("series.new");
        let write = || {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&new)?;
            file.set_len(0)?;
            file.write_all(&entries)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        };
        self.file = write().map_err(|error| failed(&self.path, "rewrite", &error))?;
        self.bytes = entries.len() as u64;
        self.base = self.bytes;
        Ok(())
    }
}

fn framed(entry: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entry.len() + 8);
    bytes.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(entry).to_le_bytes());
    bytes.extend_from_slice(entry);
    bytes
}

/// The first entry, if it checks, and what is behind it.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (len, crc) = (word(0)? as usize, word(4)?);
    let entry = bytes.get(8..8usize.checked_add(len)?)?;
    (crc32c::crc32c(entry) == crc).then_some((entry, &bytes[8 + len..]))
}

fn batch_entry(placed: Placed, requests: &[Vec<u8>], batch: &State) -> Vec<u8> {
    let mut out = Writer(vec![VERSION, BATCH]);
    out.0.extend_from_slice(&placed.log.0);
    out.number(placed.position.epoch);
    out.number(placed.position.offset);
    out.number(requests.len() as u64);
    requests.iter().for_each(|request| out.blob(request));
    write_state(&mut out, batch);
    out.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        self.number(value.to_bits());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn value(&mut self, value: Number) {
        match value {
            Number::Int(value) => {
                self.0.push(0);
                self.number(value as u64);
            }
            Number::Double(value) => {
                self.0.push(1);
                self.double(value);
            }
        }
    }

    fn counts(&mut self, counts: &[u64]) {
        self.number(counts.len() as u64);
        counts.iter().for_each(|count| self.number(*count));
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, len: usize) -> Option<&'b [u8]> {
        let bytes = self.0.get(..len)?;
        self.0 = &self.0[len..];
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn double(&mut self) -> Option<f64> {
        self.number().map(f64::from_bits)
    }

    fn blob(&mut self) -> Option<&'b [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.bytes(len)
    }

    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.blob()?).ok()
    }

    fn value(&mut self) -> Option<Number> {
        Some(match self.byte()? {
            0 => Number::Int(self.number()? as i64),
            _ => Number::Double(self.double()?),
        })
    }

    fn counts(&mut self) -> Option<Vec<u64>> {
        let count = self.number()?;
        (0..count).map(|_| self.number()).collect()
    }
}

fn write_state(out: &mut Writer, state: &State) {
    out.number(state.instances.len() as u64);
    for (id, instance) in &state.instances {
        out.0.extend_from_slice(&id.0);
        out.number(instance.start_ns as u64);
        out.number(instance.metrics.len() as u64);
        for (key, metric) in &instance.metrics {
            out.blob(key.name.as_bytes());
            out.blob(key.unit.as_bytes());
            out.0.push(key.aggregation as u8);
            out.0.push(u8::from(metric.lowered));
            out.number(metric.series.len() as u64);
            metric
                .series
                .values()
                .for_each(|series| write_series(out, series));
        }
    }
}

fn read_state(reader: &mut Reader<'_>) -> Option<State> {
    let mut state = State::default();
    for _ in 0..reader.number()? {
        let id = InstanceId(reader.bytes(16)?.try_into().ok()?);
        let mut instance = Instance {
            start_ns: reader.number()? as i64,
            metrics: Default::default(),
        };
        for _ in 0..reader.number()? {
            let key = MetricKey {
                name: reader.text()?.to_owned(),
                unit: reader.text()?.to_owned(),
                aggregation: Aggregation::from_u8(reader.byte()?)?,
            };
            let mut metric = Metered {
                lowered: reader.byte()? != 0,
                ..Metered::default()
            };
            for _ in 0..reader.number()? {
                let series = read_series(reader)?;
                let pairs = series
                    .attributes
                    .iter()
                    .map(|(key, value)| (key.as_str(), value));
                let key = Attributes::new(pairs).into_key();
                metric.series.insert(key, series);
            }
            instance.metrics.insert(key, metric);
        }
        state.instances.insert(id, instance);
    }
    Some(state)
}

fn write_series(out: &mut Writer, series: &Series) {
    let (mut json, mut types) = (String::new(), String::new());
    exact::write_json(&mut json, &series.attributes);
    exact::write_types(&mut types, &series.attributes);
    out.blob(json.as_bytes());
    out.blob(types.as_bytes());
    out.number(series.start_ns as u64);
    out.number(series.time_ns as u64);
    match &series.data {
        Data::Last(value) => {
            out.0.push(0);
            out.value(*value);
        }
        Data::Sum(value) => {
            out.0.push(1);
            out.value(*value);
        }
        Data::Distribution(all) => {
            out.0.push(2);
            out.number(all.count);
            for value in [all.sum, all.min, all.max] {
                out.double(value);
            }
            match &all.buckets {
                Buckets::Explicit(counts) => {
                    out.0.push(0);
                    out.counts(counts);
                }
                Buckets::Exponential(buckets) => {
                    out.0.push(1);
                    out.number(buckets.scale as u64);
                    out.number(buckets.zero);
                    for side in [&buckets.positive, &buckets.negative] {
                        out.number(side.offset as u64);
                        out.counts(&side.counts);
                    }
                }
            }
        }
    }
}

fn read_series(reader: &mut Reader<'_>) -> Option<Series> {
    let json = reader.text()?;
    let attributes: AttributeMap = exact::read(json, reader.text()?)?;
    let start_ns = reader.number()? as i64;
    let time_ns = reader.number()? as i64;
    let data = match reader.byte()? {
        0 => Data::Last(reader.value()?),
        1 => Data::Sum(reader.value()?),
        _ => Data::Distribution(Distribution {
            count: reader.number()?,
            sum: reader.double()?,
            min: reader.double()?,
            max: reader.double()?,
            buckets: match reader.byte()? {
                0 => Buckets::Explicit(reader.counts()?),
                _ => {
                    let (scale, zero) = (reader.number()? as i32, reader.number()?);
                    let mut side = || {
                        Some(exponential::Buckets {
                            offset: reader.number()? as i32,
                            counts: reader.counts()?,
                        })
                    };
                    Buckets::Exponential(Exponential {
                        scale,
                        zero,
                        positive: side()?,
                        negative: side()?,
                    })
                }
            },
        }),
    };
    Some(Series {
        attributes: attributes.as_slice().to_vec(),
        start_ns,
        time_ns,
        data,
        exemplars: Vec::new(),
    })
}
