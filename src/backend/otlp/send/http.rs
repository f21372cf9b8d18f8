//! Requests over HTTP/1.1.

use std::{
    io::{self, Write as _},
    time::SystemTime,
};

use flate2::{write::GzEncoder, Compression as Level};
use ureq::{
    http::{header, Response},
    tls::{parse_pem, ClientCert, PemItem, RootCerts, TlsConfig},
    unversioned::transport::DefaultConnector,
    Agent, Body,
};

use super::{
    answer::{of_status, partial_json, partial_proto, retry_after, shown, status_message},
    read_pem,
    resolver::Remembering,
    Send, Taken, Untaken,
};
use crate::backend::{
    otlp::{
        batch::Form,
        options::Compression,
        resolve::Settings,
        secret::{bare_url, Headers},
    },
    SinkError,
};

/// Longest response that is read.
const RESPONSE: u64 = 4 << 20;

/// A client with one connection that it keeps.
pub(super) struct Http {
    agent: Agent,
    resolver: Remembering,
    url: String,
    /// The address as it may be shown.
    shown: String,
    headers: Headers,
    form: Form,
    gzip: bool,
    /// The compressed request, reused.
    packed: Vec<u8>,
}

impl Http {
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Self, SinkError> {
        let config = Agent::config_builder()
            // An answer is an answer; and a redirect is a wrong address, not a place to send to.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(settings.timeout))
            .timeout_connect(Some(settings.timeout))
            // No surprising ways: what leaves goes where the options say.
            .proxy(None)
            .user_agent(concat!("emberlog/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .tls_config(tls(settings)?)
            .build();
        let resolver = Remembering::default();
        Ok(Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver.clone()),
            resolver,
            url: url.to_owned(),
            shown: bare_url(url),
            headers: settings.headers.clone(),
            form: settings.form,
            gzip: settings.compression == Compression::Gzip,
            packed: Vec::new(),
        })
    }

    /// A sentence about what happened, with nothing in it that is secret.
    fn about(&self, text: &str) -> String {
        format!("{}: {}", self.shown, self.headers.hide_in(text))
    }

    fn post(&mut self, body: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let content = match self.form {
            Form::Proto => "application/x-protobuf",
            Form::Json => "application/json",
        };
        let mut request = self
            .agent
            .post(&self.url)
            .header(header::CONTENT_TYPE, content);
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        if !self.gzip {
            return request.send(body);
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        // Writing into a `Vec` cannot fail.
        let mut encoder = GzEncoder::new(packed, Level::default());
        let written = encoder.write_all(body);
        self.packed = written.and_then(|()| encoder.finish())?;
        request
            .header(header::CONTENT_ENCODING, "gzip")
            .send(&self.packed[..])
    }

    fn answered(&self, mut response: Response<Body>) -> Result<Taken, Untaken> {
        let status = response.status().as_u16();
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let wait = header(header::RETRY_AFTER);
        let wait = wait.and_then(|text| retry_after(text, SystemTime::now()));
        let content = header(header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let body = response
            .body_mut()
            .with_config()
            .limit(RESPONSE)
            .read_to_vec();
        if (200..300).contains(&status) {
            if content.starts_with("text/html") {
                // A proxy or a sign-in page: whatever it is, it took nothing.
                let text = format!("answered {status} with a web page, which no receiver does");
                return Err(Untaken::Refused(self.about(&text)));
            }
            // The status says that it was taken; nothing behind it can undo that.
            let body = body.unwrap_or_default();
            let taken = match content.contains("json") {
                true => partial_json(&body),
                false => partial_proto(&body),
            };
            return Ok(taken.map_or_else(
                || Taken {
                    rejected: 0,
                    message: self.about("took it, and answered what is not OTLP"),
                },
                |taken| Taken {
                    message: self.headers.hide_in(&taken.message),
                    ..taken
                },
            ));
        }
        let body = body.unwrap_or_default();
        let said = match content.contains("protobuf") {
            true => status_message(&body).unwrap_or_default(),
            false => shown(&body),
        };
        let text = match said.as_str() {
            "" => format!("answered {status}"),
            said => format!("answered {status}: {said}"),
        };
        Err(of_status(status, self.about(&text), wait))
    }
}

impl Send for Http {
    fn send(&mut self, body: &[u8]) -> Result<Taken, Untaken> {
        match self.post(body) {
            Ok(response) => self.answered(response),
            Err(error) => {
                self.resolver.forget();
                let text = self.about(&describe(&error));
                Err(match is_refused(&error) {
                    true => Untaken::Refused(text),
                    false => Untaken::Retry(text, None),
                })
            }
        }
    }
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    }
}

/// Whether trying again soon cannot help: certificates that do not check, addresses that are none.
fn is_refused(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Tls(_)
        | ureq::Error::Pem(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::BadUri(_)
        | ureq::Error::Http(_) => true,
        // A failed handshake comes as data that is invalid.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn tls(settings: &Settings) -> Result<TlsConfig, SinkError> {
    let refused = |what: &str, path: &std::path::Path, error: &str| {
        SinkError::Refused(format!("the {what} {}: {error}", path.display()).into())
    };
    let items = |what: &str, path: &std::path::Path| {
        let bytes = read_pem(what, path)?;
        let items = parse_pem(&bytes).collect::<Result<Vec<_>, _>>();
        items.map_err(|error| refused(what, path, &error.to_string()))
    };
    let certificates = |what: &str, path: &std::path::Path| {
        let found: Vec<_> = items(what, path)?
            .into_iter()
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        match found.is_empty() {
            true => Err(refused(what, path, "holds no certificate")),
            false => Ok(found),
        }
    };
    let mut config = TlsConfig::builder();
    if let Some(path) = &settings.tls.ca {
        let roots = certificates("certificate file", path)?;
        config = config.root_certs(RootCerts::new_with_certs(&roots));
    }
    if let Some((certificate, key)) = &settings.tls.client {
        let chain = certificates("client certificate", certificate)?;
        let what = "client key";
        let found = items(what, key)?.into_iter().find_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
        let key = found.ok_or_else(|| refused(what, key, "holds no key"))?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(config.build())
}
