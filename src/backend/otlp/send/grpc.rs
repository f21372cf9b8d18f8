//! Requests over gRPC.
//!
//! The bytes are ready, so the codec passes them through: nothing is decoded or generated here.

use std::{error::Error as _, io, time::Duration};

use bytes::{Buf, BufMut};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    client::Grpc as Client,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
    Code, Request, Status,
};
use tracing_core::dispatcher::{with_default, Dispatch};

use super::{
    answer::{partial_proto, retry_info, shown},
    read_pem, Send, Taken, Untaken,
};
use crate::backend::{
    otlp::{
        options::Compression,
        resolve::Settings,
        secret::{bare_url, Headers},
        Signal,
    },
    SinkError,
};

/// Longest response that is read.
const RESPONSE: usize = 4 << 20;

/// A client with one connection, on the thread that calls it.
pub(super) struct Grpc {
    runtime: Runtime,
    client: Client<Channel>,
    path: PathAndQuery,
    metadata: MetadataMap,
    timeout: Duration,
    shown: String,
    headers: Headers,
}

fn refused(text: String) -> SinkError {
    SinkError::Refused(text.into())
}

impl Grpc {
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self, SinkError> {
        let shown = bare_url(url);
        let wrong = |error: tonic::transport::Error| {
            let mut text = format!("{shown}: {error}");
            if let Some(source) = error.source() {
                text = format!("{text}: {source}");
            }
            refused(text)
        };
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(wrong)?
            .connect_timeout(settings.timeout)
            .user_agent(concat!("emberlog/", env!("CARGO_PKG_VERSION")))
            .map_err(wrong)?;
        if url.starts_with("https://") {
            endpoint = endpoint.tls_config(tls(settings)?).map_err(wrong)?;
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| SinkError::Retry(error.into()))?;
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let mut client = Client::new(channel).max_decoding_message_size(RESPONSE);
        if settings.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut metadata = MetadataMap::new();
        for (name, value) in settings.headers.iter() {
            let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let value = value.parse::<MetadataValue<_>>();
            let (Ok(key), Ok(value)) = (key, value) else {
                return Err(refused(format!("header {name:?} cannot be sent by gRPC")));
            };
            metadata.insert(key, value);
        }
        Ok(Self {
            runtime,
            client,
            path: PathAndQuery::from_static(match settings.signal {
                Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                Signal::Metrics => {
                    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
                }
            }),
            metadata,
            timeout: settings.timeout,
            shown,
            headers: settings.headers.clone(),
        })
    }

    /// A sentence about what happened, with nothing in it that is secret.
    fn about(&self, text: &str) -> String {
        format!("{}: {}", self.shown, self.headers.hide_in(text))
    }

    /// What a status means, as the specification lists it.
    fn untaken(&self, status: &Status) -> Untaken {
        let message = shown(status.message().as_bytes());
        let mut text = format!("answered {:?}: {message}", status.code());
        if let Some(source) = status.source().and_then(|error| error.source()) {
            text = format!("{text}: {source}");
        }
        let text = self.about(&text);
        let wait = retry_info(status.details());
        let too_large = is_too_large(&message);
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted if too_large => Untaken::TooLarge(text),
            Code::ResourceExhausted if wait.is_none() => Untaken::Refused(text),
            Code::Unavailable | Code::Unknown if has_bad_certificate(status) => {
                Untaken::Refused(text)
            }
            // The transport's own word for a connection that broke.
            Code::Unknown if status.source().is_some() => Untaken::Retry(text, wait),
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unavailable
            | Code::DataLoss => Untaken::Retry(text, wait),
            Code::InvalidArgument => Untaken::Content(text),
            _ => Untaken::Refused(text),
        }
    }
}

/// Receivers say in words alone that it was the size.
fn is_too_large(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["larger than max", "too large", "message length", "exceeds"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether a handshake failed because of what one side showed.
fn has_bad_certificate(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        source = error.source();
    }
    false
}

impl Send for Grpc {
    fn send(&mut self, body: &[u8]) -> Result<Taken, Untaken> {
        let mut request = Request::new(body.to_vec());
        *request.metadata_mut() = self.metadata.clone();
        let (client, path) = (&mut self.client, self.path.clone());
        let call = async {
            let ready = client.ready().await;
            ready.map_err(|error| Status::from_error(Box::new(error)))?;
            client.unary(request, path, Raw).await
        };
        let timeout = self.timeout;
        // What the transport says of itself must not be recorded: recording it would be sent.
        let answer = with_default(&Dispatch::none(), || {
            self.runtime
                .block_on(async { tokio::time::timeout(timeout, call).await })
        });
        match answer {
            Err(_) => Err(Untaken::Retry(self.about("no answer in time"), None)),
            Ok(Err(status)) => Err(self.untaken(&status)),
            Ok(Ok(response)) => {
                let taken = partial_proto(&response.into_inner());
                let mut taken = taken.unwrap_or_else(|| Taken {
                    rejected: 0,
                    message: self.about("took it, and answered what is not OTLP"),
                });
                taken.message = self.headers.hide_in(&taken.message);
                Ok(taken)
            }
        }
    }
}

fn tls(settings: &Settings) -> Result<ClientTlsConfig, SinkError> {
    let mut config = ClientTlsConfig::new();
    config = match &settings.tls.ca {
        Some(path) => {
            let pem = read_pem("certificate file", path)?;
            config.ca_certificate(Certificate::from_pem(pem))
        }
        None => config.with_webpki_roots(),
    };
    if let Some((certificate, key)) = &settings.tls.client {
        let certificate = read_pem("client certificate", certificate)?;
        let key = read_pem("client key", key)?;
        config = config.identity(Identity::from_pem(certificate, key));
    }
    Ok(config)
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; src.remaining()];
        src.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
