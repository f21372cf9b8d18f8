//! What `tracing` calls.

use std::sync::Arc;

use tracing::{
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    Event, Level, Metadata, Subscriber,
};
use tracing_subscriber::{
    layer::Context,
    registry::{ExtensionsMut, LookupSpan},
};

use super::{
    fields::{EventFields, Failure, SpanFields, OTHER},
    site::Site,
};
use crate::{
    api::{
        driven::{self, on_own_thread, Above, Driven},
        engine::Engine,
        failure, local,
    },
    record::{kinds::Status, names::Name},
    Manager, StaticName,
};

static LOG: StaticName = StaticName::new("log");
static LEVEL: StaticName = StaticName::new("level");
static TARGET: StaticName = StaticName::new("target");

/// Records spans and events of `tracing` with a [`Manager`].
///
/// ```
/// use emberlog::{bridge::tracing_subscriber_0_3::Layer, Config, Filter, Manager};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// # let dir = tempfile::tempdir()?;
/// let manager = Manager::open(Config::new(dir.path()))?;
/// let subscriber = tracing_subscriber::registry().with(Layer::new(&manager));
/// tracing::subscriber::with_default(subscriber, || {
///     let _serve = tracing::info_span!("serve", path = "/orders").entered();
///     tracing::info!(rows = 3, "read");
/// });
/// assert_eq!(manager.query_traces(&Filter::new())?[0].name, "serve");
/// assert_eq!(manager.query_events(&Filter::new().event_type("log"))?[0].name, "read");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// The level decides here alone: other layers see what they ask for.
#[derive(Debug)]
pub struct Layer {
    engine: Option<Arc<Engine>>,
    level: LevelFilter,
}

/// What the registry keeps for us with a span.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) span: Driven,
    settled: bool,
}

impl Layer {
    /// Records what is of level INFO or above.
    pub fn new(manager: &Manager) -> Self {
        Self {
            engine: manager.engine().cloned(),
            level: LevelFilter::INFO,
        }
    }

    /// Records what is of this level or above.
    #[must_use]
    pub fn with_level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.level = level.into();
        self
    }

    /// The recording side, if this is to be recorded.
    #[inline]
    fn records(&self, metadata: &Metadata<'_>) -> Option<&Arc<Engine>> {
        let engine = self.engine.as_ref()?;
        // What our own threads do would never come to an end.
        (*metadata.level() <= self.level && !on_own_thread()).then_some(engine)
    }

    pub(super) fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// Does something with what is kept of a span.
    #[inline]
    fn with<S, R>(
        &self,
        id: &Id,
        context: &Context<'_, S>,
        work: impl FnOnce(&Arc<Engine>, &mut Kept) -> R,
    ) -> Option<R>
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let engine = self.engine.as_ref()?;
        let span = context.span(id)?;
        let mut extensions = span.extensions_mut();
        extensions.get_mut::<Kept>().map(|kept| work(engine, kept))
    }

    /// The place of a span that was named as a parent, or of the next one above it that is recorded.
    fn above<S>(&self, id: &Id, context: &Context<'_, S>) -> Above
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let Some((engine, span)) = self.engine.as_ref().zip(context.span(id)) else {
            return Above::Nothing;
        };
        for span in span.scope() {
            let mut extensions = span.extensions_mut();
            if let Some(kept) = extensions.get_mut::<Kept>() {
                return Above::Given(kept.span.position(engine));
            }
        }
        Above::Nothing
    }
}

/// Which of the three ways `tracing` has to name a parent it is.
fn named(contextual: bool, parent: Option<&Id>) -> Option<&Id> {
    if contextual {
        return None;
    }
    parent
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(engine) = self.records(attributes.metadata()) else {
            return;
        };
        let above = match named(attributes.is_contextual(), attributes.parent()) {
            Some(parent) => self.above(parent, &context),
            None if attributes.is_contextual() => Above::Thread,
            None => Above::Nothing,
        };
        let site = Site::of(attributes.metadata());
        let Some(span) = Driven::begin(engine, site.name, above) else {
            return;
        };
        let mut kept = Kept {
            span,
            settled: false,
        };
        let mut fields = SpanFields::new(engine, &site);
        attributes.record(&mut fields);
        fields
            .found
            .apply(engine, &mut kept.span, &mut kept.settled);
        if let Some(span) = context.span(id) {
            let mut extensions: ExtensionsMut<'_> = span.extensions_mut();
            // A second layer of ours would find the first one's: the later one keeps nothing.
            if extensions.get_mut::<Kept>().is_none() {
                extensions.insert(kept);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let Some(engine) = &self.engine else { return };
        let site = Site::of(span.metadata());
        let mut fields = SpanFields::new(engine, &site);
        values.record(&mut fields);
        let found = fields.found;
        self.with(id, &context, |engine, kept| {
            found.apply(engine, &mut kept.span, &mut kept.settled);
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let place = |id| self.with(id, &context, |engine, kept| kept.span.position(engine));
        if let (Some(engine), Some(from), Some(to)) = (&self.engine, place(id), place(follows)) {
            driven::link(engine, from, to);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(engine) = self.records(metadata) else {
            return;
        };
        let above = match named(event.is_contextual(), event.parent()) {
            Some(parent) => self.above(parent, &context),
            None if event.is_contextual() => Above::Thread,
            None => Above::Nothing,
        };
        let is_error = *metadata.level() == Level::ERROR;
        if !engine.switches.events && !is_error {
            return;
        }
        let site = Site::of(metadata);
        let mut attributes = local::buffer(engine);
        attributes.push_named((&LEVEL).into(), metadata.level().as_str());
        attributes.push_named((&TARGET).into(), metadata.target());
        let mut fields = EventFields {
            site: &site,
            attributes: &mut attributes,
            message: None,
            error: None,
            wants_error: is_error && engine.switches.errors,
        };
        event.record(&mut fields);
        let (message, error) = (fields.message, fields.error);
        if is_error {
            if let Some(span) = context.event_span(event) {
                fail(engine, span.extensions_mut(), message.as_deref(), error);
            }
        }
        if !engine.switches.events {
            return local::recycle(engine, attributes);
        }
        let event_type = if site.is_named {
            site.name
        } else {
            (&LOG).into()
        };
        let name = message.as_deref().map_or(site.name, Name::spelled);
        driven::event(engine, event_type, name, Some(attributes), above);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.with(id, &context, |engine, kept| kept.span.enter(engine));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.with(id, &context, |engine, kept| kept.span.exit(engine));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some((engine, span)) = self.engine.as_ref().zip(context.span(&id)) else {
            return;
        };
        // Bound, so that the lock is free before the record is written.
        let kept = span.extensions_mut().remove::<Kept>();
        if let Some(kept) = kept {
            kept.span.end(engine);
        }
    }
}

/// An event of level ERROR makes its span one; the first one says why.
#[cold]
fn fail(
    engine: &Arc<Engine>,
    mut extensions: ExtensionsMut<'_>,
    message: Option<&str>,
    error: Option<Failure>,
) {
    let Some(kept) = extensions.get_mut::<Kept>() else {
        return;
    };
    if kept.settled || kept.span.status() == Status::Error {
        return;
    }
    kept.span.fail(engine.switches.errors);
    if engine.switches.errors {
        let buffer = kept.span.attributes(engine);
        match (error, message) {
            (Some(Failure(error)), _) => buffer.extend(&error),
            (None, Some(message)) => failure::write_text(buffer, OTHER, message),
            (None, None) => {}
        }
    }
}
