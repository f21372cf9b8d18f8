//! What a tail calls: rows in, requests out, until all of a batch was taken.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use super::{
    batch::{in_form, At, Encoded, Items},
    encode::Out,
    logs::write_log,
    metrics::Metrics,
    options::{Events, Options},
    pending::Pending,
    resolve::Settings,
    send::{connect, Placed, Send, Taken, Untaken},
    spans::{write_root, write_span, Root},
    Signal,
};
use crate::{
    backend::{BatchRange, Refusals, Row, Sink, SinkError, Throttled},
    log::Position,
    model::{AttributeMap, Event, Origin},
    query::derive,
    record::id::{InstanceId, LogId, RecordId},
    sync::fault::moment,
};

/// Most bytes of memory that one batch leaves to the next.
const MEMORY: usize = 1 << 20;

/// Sends one signal.
pub struct OtlpSink {
    settings: Settings,
    origins: AHashMap<InstanceId, Arc<Origin>>,
    sender: Box<dyn Send>,
    /// Largest request, as far as that is known.
    limit: usize,
    pending: Pending,
    metrics: Metrics,
    /// The batch at hand, while it is not all taken.
    attempt: Option<Attempt>,
    /// Records of a batch that is blamed which were taken before.
    taken: AHashSet<RecordId>,
    refusals: Refusals,
    /// Memory of the batch before, and of the request at hand.
    memory: Vec<u8>,
    body: Vec<u8>,
}

impl std::fmt::Debug for OtlpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpSink")
            .field("name", &self.settings.name)
            .field("place", &self.settings.place)
            .finish_non_exhaustive()
    }
}

/// A batch on its way.
struct Attempt {
    range: BatchRange,
    rows: usize,
    encoded: Encoded,
    /// What was taken.
    at: At,
}

impl OtlpSink {
    /// Opens the sink of one signal. Nothing is sent yet.
    ///
    /// # Errors
    /// The options are wrong, or a file that they name cannot be used.
    pub fn open(signal: Signal, options: &Options) -> Result<Self, SinkError> {
        let settings = options
            .settings()
            .map_err(|e| SinkError::Refused(e.into()))?;
        let of_signal = settings.into_iter().find(|s| s.signal == signal);
        let settings = of_signal
            .ok_or_else(|| SinkError::Refused(format!("{signal} are not to be sent").into()))?;
        Self::of(settings)
    }

    pub(super) fn of(settings: Settings) -> Result<Self, SinkError> {
        let with_events = settings.events != Events::Logs;
        Ok(Self {
            sender: connect(&settings)?,
            limit: settings.max_request_bytes,
            pending: Pending::new(with_events, settings.log_dir.clone()),
            metrics: Metrics::open(&settings)?,
            attempt: None,
            taken: AHashSet::new(),
            refusals: Refusals::default(),
            origins: AHashMap::new(),
            memory: Vec::new(),
            body: Vec::new(),
            settings,
        })
    }

    /// Encodes the rows that make items.
    pub(super) fn encode(&mut self, range: BatchRange, rows: &[Row]) -> Result<Encoded, SinkError> {
        let form = self.settings.form;
        Ok(match self.settings.signal {
            Signal::Traces => in_form!(form, O => self.spans::<O>(rows)),
            Signal::Logs => in_form!(form, O => self.logs::<O>(rows)),
            Signal::Metrics => {
                let (settings, origins) = (&self.settings, &self.origins);
                self.metrics
                    .encode(settings, origins, range, rows, &mut self.refusals)
            }
        })
    }

    fn spans<O: Out>(&mut self, rows: &[Row]) -> Encoded {
        let mut groups = Groups::<O>::new(std::mem::take(&mut self.memory));
        for (at, row) in rows.iter().enumerate() {
            let instance = instance_of(row);
            let origin = self.origins.get(&instance);
            let most = origin.map_or(0, |origin| origin.max_events_per_span);
            self.pending.note(row, most);
            if self.is_taken(row) {
                continue;
            }
            match row {
                Row::Span(span) if span.duration_ns.is_some() => {
                    let (rate, attached) = self.pending.of_span(span, most);
                    groups.push(instance, at, |out| write_span(out, span, attached, rate));
                }
                Row::TraceEnded(ended) => {
                    let (began, attached) = self.pending.of_root(&ended.trace, most);
                    let origin = self.origins.get(&instance);
                    let root = Root {
                        ended: &ended.trace,
                        began,
                        custom: origin.map_or(&[], |origin| origin.custom.as_slice()),
                    };
                    groups.push(instance, at, |out| {
                        write_root(out, &root, attached.as_ref())
                    });
                }
                _ => {}
            }
        }
        groups.finish(&self.settings, &self.origins)
    }

    fn logs<O: Out>(&mut self, rows: &[Row]) -> Encoded {
        let mut groups = Groups::<O>::new(std::mem::take(&mut self.memory));
        let all = self.settings.events != Events::SpanEvents;
        for (at, row) in rows.iter().enumerate() {
            if self.is_taken(row) {
                continue;
            }
            let instance = instance_of(row);
            if let Row::Event(event) = row {
                if all || event.trace_id.is_none() {
                    groups.push(instance, at, |out| write_log(out, event, instance));
                }
            } else if let (true, Some(origin)) =
                (self.settings.derived_events, self.origins.get(&instance))
            {
                for event in derived(row, origin) {
                    groups.push(instance, at, |out| write_log(out, &event, instance));
                }
            }
        }
        groups.finish(&self.settings, &self.origins)
    }

    fn is_taken(&self, row: &Row) -> bool {
        !self.taken.is_empty() && record_of(row).is_some_and(|id| self.taken.contains(&id))
    }

    /// Sends what is left of the batch.
    fn send(&mut self, rows: &[Row]) -> Result<(), SinkError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let body = &mut self.body;
        while let Some(request) = attempt.encoded.request(attempt.at, self.limit, body) {
            match self.sender.send(body) {
                Ok(taken) => {
                    attempt.at = request.next;
                    note(&mut self.refusals, taken);
                }
                Err(Untaken::TooLarge(_)) if request.items > 1 => {
                    self.limit = body.len() / 2;
                }
                Err(Untaken::TooLarge(text) | Untaken::Content(text)) => {
                    // It comes again in pieces: what was taken must not.
                    self.taken.extend(taken_records(attempt, rows));
                    return Err(SinkError::Content(text.into()));
                }
                Err(Untaken::Retry(text, None)) => return Err(SinkError::Retry(text.into())),
                Err(Untaken::Retry(text, Some(wait))) => {
                    return Err(SinkError::Retry(Box::new(Throttled {
                        wait,
                        source: text.into(),
                    })));
                }
                Err(Untaken::Refused(text)) => return Err(SinkError::Refused(text.into())),
            }
        }
        Ok(())
    }
}

/// The records of a batch that were taken.
fn taken_records<'a>(attempt: &'a Attempt, rows: &'a [Row]) -> impl Iterator<Item = RecordId> + 'a {
    let before = attempt.encoded.rows_before(attempt.at);
    before.filter_map(|row| record_of(rows.get(row)?))
}

fn note(refusals: &mut Refusals, taken: Taken) {
    refusals.rows += taken.rejected;
    if taken.rejected > 0 || !taken.message.is_empty() {
        let text = match (taken.rejected, taken.message) {
            (0, message) => message,
            (n, message) => format!("{n} rejected for good: {message}"),
        };
        refusals.reason = Some(text);
    }
}

impl Sink for OtlpSink {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let sent = self.sender.position(log)?;
        let stands = self.metrics.position(log, &mut *self.sender, sent)?;
        for taken in stands.taken {
            note(&mut self.refusals, taken);
        }
        if let (Some(position), true) = (stands.position, stands.position != sent) {
            self.sender.reached(Placed { log, position })?;
        }
        Ok(stands.position.or(sent))
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.origins.insert(origin.instance, origin.clone());
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let same = |attempt: &Attempt| attempt.range == range && attempt.rows == rows.len();
        if !self.attempt.as_ref().is_some_and(same) {
            if let Some(old) = self.attempt.take() {
                // Cut in another way it begins with the same rows; what was taken must not come
                // again.
                self.taken.extend(taken_records(&old, rows));
                self.pending.roll_back();
                self.metrics.roll_back()?;
            }
            let encoded = self.encode(range, rows)?;
            self.metrics.prepare(range, &encoded, self.limit)?;
            self.attempt = Some(Attempt {
                range,
                rows: rows.len(),
                encoded,
                at: At::default(),
            });
        }
        moment("otlp.send");
        let sent = self.send(rows);
        moment("otlp.sent");
        if let Err(error) = sent {
            if let SinkError::Content(_) = error {
                self.attempt = None;
                self.pending.roll_back();
                self.metrics.roll_back()?;
            }
            return Err(error);
        }
        let memory = self.attempt.take();
        self.memory = memory.map_or_else(Vec::new, |done| done.encoded.into_memory());
        // One enormous batch is no reason to keep as much for ever.
        self.memory.shrink_to(MEMORY);
        self.body.shrink_to(MEMORY);
        self.pending.commit();
        self.metrics.commit(range)?;
        moment("otlp.counted");
        self.refusals.rows += std::mem::take(&mut self.pending.lost);
        if range.to != range.from {
            self.taken.clear();
            self.sender.reached(Placed {
                log: range.log,
                position: range.to,
            })?;
        }
        Ok(())
    }

    fn refusals(&mut self) -> Refusals {
        std::mem::take(&mut self.refusals)
    }
}

/// Items by instance, in the order in which instances come.
struct Groups<O> {
    groups: Vec<(InstanceId, Items<O>)>,
    /// The one that the row before went to.
    last: usize,
    /// For the first of them.
    memory: Vec<u8>,
}

impl<O: Out> Groups<O> {
    fn new(memory: Vec<u8>) -> Self {
        Self {
            groups: Vec::new(),
            last: 0,
            memory,
        }
    }

    #[inline]
    fn push(&mut self, instance: InstanceId, row: usize, write: impl FnOnce(&mut O)) {
        if self
            .groups
            .get(self.last)
            .is_none_or(|(known, _)| *known != instance)
        {
            let known = self.groups.iter().position(|(known, _)| *known == instance);
            self.last = known.unwrap_or_else(|| {
                let memory = std::mem::take(&mut self.memory);
                self.groups.push((instance, Items::new(memory)));
                self.groups.len() - 1
            });
        }
        self.groups[self.last].1.push(row, write);
    }

    fn finish(self, settings: &Settings, origins: &AHashMap<InstanceId, Arc<Origin>>) -> Encoded {
        let mut encoded = Encoded::new(settings.signal, settings.form);
        for (instance, items) in self.groups {
            match origins.get(&instance) {
                Some(origin) => encoded.add(origin, &settings.resource, items),
                None => encoded.add(&unknown(instance), &settings.resource, items),
            }
        }
        encoded
    }
}

/// An instance of which nothing was said.
pub(super) fn unknown(instance: InstanceId) -> Origin {
    Origin {
        instance,
        resource: Arc::new(AttributeMap::new()),
        custom: Vec::new(),
        derive_events: false,
        derive_metrics: false,
        max_events_per_span: 0,
    }
}

/// Events that follow from a row.
fn derived(row: &Row, origin: &Origin) -> Vec<Event> {
    let of_trace = |trace, record, implied| match origin.derive_events {
        true => vec![derive::trace_event(trace, record, implied, origin)],
        false => Vec::new(),
    };
    match row {
        Row::Span(span) => derive::events_of_span(span, origin),
        Row::TraceBegan(row) => of_trace(&row.trace, row.record, derive::trace_started()),
        Row::TraceEnded(row) => {
            let implied = derive::trace_ended(row.trace.status);
            of_trace(&row.trace, row.record, implied)
        }
        _ => Vec::new(),
    }
}

fn record_of(row: &Row) -> Option<RecordId> {
    match row {
        Row::TraceBegan(row) => Some(row.record),
        Row::TraceEnded(row) => Some(row.record),
        Row::Span(row) => row.record,
        Row::Event(row) => row.record,
        Row::Metric(row) => row.record,
        Row::Link(row) => row.record,
    }
}

/// Who recorded a row.
pub(super) fn instance_of(row: &Row) -> InstanceId {
    match row {
        Row::TraceBegan(row) => row.trace.instance,
        Row::TraceEnded(row) => row.trace.instance,
        Row::Span(row) => row.instance,
        Row::Event(_) | Row::Metric(_) | Row::Link(_) => {
            record_of(row).map_or(InstanceId([0; 16]), |record| record.instance)
        }
    }
}
