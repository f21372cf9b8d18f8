//! An axum service that calls another: two services with a log each, one trace through both, read
//! from the folder that holds the logs.
//!
//! It prints:
//!
//! ```text
//! order 7: 17 left
//! order 8: out of stock
//! GET /orders/{id} server ok 200
//!   GET client ok 200
//!     GET /stock/{item} server ok 200
//!       look up internal ok
//! GET /orders/{id} server ok 200
//!   GET client error 404
//!     GET /stock/{item} server ok 404
//! ```

use std::net::SocketAddr;

use axum::{
    body::Bytes,
    extract::{MatchedPath, Path, State},
    http::{Request, StatusCode},
    routing::get,
    Router,
};
use emberlog::{
    bridge::tower_0_5::{ClientLayer, ServerLayer},
    Config, Filter, LogReader, Manager, Span, SpanId, SpanKind,
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn layer(manager: &Manager) -> ServerLayer {
    ServerLayer::new(manager).route(|found| Some(found.get::<MatchedPath>()?.as_str()))
}

async fn serve(app: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// What is asked, and status and text of the answer.
async fn ask(manager: &Manager, url: String) -> Result<(StatusCode, String), Failure> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let client = ClientLayer::new(manager).layer(client);
    let response = client
        .oneshot(Request::get(url).body(Empty::new())?)
        .await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

async fn stock(State(manager): State<Manager>, Path(item): Path<u32>) -> (StatusCode, String) {
    if item != 7 {
        return (StatusCode::NOT_FOUND, String::new());
    }
    // The run of the request: nobody had to hand it down.
    manager.current_run().span("look up").ok();
    (StatusCode::OK, "17 left".to_owned())
}

async fn order(
    State((manager, stock)): State<(Manager, SocketAddr)>,
    Path(id): Path<u32>,
) -> Result<String, StatusCode> {
    let answer = ask(&manager, format!("http://{stock}/stock/{id}")).await;
    let (status, left) = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    match status {
        StatusCode::OK => Ok(format!("order {id}: {left}")),
        _ => Ok(format!("order {id}: out of stock")),
    }
}

fn print(spans: &[Span], parent: Option<SpanId>, depth: usize) {
    for span in spans.iter().filter(|span| span.parent_span_id == parent) {
        let status = span.attributes.get("http.response.status_code");
        let status = status.and_then(|value| value.as_i64());
        let status = status.map_or(String::new(), |status| format!(" {status}"));
        println!(
            "{:1$}{2} {3} {4}{status}",
            "",
            2 * depth,
            span.name,
            span.kind,
            span.status
        );
        print(spans, Some(span.span_id), depth + 1);
    }
}

fn main() -> Result<(), Failure> {
    let dir = std::env::temp_dir().join(format!("emberlog-axum-{}", std::process::id()));
    let shop = Manager::open(Config::new(dir.join("shop")))?;
    let store = Manager::open(Config::new(dir.join("store")))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let app = Router::new().route("/stock/{item}", get(stock));
        let behind = serve(app.with_state(store.clone()).layer(layer(&store))).await?;
        let app = Router::new().route("/orders/{id}", get(order));
        let front = serve(app.with_state((shop.clone(), behind)).layer(layer(&shop))).await?;
        for id in [7, 8] {
            // Asked by somebody who records nothing.
            let asked = ask(&Manager::disabled(), format!("http://{front}/orders/{id}")).await?;
            println!("{}", asked.1);
        }
        Ok::<_, Failure>(())
    })?;
    // What was being answered is answered.
    drop(runtime);
    shop.shutdown()?;
    store.shutdown()?;

    let reader = LogReader::open(&dir)?;
    let mut spans = reader.spans(&Filter::new().all())?;
    spans.sort_by_key(|span| span.start_ns);
    for root in spans.iter().filter(|span| span.parent_span_id.is_none()) {
        let trace = root.trace_id;
        let of_trace: Vec<_> = spans
            .iter()
            .filter(|span| span.trace_id == trace)
            .cloned()
            .collect();
        assert_eq!(root.kind, SpanKind::Server);
        print(&of_trace, None, 0);
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
