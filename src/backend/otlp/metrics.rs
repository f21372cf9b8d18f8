//! Measurements, recorded and derived ones, as OTLP's metrics.

use std::sync::Arc;

use ahash::AHashMap;

use super::{
    aggregate::{
        bounds, Attributes, Buckets, Data, Distribution, Exemplar, Measured, Metered, MetricKey,
        Number, Rules, Series, State,
    },
    batch::{in_form, At, Encoded, Items},
    distribution,
    encode::{
        fields::{exemplar, exponential as exp, histogram, metric, number},
        Field, Out,
    },
    exponential::Buckets as Side,
    journal::Journal,
    options::Temporality,
    resolve::Settings,
    send::{Placed, Send, Taken, Untaken},
    sink::{instance_of, unknown},
    values::{pairs, unix},
    Signal,
};
use crate::{
    backend::{BatchRange, Refusals, Row, SinkError, Throttled},
    log::Position,
    model::{Origin, Span},
    query::derive::{self, failed, IDENTITY, NODE_METRICS},
    record::{
        id::{InstanceId, LogId, SpanId},
        kinds::SpanKind,
        value::Value,
    },
};

/// Points of one metric in one item: an item must fit into a request.
const POINTS: usize = 500;

/// The series of the metrics tail; nothing in the other two.
pub(super) struct Metrics {
    rules: Rules,
    state: State,
    /// What the batch at hand makes of the series that it touches.
    batch: Option<State>,
    journal: Option<Journal>,
    /// Whether what the journal says was said.
    asked: bool,
}

/// Where the metrics stand, by their own word.
#[derive(Default)]
pub(super) struct Stands {
    pub(super) position: Option<Position>,
    pub(super) taken: Vec<Taken>,
}

impl Metrics {
    pub(super) fn open(settings: &Settings) -> Result<Self, SinkError> {
        let (journal, state) = match (&settings.log_dir, settings.signal) {
            (Some(dir), Signal::Metrics) => {
                let (journal, state) = Journal::open(dir, &settings.name)?;
                (Some(journal), state)
            }
            _ => (None, State::default()),
        };
        Ok(Self {
            rules: Rules {
                histograms: settings.histograms,
                temporality: settings.temporality,
                limit: settings.cardinality_limit,
            },
            state,
            batch: None,
            journal,
            asked: false,
        })
    }

    /// Adds up the rows and writes the points that they make.
    pub(super) fn encode(
        &mut self,
        settings: &Settings,
        origins: &AHashMap<InstanceId, Arc<Origin>>,
        range: BatchRange,
        rows: &[Row],
        refusals: &mut Refusals,
    ) -> Encoded {
        if let Some(journal) = &self.journal {
            if journal
                .placed()
                .is_some_and(|placed| placed.log != range.log)
            {
                // The series of another log are not those of this one.
                self.state = State::default();
            }
        }
        let mut batch = State::default();
        for row in rows {
            let instance = instance_of(row);
            let mut add = |measured: &Measured<'_>, attributes: &Attributes<'_>| {
                if !batch.record(&self.state, instance, measured, attributes, &self.rules) {
                    refusals.rows += 1;
                    let text = format!("a measurement of {:?} is no number", measured.name);
                    refusals.reason = Some(text);
                }
            };
            match row {
                Row::Metric(row) => {
                    let no_label =
                        |key: &str| matches!(key, "trace_id" | "span_id" | distribution::KEY);
                    let own = row.attributes.iter().filter(|(key, _)| !no_label(key));
                    add(&Measured::of(row), &Attributes::new(own));
                }
                Row::Span(span) if span.kind == SpanKind::NodeExecution => {
                    let origin = origins.get(&instance).filter(|o| o.derive_metrics);
                    if let (Some(origin), Some(ns)) = (origin, span.duration_ns) {
                        of_node(span, ns, &origin.custom, add);
                    }
                }
                _ => {}
            }
        }
        batch.follow(&self.state, &self.rules);
        let mut encoded = Encoded::new(Signal::Metrics, settings.form);
        for (id, instance) in &batch.instances {
            let origin = origins
                .get(id)
                .cloned()
                .unwrap_or_else(|| Arc::new(unknown(*id)));
            in_form!(settings.form, O => {
                let mut items = Items::<O>::new(Vec::new());
                for (key, metered) in &instance.metrics {
                    let mut series: Vec<_> = metered.series.iter().collect();
                    // In the same order every time.
                    series.sort_unstable_by_key(|(key, _)| *key);
                    for some in series.chunks(POINTS) {
                        let write = |out: &mut O| self.metric(out, key, metered, some);
                        items.push(usize::MAX, write);
                    }
                }
                encoded.add(&origin, &settings.resource, items);
            });
        }
        self.batch = Some(batch);
        encoded
    }

    fn metric<O: Out>(
        &self,
        out: &mut O,
        key: &MetricKey,
        metered: &Metered,
        series: &[(&Vec<u8>, &Series)],
    ) {
        out.text(metric::NAME, &key.name);
        out.text(metric::UNIT, &key.unit);
        let temporality = match self.rules.temporality {
            Temporality::Delta => 1,
            Temporality::Cumulative => 2,
        };
        let kind = series.first().map(|(_, series)| &series.data);
        let field = match kind {
            Some(Data::Sum(_)) => metric::SUM,
            Some(Data::Distribution(all)) => match all.buckets {
                Buckets::Explicit(_) => metric::HISTOGRAM,
                Buckets::Exponential(_) => metric::EXPONENTIAL,
            },
            Some(Data::Last(_)) | None => metric::GAUGE,
        };
        out.message(field, |out| {
            out.list(metric::POINTS, |out| {
                for (_, series) in series {
                    out.item(metric::POINTS, |out| match &series.data {
                        Data::Last(value) => number_point(out, series, *value, None),
                        Data::Sum(value) => {
                            number_point(out, series, *value, Some(series.start_ns))
                        }
                        Data::Distribution(all) => distribution(out, series, all, &key.unit),
                    });
                }
            });
            if !matches!(kind, Some(Data::Last(_)) | None) {
                out.uint32(metric::TEMPORALITY, temporality);
            }
            if let Some(Data::Sum(_)) = kind {
                out.bool(metric::MONOTONIC, !metered.lowered);
            }
        });
    }

    /// Keeps what the batch makes of the series, and its requests, before any of it is sent.
    pub(super) fn prepare(
        &mut self,
        range: BatchRange,
        encoded: &Encoded,
        limit: usize,
    ) -> Result<(), SinkError> {
        let (Some(journal), Some(batch)) = (&mut self.journal, &self.batch) else {
            return Ok(());
        };
        if range.to == range.from {
            // A piece of a batch: if this process dies now, all of the batch comes again.
            return Ok(());
        }
        let mut requests = Vec::new();
        let (mut at, mut body) = (At::default(), Vec::new());
        while let Some(request) = encoded.request(at, limit, &mut body) {
            at = request.next;
            requests.push(std::mem::take(&mut body));
        }
        let placed = Placed {
            log: range.log,
            position: range.to,
        };
        self.asked = true;
        journal.begin(placed, &requests, batch)
    }

    /// The batch was taken.
    pub(super) fn commit(&mut self, range: BatchRange) -> Result<(), SinkError> {
        let Some(batch) = self.batch.take() else {
            return Ok(());
        };
        self.state.absorb(batch);
        match &mut self.journal {
            Some(journal) if range.to != range.from => journal.sent(&self.state),
            _ => Ok(()),
        }
    }

    /// The batch comes again in pieces.
    pub(super) fn roll_back(&mut self) -> Result<(), SinkError> {
        self.batch = None;
        match &mut self.journal {
            Some(journal) => journal.restore(&self.state),
            None => Ok(()),
        }
    }

    /// Where the metrics of a log stand, if this process does not know yet: requests of which the
    /// last one did not know whether they arrived are sent first.
    pub(super) fn position(
        &mut self,
        log: LogId,
        sender: &mut dyn Send,
        sent: Option<Position>,
    ) -> Result<Stands, SinkError> {
        let mut stands = Stands::default();
        let Some(journal) = self.journal.as_mut().filter(|_| !self.asked) else {
            return Ok(stands);
        };
        let Some(placed) = journal.placed().filter(|placed| placed.log == log) else {
            self.asked = true;
            return Ok(stands);
        };
        while let Some(request) = journal.unsent() {
            // A place that knows where it stands may have it already.
            if sent == Some(placed.position) {
                journal.next();
                continue;
            }
            match sender.send(request) {
                Ok(taken) => stands.taken.push(taken),
                Err(Untaken::Retry(text, wait)) => {
                    let wait = wait.unwrap_or_default();
                    let source = text.into();
                    return Err(SinkError::Retry(Box::new(Throttled { wait, source })));
                }
                Err(Untaken::Refused(text)) => return Err(SinkError::Refused(text.into())),
                // Its rows are behind us: it is counted, and the series go on.
                Err(Untaken::TooLarge(message) | Untaken::Content(message)) => {
                    let rejected = 1;
                    stands.taken.push(Taken { rejected, message });
                }
            }
            journal.next();
        }
        journal.sent(&self.state)?;
        self.asked = true;
        stands.position = Some(placed.position);
        Ok(stands)
    }
}

/// The measurements that a finished node implies, all with the same attributes.
fn of_node(
    span: &Span,
    ns: u64,
    custom: &[(String, Value)],
    mut add: impl FnMut(&Measured<'_>, &Attributes<'_>),
) {
    let own = IDENTITY
        .iter()
        .filter_map(|key| Some((*key, span.attributes.get(key)?)));
    let all = |key: &str| span.attributes.get(key).is_none() || !IDENTITY.contains(&key);
    let custom = custom.iter().map(|(key, value)| (key.as_str(), value));
    let attributes = Attributes::new(own.chain(custom.filter(|(key, _)| all(key))));
    let failed = failed(span.status);
    for (part, name, unit, aggregation) in NODE_METRICS {
        let integer = match part {
            derive::DURATION => None,
            derive::SUCCESS => Some(i128::from(!failed)),
            derive::ERROR => Some(i128::from(failed)),
            _ => Some(1),
        };
        let measured = Measured {
            name,
            unit,
            aggregation,
            value: integer.map_or(ns as f64 / 1e9, |integer| integer as f64),
            integer,
            time_ns: span.end_ns().unwrap_or(span.start_ns),
            trace: Some(span.trace_id),
            span: Some(span.span_id),
            recorded: None,
        };
        add(&measured, &attributes);
    }
}

fn attributes<O: Out>(out: &mut O, field: Field, series: &Series) {
    pairs(out, field, |pairs| {
        for (key, value) in &series.attributes {
            pairs.value(key, value);
        }
    });
}

fn number_point<O: Out>(out: &mut O, series: &Series, value: Number, start_ns: Option<i64>) {
    out.fixed64(number::START, start_ns.map_or(0, unix));
    out.fixed64(number::TIME, unix(series.time_ns));
    match value {
        Number::Int(value) => out.some_sfixed64(number::INT, value),
        Number::Double(value) => out.some_double(number::DOUBLE, value),
    }
    exemplars(out, number::EXEMPLARS, &series.exemplars);
    attributes(out, number::ATTRIBUTES, series);
}

fn distribution<O: Out>(out: &mut O, series: &Series, all: &Distribution, unit: &str) {
    match &all.buckets {
        Buckets::Explicit(counts) => {
            out.fixed64(histogram::START, unix(series.start_ns));
            out.fixed64(histogram::TIME, unix(series.time_ns));
            out.fixed64(histogram::COUNT, all.count);
            out.some_double(histogram::SUM, all.sum);
            out.fixed64s(histogram::COUNTS, counts);
            out.doubles(histogram::BOUNDS, bounds(unit));
            exemplars(out, histogram::EXEMPLARS, &series.exemplars);
            attributes(out, histogram::ATTRIBUTES, series);
            out.some_double(histogram::MIN, all.min);
            out.some_double(histogram::MAX, all.max);
        }
        Buckets::Exponential(buckets) => {
            attributes(out, exp::ATTRIBUTES, series);
            out.fixed64(exp::START, unix(series.start_ns));
            out.fixed64(exp::TIME, unix(series.time_ns));
            out.fixed64(exp::COUNT, all.count);
            out.some_double(exp::SUM, all.sum);
            out.sint32(exp::SCALE, buckets.scale);
            out.fixed64(exp::ZERO_COUNT, buckets.zero);
            for (field, side) in [
                (exp::POSITIVE, &buckets.positive),
                (exp::NEGATIVE, &buckets.negative),
            ] {
                if !side.counts.is_empty() {
                    out.message(field, |out| side_of(out, side));
                }
            }
            exemplars(out, exp::EXEMPLARS, &series.exemplars);
            out.some_double(exp::MIN, all.min);
            out.some_double(exp::MAX, all.max);
        }
    }
}

fn side_of<O: Out>(out: &mut O, side: &Side) {
    out.sint32(exp::OFFSET, side.offset);
    out.uint64s(exp::COUNTS, &side.counts);
}

fn exemplars<O: Out>(out: &mut O, field: Field, exemplars: &[Exemplar]) {
    out.list(field, |out| {
        for one in exemplars {
            out.item(field, |out| {
                out.fixed64(exemplar::TIME, unix(one.time_ns));
                match one.value {
                    Number::Int(value) => out.some_sfixed64(exemplar::INT, value),
                    Number::Double(value) => out.some_double(exemplar::DOUBLE, value),
                }
                if let Some(span) = one.span.map(SpanId::get) {
                    out.id(exemplar::SPAN_ID, &span.to_be_bytes());
                }
                out.id(exemplar::TRACE_ID, &one.trace.0);
            });
        }
    });
}
