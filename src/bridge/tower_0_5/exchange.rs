//! One request and its answer, as a span.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Buf;
use http::{request, response, HeaderMap, Method, StatusCode};

use super::names::{self, Protocol, Side};
use crate::{
    api::{Capture, ContextGuard, DetachedSpan, Run},
    bridge::propagation::TraceContext,
    record::{
        kinds::{SpanKind, Status},
        names::{Name, StaticName},
        wellknown,
    },
    Manager,
};

/// What a layer says of a route, from what the router left with the request.
pub(super) type Route = Arc<dyn Fn(&http::Extensions) -> Option<&str> + Send + Sync>;

/// A request on its way. Dropped before it ended, it is cancelled.
#[derive(Debug)]
pub(super) struct Exchange {
    // Before the run, since what is dropped first ends first.
    span: DetachedSpan,
    run: Run,
    side: Side,
    protocol: Protocol,
    /// Whether the answer has no body, whatever its headers say.
    head: bool,
    status: Option<StatusCode>,
    grpc: Option<(i64, String)>,
    request: Option<Seen>,
    pub(super) response: Option<Payload>,
}

/// What is known of a request's payload, which is read by others while the answer is made.
pub(super) type Seen = Arc<Mutex<Payload>>;

impl Exchange {
    /// A request that this process serves.
    pub(super) fn serve(manager: &Manager, parts: &request::Parts, route: Option<&Route>) -> Self {
        let caller = TraceContext::extract(&parts.headers);
        let protocol = Protocol::of(&parts.headers);
        let route = route.and_then(|route| route(&parts.extensions));
        let text = names::span_name(protocol, parts, route);
        let name = || match protocol {
            Protocol::Http => Name::from(&text),
            // Whoever calls may invent any number of methods, and names are kept for ever.
            Protocol::Grpc => Name::spelled(&text),
        };
        let run = manager.start_trace_with(name(), &caller.options());
        // The span is what serves, and a child of the caller's own.
        static KIND: StaticName = StaticName::new("emberlog.kind");
        run.set(&KIND, SpanKind::Internal.as_str());
        let remote = caller
            .span_id()
            .filter(|_| run.trace_id() == caller.trace_id());
        let mut span = run.child_of(remote, name(), SpanKind::Server);
        if remote.is_some() {
            span.mark_remote_parent();
        }
        names::describe(&mut span, (Side::Server, protocol), parts, route);
        Self::begun(span.detach(&run), run, (Side::Server, protocol), parts)
    }

    /// A request that this process makes: inside what is open on this thread, else a trace.
    pub(super) fn call(manager: &Manager, parts: &mut request::Parts) -> Self {
        let protocol = Protocol::of(&parts.headers);
        let name = names::span_name(protocol, parts, None);
        let current = manager.current_run();
        let run = match current.trace_id() {
            Some(_) => current,
            None => manager.start_trace(name.as_str()),
        };
        let mut span = run.span(name.as_str()).with_kind(SpanKind::Client);
        names::describe(&mut span, (Side::Client, protocol), parts, None);
        run.context_of(span.id()).inject(&mut parts.headers);
        Self::begun(span.detach(&run), run, (Side::Client, protocol), parts)
    }

    fn begun(
        span: DetachedSpan,
        run: Run,
        (side, protocol): (Side, Protocol),
        parts: &request::Parts,
    ) -> Self {
        let capture = run.capture();
        let payload = |wanted: bool| {
            let keep = if wanted { capture.bytes } else { 0 };
            (wanted || capture.sizes).then(|| Payload::new(keep))
        };
        // A caller cannot watch its own request: the services that it calls name the body's type.
        let watched = side == Side::Server;
        Self {
            request: payload(capture.inputs)
                .filter(|_| watched)
                .map(|payload| Arc::new(Mutex::new(payload))),
            response: payload(capture.outputs),
            head: parts.method == Method::HEAD,
            status: None,
            grpc: None,
            span,
            run,
            side,
            protocol,
        }
    }

    /// What begins on this thread is inside the request, until the guard is dropped.
    pub(super) fn enter(&self) -> ContextGuard<'_> {
        self.run.enter(self.span.id())
    }

    /// Where what goes into the service is to be told.
    pub(super) fn request(&self) -> Option<Seen> {
        self.request.clone()
    }

    /// Its future is away, and may come back on another thread.
    pub(super) fn suspended(&mut self) {
        self.span.mark_suspended();
    }

    /// The answer begins. Returns whether a body follows.
    pub(super) fn answered(&mut self, parts: &response::Parts) -> bool {
        self.status = Some(parts.status);
        self.span
            .set(&names::STATUS, i64::from(parts.status.as_u16()));
        self.ended_with(&parts.headers);
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        !self.head && !none.contains(&parts.status)
    }

    /// Headers that may say how it went, at the beginning of an answer or behind it.
    pub(super) fn ended_with(&mut self, headers: &HeaderMap) {
        if self.protocol == Protocol::Grpc {
            if let Some(code) = names::grpc_status(headers) {
                self.span.set(&names::GRPC_STATUS, code);
                self.grpc = Some((code, names::grpc_message(headers)));
            }
        }
    }

    /// It ended as the answer says.
    pub(super) fn finish(mut self) {
        let failure = match (&self.grpc, self.status) {
            (Some((code, message)), _) => {
                names::grpc_failure(self.side, *code).map(|name| (name.to_owned(), message.clone()))
            }
            (None, Some(status)) if names::is_failure(self.side, status) => {
                let reason = status.canonical_reason().unwrap_or_default();
                Some((status.as_u16().to_string(), reason.to_owned()))
            }
            (None, _) => None,
        };
        self.describe_payloads();
        match failure {
            Some((error, message)) => {
                self.span.fail_with(&error, &message);
                self.run.end(Status::Error);
            }
            None => {
                self.span.ok();
                self.run.ok();
            }
        }
    }

    /// No answer came, or it broke off.
    pub(super) fn fail<E: Display + 'static>(mut self, error: &E) {
        self.describe_payloads();
        self.span
            .fail_with(std::any::type_name::<E>(), &error.to_string());
        self.run.end(Status::Error);
    }

    fn describe_payloads(&mut self) {
        let Capture {
            inputs,
            outputs,
            sizes,
            ..
        } = self.run.capture();
        if let Some(seen) = self.request.take() {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let keys = (wellknown::INPUTS, wellknown::INPUT_SIZE);
            seen.write(&mut self.span, keys, (inputs, sizes));
        }
        if let Some(seen) = self.response.take() {
            let keys = (wellknown::OUTPUTS, wellknown::OUTPUT_SIZE);
            seen.write(&mut self.span, keys, (outputs, sizes));
        }
    }
}

/// The beginning of what went through a body, and how much it was.
#[derive(Debug)]
pub(super) struct Payload {
    room: usize,
    kept: Vec<u8>,
    length: u64,
}

impl Payload {
    fn new(room: usize) -> Self {
        Self {
            room,
            kept: Vec::new(),
            length: 0,
        }
    }

    pub(super) fn see(&mut self, data: &impl Buf) {
        self.length += data.remaining() as u64;
        // Of data in pieces, the first: what is kept is a beginning in any case.
        let piece = data.chunk();
        let room = self.room - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() < data.remaining() {
            self.room = self.kept.len();
        }
    }

    fn write(
        &self,
        span: &mut DetachedSpan,
        (text, size): (u32, u32),
        (keep, sizes): (bool, bool),
    ) {
        if keep {
            // A character that the end of what is kept cuts in two is left out.
            let whole = match std::str::from_utf8(&self.kept) {
                Err(error) if error.error_len().is_none() => &self.kept[..error.valid_up_to()],
                _ => &self.kept,
            };
            span.set(Name::of_id(text), String::from_utf8_lossy(whole).as_ref());
        }
        if sizes {
            span.set(Name::of_id(size), self.length);
        }
    }
}
