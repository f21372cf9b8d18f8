//! The receiver's gRPC side, with the services that `opentelemetry-proto` generates.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        logs_service_server::{LogsService, LogsServiceServer},
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    },
    metrics::v1::{
        metrics_service_server::{MetricsService, MetricsServiceServer},
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    },
    trace::v1::{
        trace_service_server::{TraceService, TraceServiceServer},
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    codec::CompressionEncoding,
    metadata::KeyAndValueRef,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
    Code, Request, Response, Status,
};

use super::{Act, Request as Taken, Seen, Shared};

/// A receiver on a free port of the loopback interface; it ends when it is dropped.
pub struct Receiver {
    pub shared: Shared,
    pub port: u16,
    runtime: Option<tokio::runtime::Runtime>,
}

impl std::ops::Deref for Receiver {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// What TLS needs: certificate and key of the server, authority of its clients.
pub struct Tls {
    pub certificate: String,
    pub key: String,
    pub clients: Option<String>,
}

impl Receiver {
    pub fn start() -> Self {
        Self::with(None, 4 << 20)
    }

    /// Takes messages of so many bytes; longer ones get tonic's own answer.
    pub fn with(tls: Option<Tls>, largest: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared::default();
        let service = Service(shared.clone());
        macro_rules! server {
            ($server:ident) => {
                $server::new(service.clone())
                    .accept_compressed(CompressionEncoding::Gzip)
                    .max_decoding_message_size(largest)
            };
        }
        let mut builder = Server::builder();
        if let Some(tls) = tls {
            let identity = Identity::from_pem(tls.certificate, tls.key);
            let mut config = ServerTlsConfig::new().identity(identity);
            if let Some(clients) = tls.clients {
                config = config.client_ca_root(Certificate::from_pem(clients));
            }
            builder = builder.tls_config(config).unwrap();
        }
        let router = builder
            .add_service(server!(TraceServiceServer))
            .add_service(server!(LogsServiceServer))
            .add_service(server!(MetricsServiceServer));
        runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            shared,
            port,
            runtime: Some(runtime),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Service(Shared);

/// A `google.rpc.Status` with a `RetryInfo` of so many seconds.
fn with_retry_info(code: Code, seconds: u64) -> Status {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Duration {
        #[prost(int64, tag = "1")]
        seconds: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Duration>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    let info = RetryInfo {
        retry_delay: Some(Duration {
            seconds: seconds as i64,
        }),
    };
    let status = RpcStatus {
        code: code as i32,
        message: "busy".to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(code, "busy", status.encode_to_vec().into())
}

impl Service {
    /// Does what the script says; how many it rejects, and why.
    async fn act<M: prost::Message + Clone>(
        &self,
        path: &str,
        request: Request<M>,
        take: impl FnOnce(M) -> Taken,
    ) -> Result<(i64, &'static str), Status> {
        let headers: HashMap<_, _> = request
            .metadata()
            .iter()
            .filter_map(|pair| match pair {
                KeyAndValueRef::Ascii(key, value) => Some((
                    key.to_string(),
                    value.to_str().unwrap_or_default().to_owned(),
                )),
                KeyAndValueRef::Binary(..) => None,
            })
            .collect();
        let message = request.into_inner();
        let bytes = message.encode_to_vec();
        let seen = Seen {
            path: path.to_owned(),
            headers,
            wire: bytes.len(),
            bytes: bytes.len(),
            at: Instant::now(),
        };
        match self.0.came(seen, &bytes) {
            Act::Take | Act::Answer(..) => {
                self.0.take(take(message));
                Ok((0, ""))
            }
            Act::Partial(rejected, message_of) => {
                self.0.take(take(message));
                Ok((rejected, message_of))
            }
            // Codes of gRPC; 429 is what RetryInfo goes with.
            Act::Refuse(429, headers, _) => {
                let seconds = headers.iter().find(|(name, _)| *name == "retry-after");
                Err(match seconds {
                    Some((_, s)) => with_retry_info(Code::ResourceExhausted, s.parse().unwrap()),
                    None => Status::resource_exhausted("quota"),
                })
            }
            Act::Refuse(400, _, text) => Err(Status::invalid_argument(text)),
            Act::Refuse(413, ..) => Err(Status::resource_exhausted(
                "grpc: received message larger than max (5000 vs. 4000)",
            )),
            Act::Refuse(code, _, text) => Err(Status::new(Code::from_i32(code.into()), text)),
            Act::Hang => std::future::pending().await,
            Act::HangAfter => {
                self.0.take(take(message));
                std::future::pending().await
            }
            Act::DropAfter => {
                self.0.take(take(message));
                Err(Status::unavailable("gone after storing"))
            }
            Act::DropBefore | Act::Garbage => Err(Status::unavailable("gone")),
        }
    }
}

macro_rules! service {
    ($service:ident, $request:ident, $response:ident, $partial:ident, $field:ident, $kind:ident, $path:literal) => {
        #[tonic::async_trait]
        impl $service for Service {
            async fn export(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                let (rejected, message) = self.act($path, request, Taken::$kind).await?;
                let partial = $partial {
                    $field: rejected,
                    error_message: message.to_owned(),
                };
                let partial_success = (rejected > 0 || !message.is_empty()).then_some(partial);
                Ok(Response::new($response { partial_success }))
            }
        }
    };
}

service!(
    TraceService,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    ExportTracePartialSuccess,
    rejected_spans,
    Traces,
    "/v1/traces"
);
service!(
    LogsService,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    ExportLogsPartialSuccess,
    rejected_log_records,
    Logs,
    "/v1/logs"
);
service!(
    MetricsService,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    ExportMetricsPartialSuccess,
    rejected_data_points,
    Metrics,
    "/v1/metrics"
);
