//! The receiver's HTTP/1.1 side, by hand: a good server would not misbehave.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Instant,
};

use flate2::read::GzDecoder;

use super::{decode, partial, Act, Seen, Shared};

/// A receiver on a free port of the loopback interface; it ends with the process.
pub struct Receiver {
    pub shared: Shared,
    pub port: u16,
}

impl std::ops::Deref for Receiver {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Receiver {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    pub fn with_tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(config))
    }

    pub fn on(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let shared = Shared::default();
        let mine = shared.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, shared, tls) = (socket.unwrap(), mine.clone(), tls.clone());
                shared.connected();
                thread::spawn(move || match tls {
                    None => serve(socket.try_clone().unwrap(), &socket, &shared),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).unwrap();
                        let stream = rustls::StreamOwned::new(session, socket.try_clone().unwrap());
                        serve(stream, &socket, &shared);
                    }
                });
            }
        });
        Self { shared, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: impl Read + Write, socket: &TcpStream, shared: &Shared) {
    while let Some((path, headers, body)) = read(&mut stream) {
        let json = headers
            .get("content-type")
            .is_some_and(|c| c.contains("json"));
        let wire = body.len();
        let body = match headers.get("content-encoding").map(String::as_str) {
            Some("gzip") => {
                let mut out = Vec::new();
                GzDecoder::new(&body[..]).read_to_end(&mut out).unwrap();
                out
            }
            None => body,
            Some(other) => panic!("content-encoding {other}"),
        };
        let seen = Seen {
            path: path.clone(),
            wire,
            bytes: body.len(),
            headers,
            at: Instant::now(),
        };
        let act = shared.came(seen, &body);
        let store = || shared.take(decode(&path, json, &body));
        let kind = match json {
            true => "application/json",
            false => "application/x-protobuf",
        };
        let result = match act {
            Act::Take => {
                store();
                answer(
                    &mut stream,
                    200,
                    &[("content-type", kind)],
                    match json {
                        true => b"{}",
                        false => b"",
                    },
                )
            }
            Act::Answer(kind, body) => {
                store();
                answer(&mut stream, 200, &[("content-type", kind)], &body)
            }
            Act::Partial(rejected, message) => {
                store();
                let body = partial(&path, json, rejected, message);
                answer(&mut stream, 200, &[("content-type", kind)], &body)
            }
            Act::Refuse(status, headers, body) => {
                let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
                answer(&mut stream, status, &headers, body.as_bytes())
            }
            Act::HangAfter => {
                store();
                let _ = stream.read(&mut [0]);
                return;
            }
            Act::Hang => {
                // Until the other side has enough.
                let _ = stream.read(&mut [0]);
                return;
            }
            Act::DropBefore => return drop(socket.shutdown(Shutdown::Both)),
            Act::DropAfter => {
                store();
                return drop(socket.shutdown(Shutdown::Both));
            }
            Act::Garbage => {
                let _ = stream.write_all(b"\x00\xff garbage, no HTTP \r\n\r\n");
                return drop(socket.shutdown(Shutdown::Both));
            }
        };
        if result.is_err() {
            return;
        }
    }
}

type Parts = (String, HashMap<String, String>, Vec<u8>);

fn read(stream: &mut impl Read) -> Option<Parts> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with("POST ") && first.ends_with(" HTTP/1.1"),
        "{first}"
    );
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((path, headers, body))
}

fn answer(
    stream: &mut impl Write,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
