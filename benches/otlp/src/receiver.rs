//! A receiver in a process of its own: takes traces over HTTP and gRPC, counts spans and the bytes
//! that reach its sockets, and says so for every line that it is given.

use std::{
    io::{BufRead, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    trace_service_server::{TraceService, TraceServiceServer},
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tonic::{transport::Server, Request, Response, Status};

static SPANS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(request: &ExportTraceServiceRequest) {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
    SPANS.fetch_add(spans as u64, Relaxed);
}

pub fn serve() {
    let http = TcpListener::bind("127.0.0.1:0").expect("a port");
    let http_port = http.local_addr().expect("it has one").port();
    thread::spawn(move || {
        for socket in http.incoming().flatten() {
            thread::spawn(move || answer(socket));
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (inner, outer) = runtime.block_on(async {
        let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
        (listen().await.expect("a port"), listen().await.expect("a port"))
    });
    let inner_port = inner.local_addr().expect("it has one").port();
    let grpc_port = outer.local_addr().expect("it has one").port();
    runtime.spawn(
        Server::builder()
            .add_service(TraceServiceServer::new(Service))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(inner)),
    );
    // Bytes of gRPC are counted on their way to the server.
    runtime.spawn(async move {
        while let Ok((client, _)) = outer.accept().await {
            tokio::spawn(forward(client, inner_port));
        }
    });
    let mut out = std::io::stdout();
    let mut say = |a: u64, b: u64| {
        writeln!(out, "{a} {b}").and_then(|()| out.flush()).expect("somebody reads");
    };
    say(http_port.into(), grpc_port.into());
    for _ in std::io::stdin().lock().lines() {
        say(SPANS.swap(0, Relaxed), BYTES.swap(0, Relaxed));
    }
}

async fn forward(client: tokio::net::TcpStream, port: u16) {
    use tokio::io::{copy, AsyncReadExt, AsyncWriteExt};
    let Ok(server) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        BYTES.fetch_add(read as u64, Relaxed);
        if to_server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

struct Service;

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        count(request.get_ref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn answer(mut socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            match socket.read(&mut buffer) {
                Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
                _ => return,
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.split("content-length:").nth(1).expect("a length");
        let length: usize = length.lines().next().and_then(|l| l.trim().parse().ok()).expect("a length");
        while bytes.len() < head + length {
            match socket.read(&mut buffer) {
                Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
                _ => return,
            }
        }
        BYTES.fetch_add((head + length) as u64, Relaxed);
        let body = &bytes[head..head + length];
        count(&ExportTraceServiceRequest::decode(body).expect("a request"));
        bytes.drain(..head + length);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if socket.write_all(answer).is_err() {
            return;
        }
    }
}
