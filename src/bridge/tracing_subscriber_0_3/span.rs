//! What a program that uses `tracing` may ask of a span.

use std::sync::Arc;

use tracing::Span;
use tracing_subscriber::{registry::LookupSpan, Registry};

use super::layer::{Kept, Layer};
use crate::{
    api::{driven, engine::Engine},
    bridge::propagation::TraceContext,
};

/// Traces that go on in other processes, for spans of `tracing`; needs a
/// [`Registry`] with a [`Layer`] on it.
pub trait SpanExt {
    /// Says which call from another process this span serves. It must have no parent, and nothing
    /// may have happened in it: entered nowhere, parent of nothing. Returns whether it was so.
    fn continue_from(&self, caller: &TraceContext) -> bool;

    /// What a process that is called inside this span continues from; without a trace where nothing
    /// is recorded.
    fn trace_context(&self) -> TraceContext;
}

impl SpanExt for Span {
    fn continue_from(&self, caller: &TraceContext) -> bool {
        let options = caller.options();
        with(self, |_, kept| kept.span.called_with(&options)).unwrap_or(false)
    }

    fn trace_context(&self) -> TraceContext {
        let told = with(self, |engine, kept| {
            driven::to_pass_on(engine, kept.span.position(engine))
        });
        told.flatten()
            .map_or_else(TraceContext::default, TraceContext::passed_on)
    }
}

fn with<R>(span: &Span, work: impl FnOnce(&Arc<Engine>, &mut Kept) -> R) -> Option<R> {
    let found = span.with_subscriber(|(id, dispatch)| {
        let engine = dispatch.downcast_ref::<Layer>()?.engine()?;
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        extensions.get_mut::<Kept>().map(|kept| work(engine, kept))
    });
    found.flatten()
}
