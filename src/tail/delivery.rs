//! What becomes of a batch: one attempt at giving it to the sink.

use std::{
    collections::HashMap,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use super::{handle::MakeSink, quarantine::Quarantine};
use crate::{
    backend::{BatchRange, Refusals, Row, Secrets, Sink, SinkError},
    log::Position,
    model::Origin,
    record::id::{InstanceId, LogId},
};

/// How an attempt ended, short of success.
#[derive(Debug)]
pub(super) enum Failure {
    /// Worth another try, not before so long has passed.
    Retry(String, Option<Duration>),
    /// Refused; worth another try much later.
    Refused(String),
    /// The sink panicked and is gone.
    Panicked(String),
}

/// Where the sink says that it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// It does not say.
    Unknown,
    /// Here, behind a frame of this instance where it says so.
    At(Position, Option<InstanceId>),
}

/// The sink, opened when it is needed.
pub(super) struct Delivery {
    make: MakeSink,
    sink: Option<Box<dyn Sink>>,
    quarantine: Quarantine,
    secrets: Secrets,
    /// What the sink was told.
    met: HashMap<InstanceId, Arc<Origin>>,
    /// Rows put aside.
    pub(super) quarantined: u64,
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panicked".to_owned())
}

/// The error with its sources, each said once.
fn describe(error: &SinkError) -> String {
    let (SinkError::Retry(inner) | SinkError::Content(inner) | SinkError::Refused(inner)) = error;
    let mut text = inner.to_string();
    let mut source = inner.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

impl Delivery {
    pub(super) fn new(make: MakeSink, quarantine: Quarantine, secrets: Secrets) -> Self {
        Self {
            secrets,
            make,
            sink: None,
            quarantine,
            met: HashMap::new(),
            quarantined: 0,
        }
    }

    /// Whether there is a sink.
    pub(super) fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    /// What the error says, without secrets.
    fn describe(&self, error: &SinkError) -> String {
        self.secrets.hide(&describe(error))
    }

    fn failure(&self, error: &SinkError) -> Failure {
        let text = self.describe(error);
        match error {
            SinkError::Refused(_) => Failure::Refused(text),
            _ => Failure::Retry(text, error.wait()),
        }
    }

    /// Calls the sink, which is opened if need be.
    fn call<R>(
        &mut self,
        with: impl FnOnce(&mut dyn Sink) -> Result<R, SinkError>,
    ) -> Result<Result<R, SinkError>, Failure> {
        let (make, sink) = (&mut self.make, &mut self.sink);
        let attempt = AssertUnwindSafe(|| {
            if sink.is_none() {
                *sink = Some(make()?);
            }
            match sink {
                Some(sink) => with(sink.as_mut()),
                None => unreachable!("it was just made"),
            }
        });
        catch_unwind(attempt).map_err(|panic| {
            self.abandon();
            Failure::Panicked(self.secrets.hide(&message(&*panic)))
        })
    }

    /// Drops the sink, which may panic once more.
    pub(super) fn abandon(&mut self) {
        self.met.clear();
        let sink = self.sink.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
    }

    /// Opens the sink and asks it where it stands.
    pub(super) fn stands(&mut self, log: LogId) -> Result<Stands, Failure> {
        let ask = |sink: &mut dyn Sink| match sink.position(log)? {
            None => Ok(Stands::Unknown),
            Some(Position::START) => Ok(Stands::At(Position::START, None)),
            Some(position) => Ok(Stands::At(position, sink.position_instance(log)?)),
        };
        let answer = self.call(ask)?;
        answer.map_err(|error| self.failure(&error))
    }

    /// Tells the sink who wrote the rows to come, if that is news.
    fn meet(&mut self, origins: &[Arc<Origin>]) -> Result<(), Failure> {
        for origin in origins {
            let known = self.met.get(&origin.instance);
            if known.is_none_or(|known| !Arc::ptr_eq(known, origin)) {
                self.met.insert(origin.instance, origin.clone());
                let meet = |sink: &mut dyn Sink| {
                    sink.meet(origin);
                    Ok(())
                };
                self.call(meet)?.map_err(|error| self.failure(&error))?;
            }
        }
        Ok(())
    }

    /// Gives rows to the sink, in order; takes away those that were delivered or put aside. A batch
    /// that is blamed goes in smaller and smaller pieces; when it is through, in greater ones. What
    /// was delivered lies in `used` then.
    pub(super) fn deliver(
        &mut self,
        range: BatchRange,
        origins: &[Arc<Origin>],
        rows: &mut Vec<Row>,
        used: &mut Vec<Row>,
    ) -> Result<u64, Failure> {
        self.meet(origins)?;
        let mut delivered = 0;
        let mut piece = rows.len();
        loop {
            piece = piece.min(rows.len());
            // The position moves with the last piece: until then a crash starts all over.
            let to = if piece == rows.len() {
                range.to
            } else {
                range.from
            };
            let part = BatchRange { to, ..range };
            match self.call(|sink| sink.write(part, &rows[..piece]))? {
                Ok(()) => {
                    delivered += piece as u64;
                    match used.is_empty() && piece == rows.len() {
                        true => std::mem::swap(rows, used),
                        false => used.extend(rows.drain(..piece)),
                    }
                    if to == range.to {
                        return Ok(delivered);
                    }
                    piece = piece.saturating_mul(2);
                }
                Err(error @ SinkError::Content(_)) if piece > 0 => {
                    if piece > 1 {
                        piece /= 2;
                        continue;
                    }
                    let why = self.describe(&error);
                    let put = self.quarantine.put(range, &rows[0], &why);
                    put.map_err(|e| Failure::Retry(format!("cannot put a row aside: {e}"), None))?;
                    self.quarantined += 1;
                    rows.remove(0);
                    piece = rows.len().min(2);
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    /// What the sink refused for good since the last call.
    pub(super) fn refusals(&mut self) -> Refusals {
        match self.call(|sink| Ok(sink.refusals())) {
            Ok(Ok(refusals)) => refusals,
            // A panic shows with the next batch.
            _ => Refusals::default(),
        }
    }

    /// Deletes old rows.
    pub(super) fn retain(&mut self, since_ns: i64) -> Result<u64, Failure> {
        self.call(|sink| sink.retain(since_ns))?
            .map_err(|error| self.failure(&error))
    }
}
