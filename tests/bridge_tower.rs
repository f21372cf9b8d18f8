//! Layers for tower, between real servers and clients: axum and hyper over HTTP, tonic over gRPC.
#![cfg(feature = "tower-0-5")]

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Path},
    http::{HeaderMap, Request, StatusCode},
    routing::{get, post},
    Router,
};
use emberlog::{
    bridge::tower_0_5::{ClientLayer, ServerLayer},
    propagation::TraceContext,
    Config, Filter, Manager, Span, SpanId, SpanKind, Status, TraceId,
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const LONG: Duration = Duration::from_secs(60);

struct Recorded {
    manager: Manager,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for Recorded {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        &self.manager
    }
}

fn open(change: impl FnOnce(Config) -> Config) -> Recorded {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(change(Config::new(dir.path()))).unwrap();
    Recorded { manager, _dir: dir }
}

/// All spans, once there are as many: what a server notes may come after what its client has read.
fn spans(manager: &Manager, number: usize) -> Vec<Span> {
    let end = Instant::now() + LONG;
    loop {
        let mut spans = manager.query_spans(&Filter::new().all()).unwrap();
        let open = |span: &Span| span.end_ns().is_none();
        if spans.len() >= number && !spans.iter().any(open) {
            assert_eq!(spans.len(), number, "{spans:#?}");
            spans.sort_by_key(|span| span.start_ns);
            return spans;
        }
        assert!(Instant::now() < end, "{number} spans: {spans:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn layer(manager: &Manager) -> ServerLayer {
    ServerLayer::new(manager).route(|found| Some(found.get::<MatchedPath>()?.as_str()))
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

type Http = legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>;

fn http() -> Http {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

fn request(address: SocketAddr, path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://{address}{path}"))
}

/// What is asked, by a client that records, and what comes back.
async fn ask(
    manager: &Manager,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), legacy::Error> {
    let client = ClientLayer::new(manager).layer(http());
    let response = client.oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok((status, body))
}

fn empty() -> Full<Bytes> {
    Full::default()
}

fn text<'s>(span: &'s Span, key: &str) -> &'s str {
    let value = span.attributes.get(key).and_then(|value| value.as_str());
    value.unwrap_or_default()
}

fn number(span: &Span, key: &str) -> Option<i64> {
    span.attributes.get(key).and_then(|value| value.as_i64())
}

fn error_type(span: &Span) -> &str {
    span.error.as_ref().map_or("", |error| &error.error_type)
}

#[test]
fn a_request_goes_through_two_services_as_one_trace() {
    let (front, back) = (open(|config| config), open(|config| config));
    let told = Arc::new(Mutex::new(None));
    runtime().block_on(async {
        let (store, noted) = (back.manager.clone(), Arc::clone(&told));
        let stock = move || async move {
            let run = store.current_run();
            tokio::task::yield_now().await;
            run.span("look up").ok();
            *noted.lock().unwrap() = Some(run.context());
            "17"
        };
        let app = Router::new().route("/stock", get(stock));
        let behind = serve(app.layer(layer(&back))).await;

        let shop = front.manager.clone();
        let order = move |Path(id): Path<u32>| async move {
            let request = request(behind, "/stock?token=secret")
                .body(empty())
                .unwrap();
            let (status, left) = ask(&shop, request).await.unwrap();
            assert_eq!(status, 200);
            format!("order {id}: {} left", String::from_utf8_lossy(&left))
        };
        let app = Router::new().route("/orders/{id}", get(order));
        let address = serve(app.layer(layer(&front))).await;

        let sent = request(address, "/orders/7")
            .header("traceparent", GOOD)
            .header("tracestate", "vendor=x")
            .header("baggage", "user=7")
            .header("user-agent", "test")
            .body(empty())
            .unwrap();
        let response = http().request(sent).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "order 7: 17 left");
    });

    let (front, back) = (spans(&front, 2), spans(&back, 2));
    let trace: TraceId = TRACE.parse().unwrap();
    assert!(front
        .iter()
        .chain(&back)
        .all(|s| s.trace_id == trace && s.status == Status::Ok));
    let [serving, calling] = &front[..] else {
        unreachable!()
    };
    assert_eq!(serving.name, "GET /orders/{id}");
    assert_eq!(serving.kind, SpanKind::Server);
    assert_eq!(
        serving.parent_span_id,
        Some(SPAN.parse::<SpanId>().unwrap())
    );
    assert!(serving.remote_parent);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/orders/{id}"),
        ("url.path", "/orders/7"),
        ("url.scheme", "http"),
        ("server.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test"),
    ] {
        assert_eq!(text(serving, key), value, "{key}");
    }
    assert_eq!(number(serving, "http.response.status_code"), Some(200));
    assert!(number(serving, "server.port").is_some());

    assert_eq!(
        (calling.name.as_str(), calling.kind),
        ("GET", SpanKind::Client)
    );
    assert_eq!(calling.parent_span_id, Some(serving.span_id));
    assert!(!calling.remote_parent);
    let url = text(calling, "url.full");
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/stock"),
        "{url}"
    );
    let everything = format!("{front:?}{back:?}");
    assert!(!everything.contains("secret"), "{everything}");

    let [serving, looking] = &back[..] else {
        unreachable!()
    };
    assert_eq!(
        (serving.name.as_str(), serving.kind),
        ("GET /stock", SpanKind::Server)
    );
    assert_eq!(serving.parent_span_id, Some(calling.span_id));
    assert_eq!(looking.parent_span_id, Some(serving.span_id));
    // What came from outside is there to be handed on.
    let told = told.lock().unwrap().take().unwrap();
    assert_eq!(told.span_id(), Some(serving.span_id));
    assert_eq!(told.tracestate(), "vendor=x");
    assert_eq!(told.baggage().get("user"), Some("7"));
}

#[test]
fn the_answer_says_how_a_request_went() {
    let (server, client) = (open(|config| config), open(|config| config));
    runtime().block_on(async {
        let app = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route("/nothing", get(|| async { StatusCode::NO_CONTENT }))
            .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
            .route("/broken", get(|| async { (StatusCode::BAD_GATEWAY, "no") }))
            .route(
                "/panics",
                get(|| async {
                    std::panic::resume_unwind(Box::new("on purpose"));
                    #[allow(unreachable_code)]
                    ""
                }),
            );
        let address = serve(app.layer(layer(&server))).await;
        for path in ["/fine", "/nothing", "/missing", "/broken", "/panics"] {
            let request = request(address, path).body(empty()).unwrap();
            let answer = ask(&client, request).await;
            assert_eq!(answer.is_err(), path == "/panics");
        }
        let head = request(address, "/fine")
            .method("HEAD")
            .body(empty())
            .unwrap();
        ask(&client, head).await.unwrap();
        let odd = request(address, "/fine")
            .method("BREW")
            .body(empty())
            .unwrap();
        assert_eq!(ask(&client, odd).await.unwrap().0, 405);
        // Nobody listens there.
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = nobody.local_addr().unwrap();
        drop(nobody);
        let request = request(gone, "/").body(empty()).unwrap();
        ask(&client, request).await.unwrap_err();
    });

    let told = |span: &Span| {
        let code = number(span, "http.response.status_code");
        (
            span.name.clone(),
            code,
            span.status,
            error_type(span).to_owned(),
        )
    };
    let server: Vec<_> = spans(&server, 7).iter().map(told).collect();
    let row =
        |name: &str, code, status, error: &str| (name.to_owned(), code, status, error.to_owned());
    let expected = [
        row("GET /fine", Some(200), Status::Ok, ""),
        row("GET /nothing", Some(204), Status::Ok, ""),
        row("GET /missing", Some(404), Status::Ok, ""),
        row("GET /broken", Some(502), Status::Error, "502"),
        row("GET /panics", None, Status::Error, ""),
        row("HEAD /fine", Some(200), Status::Ok, ""),
        row("HTTP /fine", Some(405), Status::Ok, ""),
    ];
    assert_eq!(server, expected);
    let rows = spans(&client, 8);
    assert_eq!(text(&rows[6], "http.request.method"), "_OTHER");
    assert_eq!(text(&rows[6], "http.request.method_original"), "BREW");
    let client: Vec<_> = rows.iter().map(told).collect();
    let lost = "hyper_util::client::legacy::client::Error";
    let expected = [
        row("GET", Some(200), Status::Ok, ""),
        row("GET", Some(204), Status::Ok, ""),
        row("GET", Some(404), Status::Error, "404"),
        row("GET", Some(502), Status::Error, "502"),
        row("GET", None, Status::Error, lost),
        row("HEAD", Some(200), Status::Ok, ""),
        row("HTTP", Some(405), Status::Error, "405"),
        row("GET", None, Status::Error, lost),
    ];
    assert_eq!(client, expected);
    let traces = rows.iter().map(|span| span.trace_id);
    let traces: std::collections::BTreeSet<_> = traces.collect();
    assert_eq!(
        traces.len(),
        8,
        "each call that is made outside of any trace is one"
    );
}

#[test]
fn a_request_that_is_given_up_is_cancelled() {
    let (server, client) = (open(|config| config), open(|config| config));
    runtime().block_on(async {
        let (began, mut begins) = tokio::sync::mpsc::channel(1);
        let waits = move || async move {
            began.send(()).await.unwrap();
            pending::<&str>().await
        };
        let pieces = || async {
            let frames =
                tokio_stream::iter(0..).map(|n: u64| Ok::<_, std::io::Error>(format!("{n} ")));
            Body::from_stream(frames)
        };
        let app = Router::new()
            .route("/waits", get(waits))
            .route("/pieces", get(pieces));
        let address = serve(app.layer(layer(&server))).await;
        let service = ClientLayer::new(&client).layer(http());
        let call = service
            .clone()
            .oneshot(request(address, "/waits").body(empty()).unwrap());
        tokio::select! {
            _ = call => unreachable!("it never answers"),
            _ = begins.recv() => {}
        }
        let call = service.oneshot(request(address, "/pieces").body(empty()).unwrap());
        let mut body = call.await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        drop(body);
    });
    for manager in [&server, &client] {
        let spans = spans(manager, 2);
        assert!(
            spans.iter().all(|span| span.status == Status::Cancelled),
            "{spans:#?}"
        );
        assert_eq!(number(&spans[1], "http.response.status_code"), Some(200));
        let traces = manager.query_traces(&Filter::new().all()).unwrap();
        assert!(traces.iter().all(|trace| trace.status == Status::Cancelled));
    }
}

use tokio_stream::StreamExt as _;

#[test]
fn payloads_are_kept_where_the_configuration_asks() {
    let keeps = |config: Config| {
        let mut config = config.capture_inputs(true).capture_outputs(true);
        config.capture_sizes = true;
        config.capture_bytes = 8;
        config
    };
    for (kept, change) in [
        (true, keeps as fn(Config) -> Config),
        (false, |config| config),
    ] {
        let (server, client) = (open(change), open(change));
        runtime().block_on(async {
            let echo = |text: String| async move { format!("you said: {text}") };
            let app = Router::new().route("/echo", post(echo));
            let address = serve(app.layer(layer(&server))).await;
            let request = request(address, "/echo").method("POST");
            let request = request.body(Full::from("secret w\u{f6}rd")).unwrap();
            let (_, body) = ask(&client, request).await.unwrap();
            assert_eq!(body, "you said: secret w\u{f6}rd");
        });
        let (server, client) = (spans(&server, 1).remove(0), spans(&client, 1).remove(0));
        if !kept {
            let all = format!("{server:?}{client:?}");
            assert!(!all.contains("secret") && !all.contains("size"), "{all}");
            continue;
        }
        // The character that the limit cuts in two is left out.
        assert_eq!(text(&server, "inputs"), "secret w");
        assert_eq!(number(&server, "input_size"), Some(12));
        for span in [&server, &client] {
            assert_eq!(text(span, "outputs"), "you said");
            assert_eq!(number(span, "output_size"), Some(22));
        }
    }
}

/// What headers a server got, and whether it then records.
async fn seen_with(client: &Manager, server: &Manager, header: Option<&str>) -> HeaderMap {
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let noted = Arc::clone(&seen);
    let note = move |headers: HeaderMap| async move {
        *noted.lock().unwrap() = headers;
    };
    let address = serve(Router::new().route("/", get(note)).layer(layer(server))).await;
    let mut request = request(address, "/");
    if let Some(header) = header {
        request = request.header("traceparent", header);
    }
    ask(client, request.body(empty()).unwrap()).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    seen
}

#[test]
fn headers_that_are_malformed_count_as_none_and_none_are_sent_where_that_is_said() {
    runtime().block_on(async {
        let (client, server) = (open(|config| config), open(|config| config));
        // A client of its own context takes the place of what stood there.
        let seen = seen_with(&client, &server, Some("00-nonsense")).await;
        let span = &spans(&client, 1)[0];
        let expected = format!("00-{}-{}-01", span.trace_id, span.span_id);
        assert_eq!(seen["traceparent"], expected);
        assert_eq!(spans(&server, 1)[0].parent_span_id, Some(span.span_id));

        let nothing = Manager::disabled();
        for malformed in ["00-nonsense", "", "\u{e4}"] {
            let server = open(|config| config);
            seen_with(&nothing, &server, Some(malformed)).await;
            let span = &spans(&server, 1)[0];
            assert_eq!((span.parent_span_id, span.remote_parent), (None, false));
        }

        let silent = open(|config| config.propagate_context(false));
        let server = open(|config| config);
        let seen = seen_with(&silent, &server, None).await;
        assert!(!seen.contains_key("traceparent"), "{seen:?}");
        assert_eq!(spans(&server, 1)[0].parent_span_id, None);
        let deaf = open(|config| config.propagate_context(false));
        seen_with(&nothing, &deaf, Some(GOOD)).await;
        let span = &spans(&deaf, 1)[0];
        assert_eq!(span.parent_span_id, None);
        assert_ne!(span.trace_id.to_string(), TRACE);
    });
}

#[test]
fn what_is_not_sampled_is_not_recorded_and_passed_on_as_such() {
    let (front, back) = (open(|config| config), open(|config| config));
    runtime().block_on(async {
        let behind = Arc::new(Mutex::new(HeaderMap::new()));
        let (shop, store, noted) = (
            front.manager.clone(),
            back.manager.clone(),
            Arc::clone(&behind),
        );
        let order = move || async move {
            *noted.lock().unwrap() = seen_with(&shop, &store, None).await;
            shop.current_run().span("nothing").ok();
        };
        let address = serve(Router::new().route("/", get(order)).layer(layer(&front))).await;
        let unsampled = format!("{}00", &GOOD[..GOOD.len() - 2]);
        let sent = request(address, "/").header("traceparent", &unsampled);
        let response = http().request(sent.body(empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let told = TraceContext::extract(&*behind.lock().unwrap());
        assert_eq!(told.trace_id(), Some(TRACE.parse().unwrap()));
        assert!(!told.is_sampled());
    });
    for manager in [&front, &back] {
        assert_eq!(manager.query_spans(&Filter::new().all()).unwrap().len(), 0);
        assert_eq!(manager.query_traces(&Filter::new().all()).unwrap().len(), 0);
    }
}

mod grpc {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        trace_service_client::TraceServiceClient,
        trace_service_server::{TraceService, TraceServiceServer},
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Code, Request, Response};

    /// Answers with the next of these codes, from inside a span of its own.
    struct Answers(Manager, Mutex<Vec<Code>>);

    #[tonic::async_trait]
    impl TraceService for Answers {
        async fn export(
            &self,
            _: Request<ExportTraceServiceRequest>,
        ) -> Result<Response<ExportTraceServiceResponse>, tonic::Status> {
            self.0.current_run().span("inside").ok();
            match self.1.lock().unwrap().remove(0) {
                Code::Ok => Ok(Response::new(ExportTraceServiceResponse::default())),
                code => Err(tonic::Status::new(code, "not now, 50% done")),
            }
        }
    }

    #[test]
    fn codes_of_grpc_say_how_a_call_went() {
        let codes = [Code::Ok, Code::Unavailable, Code::InvalidArgument];
        let (server, client) = (open(|config| config), open(|config| config));
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answers = Answers(server.manager.clone(), Mutex::new(codes.to_vec()));
            let serving = tonic::transport::Server::builder()
                .layer(ServerLayer::new(&server))
                .add_service(TraceServiceServer::new(answers))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(async move { serving.await.unwrap() });
            let endpoint = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap();
            let channel = ClientLayer::new(&client).layer(endpoint.connect().await.unwrap());
            let mut calls = TraceServiceClient::new(channel);
            for code in codes {
                let answer = calls.export(ExportTraceServiceRequest::default()).await;
                assert_eq!(
                    answer.map_or_else(|status| status.code(), |_| Code::Ok),
                    code
                );
            }
        });
        let name = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let served: Vec<_> = spans(&server, 6)
            .into_iter()
            .filter(|s| s.name == name)
            .collect();
        let called = spans(&client, 3);
        for (ours, failed, kind) in [
            (&served, ["", "UNAVAILABLE", ""], SpanKind::Server),
            (
                &called,
                ["", "UNAVAILABLE", "INVALID_ARGUMENT"],
                SpanKind::Client,
            ),
        ] {
            assert_eq!(ours.len(), 3);
            for ((span, code), failed) in ours.iter().zip(codes).zip(failed) {
                assert_eq!((span.name.as_str(), span.kind), (name, kind));
                assert_eq!(text(span, "rpc.system"), "grpc");
                let service = "opentelemetry.proto.collector.trace.v1.TraceService";
                assert_eq!(text(span, "rpc.service"), service);
                assert_eq!(text(span, "rpc.method"), "Export");
                assert_eq!(number(span, "rpc.grpc.status_code"), Some(code as i64));
                assert_eq!(error_type(span), failed, "{code:?}");
                let message = span.error.as_ref().map_or("", |error| &error.message);
                assert_eq!(message.is_empty(), failed.is_empty());
                assert!(message.is_empty() || message == "not now, 50% done");
                let status = if failed.is_empty() {
                    Status::Ok
                } else {
                    Status::Error
                };
                assert_eq!(span.status, status, "{code:?}");
            }
        }
        for (served, called) in served.iter().zip(&called) {
            assert_eq!(served.parent_span_id, Some(called.span_id));
            assert_eq!(served.trace_id, called.trace_id);
        }
    }
}
