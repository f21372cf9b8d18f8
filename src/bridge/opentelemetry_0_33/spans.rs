//! Spans of OpenTelemetry.

use std::{future::Future, time::Duration};

use opentelemetry::trace::{SpanKind as Kind, Status as Verdict};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::SpanData,
    Resource,
};

use super::values::{self, Source};
use crate::{
    api::{
        driven::Position,
        told::{Teller, Told},
    },
    record::{
        attributes::AttributeBuffer,
        id::{SpanId, TraceId},
        kinds::{SpanKind, Status},
        names::Name,
        wellknown,
    },
    Manager,
};

/// Records the spans that the SDK hands on.
///
/// ```
/// use emberlog::{bridge::opentelemetry_0_33::SpanExporter, Config, Filter, Manager};
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// # let dir = tempfile::tempdir()?;
/// let manager = Manager::open(Config::new(dir.path()))?;
/// let provider = SdkTracerProvider::builder()
///     .with_batch_exporter(SpanExporter::new(&manager))
///     .build();
/// provider.tracer("shop").in_span("serve", |_| ());
/// provider.shutdown()?;
/// assert_eq!(manager.query_spans(&Filter::new())?[0].name, "serve");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SpanExporter {
    manager: Manager,
    source: Source,
}

impl SpanExporter {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
            source: Source::default(),
        }
    }

    fn write(&self, batch: &[SpanData]) -> OTelSdkResult {
        let Some(engine) = self.manager.engine() else {
            return Ok(());
        };
        let teller = Teller::new(engine).ok_or(OTelSdkError::AlreadyShutdown)?;
        for span in batch {
            self.write_one(&teller, span);
        }
        Ok(())
    }

    fn write_one(&self, teller: &Teller<'_>, span: &SpanData) {
        let context = &span.span_context;
        // The SDK makes none without ids.
        let Some(id) = span_id(context.span_id()) else {
            return;
        };
        let parent = span_id(span.parent_span_id);
        let told = Told {
            trace: trace_id(context.trace_id()),
            span: id,
            parent,
            remote: parent.is_some() && span.parent_span_is_remote,
            name: Name::from(&*span.name),
            kind: kind(&span.span_kind),
            status: match span.status {
                Verdict::Error { .. } => Status::Error,
                _ => Status::Ok,
            },
            start_ns: values::unix_ns(span.start_time),
            end_ns: values::unix_ns(span.end_time),
        };
        if parent.is_none() || told.remote {
            let mut list = teller.list();
            self.source.push(&mut list);
            push_error(&mut list, &span.status);
            teller.trace(&told, list);
        }
        let here = Position::elsewhere(told.trace, Some(id));
        for event in &span.events.events {
            let mut list = teller.list();
            values::push(&mut list, &event.attributes);
            values::push_dropped(&mut list, event.dropped_attributes_count);
            let name = Name::from(&*event.name);
            let at = values::unix_ns(event.timestamp);
            teller.event(Some(here), (name, name), at, list);
        }
        for link in &span.links.links {
            let mut list = teller.list();
            values::push(&mut list, &link.attributes);
            values::push_dropped(&mut list, link.dropped_attributes_count);
            let to = Position::elsewhere(
                trace_id(link.span_context.trace_id()),
                span_id(link.span_context.span_id()),
            );
            teller.link(here, to, told.start_ns, list);
        }
        let mut list = teller.list();
        values::push(&mut list, &span.attributes);
        values::push_dropped(&mut list, span.dropped_attributes_count);
        values::push_scope(&mut list, &span.instrumentation_scope);
        let state = context.trace_state().header();
        if !state.is_empty() {
            list.push_named(Name::from("tracestate"), &state);
        }
        push_error(&mut list, &span.status);
        teller.span(&told, list);
    }
}

fn push_error(list: &mut AttributeBuffer, status: &Verdict) {
    if let Verdict::Error { description } = status {
        if !description.is_empty() {
            let key = Name::of_id(wellknown::EXCEPTION_MESSAGE);
            list.push_named(key, &**description);
        }
    }
}

/// A trace id as ours.
pub(super) fn trace_id(id: opentelemetry::TraceId) -> TraceId {
    TraceId(id.to_bytes())
}

/// A span id as ours; `None` for zeros.
pub(super) fn span_id(id: opentelemetry::SpanId) -> Option<SpanId> {
    SpanId::new(u64::from_be_bytes(id.to_bytes()))
}

fn kind(kind: &Kind) -> SpanKind {
    match kind {
        Kind::Client => SpanKind::Client,
        Kind::Server => SpanKind::Server,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
        Kind::Internal => SpanKind::Internal,
    }
}

impl opentelemetry_sdk::trace::SpanExporter for SpanExporter {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        std::future::ready(self.write(&batch))
    }

    fn force_flush(&self) -> OTelSdkResult {
        values::flush(&self.manager, Duration::from_secs(10))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        values::flush(&self.manager, timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.source = Source::of(resource, &self.manager);
    }
}
