//! Secrets appear nowhere: not in what is printed of a configuration, an error or a report, and in
//! no file that we write.
//!
//! A backend adds itself to [`backends`]: configured with the canary wherever it takes a secret, and
//! so that it fails.

use std::{fs, path::Path, time::Duration};
#[cfg(any(feature = "otlp", feature = "postgres"))]
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use emberlog::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::Position,
    BackendConfig, Config, LogId, Manager,
};

/// What must not be seen, and how it looks in a URL.
const CANARY: &str = "hunter2/canary@7";
const ENCODED: &str = "hunter2%2Fcanary%407";

/// Fails with more words than it should.
struct Leaky {
    fails: fn(String) -> SinkError,
    panics: bool,
}

impl Sink for Leaky {
    fn name(&self) -> &str {
        "leaky"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, _rows: &[Row]) -> Result<(), SinkError> {
        let text = format!(
            "cannot reach https://me:{ENCODED}@host/x?key={ENCODED} with authorization {CANARY}"
        );
        assert!(!self.panics, "{text}");
        Err((self.fails)(text))
    }
}

fn leaky(name: &str, fails: fn(String) -> SinkError, panics: bool) -> BackendConfig {
    let make = move || Ok(Box::new(Leaky { fails, panics }) as Box<dyn Sink>);
    BackendConfig::new(name, make).secret(CANARY)
}

/// A server on loopback that answers each connection in this way; its port.
#[cfg(any(feature = "otlp", feature = "postgres"))]
fn server(answer: fn(TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever hangs up early asks again.
            let _ = stream.and_then(answer);
        }
    });
    port
}

/// Asks for the password in clear text, and repeats it when it refuses it.
#[cfg(feature = "postgres")]
fn repeats_the_password(mut stream: TcpStream) -> std::io::Result<()> {
    let message = |stream: &mut TcpStream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body)?;
        Ok::<_, std::io::Error>(body)
    };
    message(&mut stream)?;
    stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3])?;
    stream.read_exact(&mut [0])?;
    let password = message(&mut stream)?;
    let password = String::from_utf8_lossy(&password).into_owned();
    let password = password.trim_end_matches('\0');
    let fields = format!("SFATAL\0VFATAL\0C28P01\0M{password} or {ENCODED} is wrong\0\0");
    stream.write_all(b"E")?;
    stream.write_all(&(fields.len() as u32 + 4).to_be_bytes())?;
    stream.write_all(fields.as_bytes())
}

/// Refuses a request with everything that stood above its body.
#[cfg(feature = "otlp")]
fn repeats_the_headers(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.to_ascii_lowercase();
    let length = length
        .split_once("content-length: ")
        .map_or("0", |(_, n)| n);
    let length = length.lines().next().unwrap_or("0").parse().unwrap_or(0);
    stream.read_exact(&mut vec![0; length])?;
    let size = head.len();
    write!(
        stream,
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{head}"
    )
}

#[cfg(feature = "postgres")]
fn postgres() -> Vec<BackendConfig> {
    use emberlog::backend::postgres::Options;
    let at = |port: u16, name: &str| {
        let url = format!("postgresql://me:{ENCODED}@127.0.0.1:{port}/x?sslmode=disable");
        BackendConfig::postgres(Options::from_url(&url).unwrap()).named(name)
    };
    vec![
        at(1, "postgres-nobody"),
        at(server(repeats_the_password), "postgres-refused"),
    ]
}

#[cfg(feature = "otlp")]
fn otlp() -> Vec<BackendConfig> {
    use emberlog::backend::otlp::Options;
    let at = |port: u16, name: &str| {
        let mut options = Options::new()
            .environment([("OTEL_EXPORTER_OTLP_LOGS_HEADERS", format!("k={ENCODED}"))])
            .endpoint(format!(
                "http://me:{ENCODED}@127.0.0.1:{port}/?key={ENCODED}"
            ))
            .header("x-token", format!("Bearer {CANARY}"))
            .timeout(Duration::from_secs(5));
        options.name = name.to_owned();
        options.traces.headers.set("x-own", CANARY);
        options.backends().unwrap()
    };
    let mut all = at(1, "otlp-nobody");
    all.extend(at(server(repeats_the_headers), "otlp-refused"));
    if cfg!(feature = "otlp-grpc") {
        let options = Options::new()
            .environment([("NOT", "used")])
            .endpoint(format!("http://me:{ENCODED}@127.0.0.1:1"))
            .protocol(emberlog::backend::otlp::Protocol::Grpc)
            .header("x-token", CANARY);
        let backends = options.backends().unwrap().into_iter();
        all.extend(backends.map(|b| {
            let name = format!("grpc-{}", b.name());
            b.named(name)
        }));
    }
    // Without logs or measurements there is nothing to send of them.
    all.retain(|backend| backend.name().ends_with("traces"));
    all
}

/// Every backend that could say too much.
fn backends() -> Vec<BackendConfig> {
    let cannot_open = BackendConfig::new("closed", || {
        Err(SinkError::Refused(
            format!("password {CANARY} was refused").into(),
        ))
    });
    let all = vec![
        leaky("retries", |text| SinkError::Retry(text.into()), false),
        leaky("refuses", |text| SinkError::Refused(text.into()), false),
        leaky("blames", |text| SinkError::Content(text.into()), false),
        leaky("panics", |text| SinkError::Retry(text.into()), true),
        cannot_open.secret(CANARY),
    ];
    #[cfg(feature = "postgres")]
    let all = [all, postgres()].concat();
    #[cfg(feature = "otlp")]
    let all = [all, otlp()].concat();
    all
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    for secret in [CANARY, ENCODED, "hunter2"] {
        assert!(!text.contains(secret), "{what} says {secret}: {text}");
    }
}

fn assert_silent_files(dir: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_silent_files(&path);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert_silent(&path.display().to_string(), &text);
            files += 1;
        }
    }
    files
}

#[test]
fn no_output_shows_a_secret() {
    // Panics are printed by the process's own hook, which is not ours.
    std::panic::set_hook(Box::new(|_| ()));
    let temp = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for backend in backends() {
        let name = backend.name().to_owned();
        let dir = temp.path().join(&name);
        assert_silent("a backend's Debug", &format!("{backend:?} {backend:#?}"));
        let mut config = Config::new(&dir).backend(backend);
        config.shutdown_timeout = Duration::from_millis(200);
        assert_silent(
            "the configuration's Debug",
            &format!("{config:?} {config:#?}"),
        );
        assert_silent("a written configuration", &config.to_value().to_json());
        #[cfg(feature = "serde")]
        assert_silent("serde", &serde_json::to_string(&config).unwrap());
        let problems = config.clone().buffer_size(0).validate().unwrap_err();
        assert_silent("what is wrong", &format!("{problems} {problems:?}"));
        let manager = Manager::open(config).unwrap();
        manager.start_trace("run").ok();
        let until = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let stats = manager.stats();
            assert_silent("stats", &format!("{stats:?}"));
            if let Some(error) = &stats.backends[0].last_error {
                said.push(error.clone());
                break;
            }
            assert!(std::time::Instant::now() < until, "{name} never failed");
            let _ = manager.export(Duration::from_millis(50));
        }
        if let Err(error) = manager.export(Duration::from_millis(50)) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert_silent("an export", &format!("{error} {error:?} {source:?}"));
        }
        let ended = manager.shutdown().unwrap();
        assert_silent("a shutdown", &format!("{ended:?}"));
    }
    // They did say something, with the secret taken out.
    let hidden = said.iter().filter(|text| text.contains("***")).count();
    let servers = usize::from(cfg!(feature = "postgres")) + usize::from(cfg!(feature = "otlp"));
    assert!(hidden >= 4 + servers, "{said:?}");
    assert!(assert_silent_files(temp.path()) > 20);
}
