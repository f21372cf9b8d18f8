//! Spans that somebody else drives: begun, entered, left and ended one by one, on any thread.
//!
//! Always true:
//! - what begins on a thread inside such a span is its child, and it is a child of what is open on
//!   the thread where it begins, whoever began that
//! - one without anything above it is a trace of its own
//! - entered, it stands in the open-span table of its thread; entered again, it has a start record,
//!   since whatever comes back may be away for long

use std::sync::Arc;

use super::{
    engine::Engine,
    local::{self, Current, Local},
    options::TraceOptions,
    passed::{Passed, PassedOn},
    run::Run,
    scope::{self, Open},
    state::Sampled,
    write::{self, Point, SpanEnd},
};
use crate::{
    record::{
        attributes::AttributeBuffer,
        id::{root_span_id, SpanId, TraceId},
        kinds::{SpanKind, Status},
        layout::{flag, RecordKind, KEY_NAME, KEY_TYPE},
        names::{Name, StaticName},
    },
    ring,
    sampling::Threshold,
};

/// What a span or event belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Above {
    /// What is open on this thread, if anything is.
    Thread,
    /// Nothing.
    Nothing,
    /// This one.
    Given(Position),
}

/// A place in a trace: the trace itself, or a span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) trace: TraceId,
    /// 0 for the trace itself.
    pub(crate) span: u64,
    /// What is recorded of the trace.
    pub(super) sampled: Sampled,
}

impl Position {
    /// A place in a trace that somebody else sampled.
    #[cfg_attr(not(feature = "opentelemetry-0-33"), allow(dead_code))]
    pub(crate) fn elsewhere(trace: TraceId, span: Option<SpanId>) -> Self {
        Self {
            trace,
            span: span.map_or(0, SpanId::get),
            sampled: Sampled::yes(Threshold::ALWAYS),
        }
    }

    /// The place that is open on the thread.
    fn current(local: &Local) -> Option<Self> {
        let current = local.current;
        (current != Current::NONE).then(|| Self {
            trace: current.trace_id(),
            span: current.span,
            sampled: current.sampled,
        })
    }

    fn resolve(local: &Local, above: Above) -> Option<Self> {
        match above {
            Above::Thread => Self::current(local),
            Above::Nothing => None,
            Above::Given(position) => Some(position),
        }
    }

    fn of_thread(self) -> Current {
        Current::within(self.trace, self.span, self.sampled)
    }
}

/// An open span that somebody else drives.
#[derive(Debug)]
pub(crate) struct Driven {
    /// Known from the beginning of a child, and once a trace has begun.
    trace: TraceId,
    sampled: Sampled,
    /// Of a trace of its own, its id is only used to find it on its thread.
    open: Open,
    attributes: Option<Box<AttributeBuffer>>,
    kind: Kind,
    entered: bool,
    /// Whether it has a start record.
    shown: bool,
}

#[derive(Debug)]
enum Kind {
    Child,
    /// A trace that begins when something happens in it, so that its caller can be told until then.
    Awaiting {
        name: Option<Box<str>>,
        passed: Option<Arc<Passed>>,
    },
    Trace(Run),
}

impl Driven {
    /// Begins a span; `None` where nothing is recorded.
    #[inline]
    pub(crate) fn begin(engine: &Arc<Engine>, name: Name<'_>, above: Above) -> Option<Self> {
        if !engine.switches.traces {
            return None;
        }
        if !engine.gate.is_open() {
            engine.lose_closed(RecordKind::Span);
            return None;
        }
        local::with(engine, RecordKind::Span, |local| {
            let above = Position::resolve(local, above);
            let mut attributes = None;
            let open = Open {
                id: local.span_id(),
                parent: above.map_or(0, |above| above.span),
                start: engine.tick(),
                name: name.id(),
                flags: 0,
                kind: SpanKind::Internal,
                verdict: Some(Status::Ok),
            };
            let kind = match above {
                Some(_) => {
                    if let Some(text) = name.inline_text() {
                        let spelled = attributes.insert(local.buffer());
                        spelled.push_reserved(KEY_NAME, text);
                    }
                    Kind::Child
                }
                None => Kind::Awaiting {
                    name: name.inline_text().map(Into::into),
                    passed: None,
                },
            };
            Self {
                trace: above.map_or(TraceId::NONE, |above| above.trace),
                sampled: above.map_or(Sampled::yes(Threshold::ALWAYS), |above| above.sampled),
                open,
                attributes,
                kind,
                entered: false,
                shown: false,
            }
        })
    }

    /// Says who called, if it is a trace that has not begun.
    pub(crate) fn called_with(&mut self, caller: &TraceOptions) -> bool {
        match &mut self.kind {
            Kind::Awaiting { passed, .. } => {
                *passed = caller.what_passed();
                true
            }
            _ => false,
        }
    }

    /// Where its children belong.
    pub(crate) fn position(&mut self, engine: &Arc<Engine>) -> Position {
        self.start(engine);
        self.place()
    }

    fn place(&self) -> Position {
        Position {
            trace: self.trace,
            span: self.span(),
            sampled: self.sampled,
        }
    }

    fn span(&self) -> u64 {
        match self.kind {
            Kind::Child => self.open.id,
            _ => 0,
        }
    }

    /// Its trace begins, unless it has.
    #[inline]
    fn start(&mut self, engine: &Arc<Engine>) {
        let Kind::Awaiting { name, passed } = &mut self.kind else {
            return;
        };
        let name = match name {
            Some(text) => Name::spelled(text),
            None => Name::of_id(self.open.name),
        };
        let options = TraceOptions::begun(self.open.start, passed.take());
        let run = Run::start(engine, name, &options);
        if let Some(state) = run.held() {
            self.trace = state.trace;
            self.sampled = state.root.sampled;
        }
        self.kind = Kind::Trace(run);
    }

    /// Its attributes, in a buffer from this thread's pool.
    #[inline]
    pub(crate) fn attributes(&mut self, engine: &Engine) -> &mut AttributeBuffer {
        self.attributes.get_or_insert_with(|| local::buffer(engine))
    }

    /// Gives it another name; of a trace only before it begins.
    pub(crate) fn rename(&mut self, engine: &Engine, text: &str) {
        let name = Name::from(text);
        match &mut self.kind {
            Kind::Awaiting { name: inline, .. } => *inline = name.inline_text().map(Into::into),
            Kind::Trace(_) => return,
            Kind::Child if name.inline_text().is_none() => {}
            Kind::Child => self.attributes(engine).push_reserved(KEY_NAME, text),
        }
        self.open.name = name.id();
    }

    /// Adds attributes.
    #[inline]
    pub(crate) fn describe(&mut self, engine: &Engine, attributes: Box<AttributeBuffer>) {
        match &mut self.attributes {
            Some(known) => {
                known.extend(&attributes);
                local::recycle(engine, attributes);
            }
            none => *none = Some(attributes),
        }
    }

    /// What it stands for; of a trace, which has no kind, in an attribute.
    pub(crate) fn set_kind(&mut self, engine: &Engine, kind: SpanKind) {
        static KIND: StaticName = StaticName::new("emberlog.kind");
        self.open.kind = kind;
        if !matches!(self.kind, Kind::Child) {
            let list = self.attributes(engine);
            list.push_named((&KIND).into(), kind.as_str());
        }
    }

    /// How it goes, as far as is known.
    pub(crate) fn status(&self) -> Status {
        self.open.verdict.unwrap_or_default()
    }

    /// Says how it goes.
    pub(crate) fn set_status(&mut self, status: Status) {
        self.open.verdict = Some(status);
    }

    /// Says that it failed, and whether its attributes tell why.
    #[cold]
    pub(crate) fn fail(&mut self, details: bool) {
        self.open.verdict = Some(Status::Error);
        if details {
            self.open.flags |= flag::ERROR;
        }
    }

    /// What begins on this thread is inside it from now on, until [`Driven::exit`].
    #[inline]
    pub(crate) fn enter(&mut self, engine: &Arc<Engine>) {
        let inside = self.position(engine);
        // A trace is visible by its own start record.
        let child = matches!(self.kind, Kind::Child);
        let hidden = child && !self.shown && self.sampled != Sampled::NO;
        let again = std::mem::replace(&mut self.entered, true);
        local::with(engine, RecordKind::Span, |local| {
            let entry = (hidden && !again).then(|| self.open.table_entry(self.trace));
            let in_table = scope::push_driven(local, self.open.id, inside.of_thread(), entry);
            if hidden && !in_table {
                self.shown = true;
                let start = self.span_end(0);
                write::span_start(local, start, self.attributes.as_deref());
            }
        });
    }

    /// This thread is back where it was before [`Driven::enter`].
    #[inline]
    pub(crate) fn exit(&self, engine: &Arc<Engine>) {
        let inside = self.place();
        local::with(engine, RecordKind::Span, |local| {
            scope::pop_driven(local, self.open.id, inside.of_thread());
        });
    }

    /// Writes it, once.
    #[inline]
    pub(crate) fn end(mut self, engine: &Arc<Engine>) {
        self.start(engine);
        if std::thread::panicking() {
            self.open.verdict = Some(Status::Error);
        }
        let attributes = self.attributes.take();
        if let Kind::Trace(run) = self.kind {
            return run.end_described(self.open.verdict.unwrap_or_default(), attributes);
        }
        if !engine.gate.is_open() {
            return engine.lose_closed(RecordKind::Span);
        }
        if self.sampled == Sampled::NO {
            if let Some(list) = attributes {
                local::recycle(engine, list);
            }
            return;
        }
        local::with(engine, RecordKind::Span, |local| {
            write::span(local, self.span_end(engine.tick()), attributes);
        });
    }

    fn span_end(&self, end: u64) -> SpanEnd {
        self.open.end_in(self.trace, self.sampled, end)
    }
}

impl Run {
    /// Ends the run as `status`, with `attributes` besides those that were set.
    pub(super) fn end_described(self, status: Status, attributes: Option<Box<AttributeBuffer>>) {
        if let (Some(state), Some(attributes)) = (self.held(), attributes) {
            if state.root.sampled != Sampled::NO {
                state.describe(|buffer| buffer.extend(&attributes));
            }
            local::recycle(&state.engine, attributes);
        }
        self.finish(status);
    }
}

/// An event as it was put together elsewhere.
#[inline]
pub(crate) fn event(
    engine: &Arc<Engine>,
    event_type: Name<'_>,
    name: Name<'_>,
    mut attributes: Option<Box<AttributeBuffer>>,
    above: Above,
) {
    if !engine.gate.is_open() {
        return engine.lose_closed(RecordKind::Event);
    }
    for (key, name) in [(KEY_NAME, name), (KEY_TYPE, event_type)] {
        if let Some(text) = name.inline_text() {
            let buffer = attributes.get_or_insert_with(|| local::buffer(engine));
            buffer.push_reserved(key, text);
        }
    }
    local::with(engine, RecordKind::Event, |local| {
        let place = Position::resolve(local, above);
        let sampled = place.map_or(Sampled::yes(Threshold::ALWAYS), |place| place.sampled);
        if sampled == Sampled::NO {
            if let Some(list) = attributes {
                local.recycle(list);
            }
            return;
        }
        let point = Point {
            trace: place.map_or(TraceId::NONE, |place| place.trace),
            span: place.map_or(0, |place| place.span),
            name: name.id(),
            tick: engine.tick(),
            held: sampled == Sampled::HELD,
        };
        write::event(local, point, event_type.id(), attributes);
    });
}

/// Says that one follows from another.
pub(crate) fn link(engine: &Arc<Engine>, from: Position, to: Position) {
    if from.sampled == Sampled::NO {
        return;
    }
    if !engine.gate.is_open() {
        return engine.lose_closed(RecordKind::Link);
    }
    local::with(engine, RecordKind::Link, |local| {
        let held = from.sampled == Sampled::HELD;
        let (from, to) = ((from.trace, from.span), (to.trace, to.span));
        write::link(local, held, from, to, engine.tick(), None);
    });
}

impl Position {
    /// The span; `None` for the trace itself.
    pub(crate) fn span_id(self) -> Option<SpanId> {
        SpanId::new(self.span)
    }
}

/// What those are told whom the code at `place` calls; `None` where nothing may be told.
pub(crate) fn to_pass_on(engine: &Engine, place: Position) -> Option<PassedOn> {
    engine.switches.propagate.then(|| {
        let root = || root_span_id(place.trace, engine.instance);
        let threshold = place.sampled.threshold();
        PassedOn {
            trace: place.trace,
            span: place.span_id().unwrap_or_else(root),
            sampled: threshold.is_some(),
            threshold,
            passed: engine.carried_by(place.trace.as_u128() as u64),
        }
    })
}

/// Whether this is a thread of an engine, whose own doings nobody records.
pub(crate) fn on_own_thread() -> bool {
    ring::is_engine_thread()
}
