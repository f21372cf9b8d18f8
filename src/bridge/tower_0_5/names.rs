//! What the conventions of OpenTelemetry call the parts of a request: `http.*`, and `rpc.*` for gRPC.

use http::{header, request::Parts, HeaderMap, Method, StatusCode, Uri, Version};

use crate::{api::ActiveSpan, record::names::StaticName};

macro_rules! keys {
    ($($name:ident = $text:literal,)*) => {
        $(pub(super) static $name: StaticName = StaticName::new($text);)*
    };
}

keys! {
    METHOD = "http.request.method",
    METHOD_ORIGINAL = "http.request.method_original",
    ROUTE = "http.route",
    STATUS = "http.response.status_code",
    PATH = "url.path",
    SCHEME = "url.scheme",
    URL = "url.full",
    ADDRESS = "server.address",
    PORT = "server.port",
    VERSION = "network.protocol.version",
    USER_AGENT = "user_agent.original",
    RPC_SYSTEM = "rpc.system",
    RPC_SERVICE = "rpc.service",
    RPC_METHOD = "rpc.method",
    GRPC_STATUS = "rpc.grpc.status_code",
}

/// Which end of a request a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// What a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content = headers.get(header::CONTENT_TYPE);
        let grpc = content.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        match grpc {
            true => Self::Grpc,
            false => Self::Http,
        }
    }
}

/// Methods that may stand in a name; of others there could be any number.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// Name of the span. Of a path, which may hold anything, only the route stands in it.
pub(super) fn span_name(protocol: Protocol, parts: &Parts, route: Option<&str>) -> String {
    if protocol == Protocol::Grpc {
        return parts.uri.path().trim_start_matches('/').to_owned();
    }
    match (known(&parts.method).unwrap_or("HTTP"), route) {
        (method, Some(route)) => format!("{method} {route}"),
        (method, None) => method.to_owned(),
    }
}

/// Says of the span what the request says. Queries are left out: secrets stand there.
pub(super) fn describe(
    span: &mut ActiveSpan<'_>,
    (side, protocol): (Side, Protocol),
    parts: &Parts,
    route: Option<&str>,
) {
    if protocol == Protocol::Grpc {
        let path = parts.uri.path().trim_start_matches('/');
        let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
        span.set(&RPC_SYSTEM, "grpc");
        span.set(&RPC_SERVICE, service);
        span.set(&RPC_METHOD, method);
    }
    span.set(&METHOD, known(&parts.method).unwrap_or("_OTHER"));
    if known(&parts.method).is_none() {
        span.set(&METHOD_ORIGINAL, parts.method.as_str());
    }
    if let Some(route) = route {
        span.set(&ROUTE, route);
    }
    let scheme = parts.uri.scheme_str();
    let host = authority(parts);
    match (side, scheme, host) {
        (Side::Client, Some(scheme), Some(host)) => {
            let path = parts.uri.path();
            span.set(&URL, format!("{scheme}://{host}{path}").as_str());
        }
        _ => span.set(&PATH, parts.uri.path()),
    }
    if side == Side::Server {
        span.set(&SCHEME, scheme.unwrap_or("http"));
        let agent = parts.headers.get(header::USER_AGENT);
        if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
            span.set(&USER_AGENT, agent);
        }
    }
    if let Some(host) = host {
        let (address, port) = split(host);
        span.set(&ADDRESS, address);
        let port = port.or(match scheme {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        });
        if let Some(port) = port {
            span.set(&PORT, i64::from(port));
        }
    }
    if let Some(version) = version(parts.version) {
        span.set(&VERSION, version);
    }
}

/// Host and port, without the name and password that may stand before them.
fn authority(parts: &Parts) -> Option<&str> {
    fn of_uri(uri: &Uri) -> Option<&str> {
        let authority = uri.authority()?.as_str();
        Some(
            authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host),
        )
    }
    let header = || parts.headers.get(header::HOST)?.to_str().ok();
    of_uri(&parts.uri).or_else(header)
}

fn split(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((address, port)) if !port.contains(']') => (address, port.parse().ok()),
        _ => (host, None),
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// Whether an answer is an error of this side: what a client asked wrong is none of the server's.
pub(super) fn is_failure(side: Side, status: StatusCode) -> bool {
    status.is_server_error() || (side == Side::Client && status.is_client_error())
}

/// The code of an answer over gRPC, which is a number in text.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<i64> {
    headers
        .get("grpc-status")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// What a server says of a code.
pub(super) fn grpc_message(headers: &HeaderMap) -> String {
    let Some(text) = headers.get("grpc-message") else {
        return String::new();
    };
    crate::bridge::propagation::percent_decoded(&String::from_utf8_lossy(text.as_bytes()))
}

/// Name of a code that is an error of this side; `None` if it is none.
pub(super) fn grpc_failure(side: Side, code: i64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let of_server = matches!(code, 2 | 4 | 12..=15);
    let failed = match side {
        Side::Server => of_server || !(0..=16).contains(&code),
        Side::Client => code != 0,
    };
    let name = usize::try_from(code).ok().and_then(|at| NAMES.get(at));
    failed.then(|| name.copied().unwrap_or("UNKNOWN"))
}
