//! Through a real collector (rotel) to a receiver of the test's own: all three signals, over HTTP in
//! both forms and over gRPC. `scripts/test collector` installs the collector and runs this.

use std::{
    collections::BTreeSet,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use emberlog::{
    backend::otlp::{Compression, Options, Protocol},
    Config, Manager,
};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};

use crate::receiver::{http::Receiver, text};

/// A collector that forwards; it is killed when it is dropped.
struct Collector {
    child: Child,
    log: PathBuf,
    http: u16,
    grpc: u16,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Collector {
    fn start(dir: &Path, receiver: &Receiver) -> Self {
        let program = std::env::var_os("EMBERLOG_ROTEL")
            .expect("EMBERLOG_ROTEL names the collector's program; scripts/test collector sets it");
        let (http, grpc) = (free_port(), free_port());
        let log = std::fs::File::create(dir.join("collector.log")).unwrap();
        let child = Command::new(program)
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &receiver.url()])
            .args(["--batch-timeout", "50ms"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let log = dir.join("collector.log");
        let this = Self {
            child,
            log,
            http,
            grpc,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        for port in [http, grpc] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let log = std::fs::read_to_string(dir.join("collector.log")).unwrap_or_default();
                assert!(
                    Instant::now() < deadline,
                    "the collector does not listen:\n{log}"
                );
                std::thread::yield_now();
            }
        }
        this
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            println!("the collector said:\n{log}");
        }
    }
}

fn record(manager: &Manager, traces: u64) {
    for n in 0..traces {
        let run = manager.start_trace("run");
        let node = run.node("node").with("n", n);
        run.event("cache.hit", "found").with("n", n).record();
        run.metric("hits").unit("requests").counter(1u64);
        run.metric("size").unit("bytes").histogram(n);
        match n % 5 {
            0 => node.fail_with("ValueError", "bad"),
            _ => node.ok(),
        }
        run.ok();
    }
}

#[test]
#[ignore = "needs the collector rotel: scripts/test collector"]
fn a_real_collector_takes_and_forwards_everything() {
    let ways = [
        (Protocol::HttpProtobuf, Compression::None),
        (Protocol::HttpProtobuf, Compression::Gzip),
        (Protocol::HttpJson, Compression::None),
        (Protocol::Grpc, Compression::None),
        (Protocol::Grpc, Compression::Gzip),
    ];
    for (protocol, compression) in ways {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let collector = Collector::start(dir.path(), &receiver);
        let port = match protocol {
            Protocol::Grpc => collector.grpc,
            _ => collector.http,
        };
        let options = Options::new()
            .environment([("NOT", "used")])
            .endpoint(format!("http://127.0.0.1:{port}"))
            .protocol(protocol)
            .compression(compression);
        let mut config = Config::new(dir.path().join("log"))
            .resource("service.name", "collected")
            .otlp(options);
        config.ring.dir = Some(dir.path().join("rings"));
        let manager = Manager::open(config).unwrap();
        record(&manager, 300);
        manager.export(Duration::from_secs(60)).unwrap();
        let stats = manager.stats().backends;
        assert!(
            stats.iter().all(|s| s.errors == 0 && s.rejected == 0),
            "{stats:?}"
        );
        // In JSON this collector loses the values of all points, also of those that the
        // specification gives as an example; its own reader does, before it forwards anything.
        let has_points = protocol != Protocol::HttpJson;
        // What the collector took it forwards in its own time.
        receiver.wait("all of it", |stored| {
            let nodes = stored.metrics().iter().any(|metric| match &metric.data {
                Some(Data::Sum(sum)) => {
                    metric.name == "hits" && sum.data_points[0].value == Some(Value::AsInt(300))
                }
                _ => false,
            });
            stored.spans().len() >= 600 && stored.logs().len() >= 300 && (nodes || !has_points)
        });
        let stored = receiver.stored();
        let spans = stored.spans();
        let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
        assert_eq!((spans.len(), ids.len()), (600, 600), "{protocol:?}");
        let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
        assert_eq!(roots.count(), 300);
        for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
            assert!(ids.contains(&span.parent_span_id));
            assert_eq!(
                text(&span.attributes, "emberlog.kind"),
                Some("node_execution")
            );
        }
        let failed = spans
            .iter()
            .filter(|s| s.status.as_ref().is_some_and(|s| s.code == 2));
        assert_eq!(failed.count(), 60);
        let logs = stored.logs();
        assert_eq!(logs.len(), 300);
        assert!(logs
            .iter()
            .all(|log| log.trace_id.len() == 16 && log.span_id.len() == 8));
        for resource in stored.resources() {
            assert_eq!(
                text(&resource.attributes, "service.name"),
                Some("collected")
            );
        }
        if !has_points {
            continue;
        }
        let metrics = stored.metrics();
        let find = |name: &str| {
            metrics
                .iter()
                .rev()
                .find(|metric| metric.name == name)
                .unwrap()
        };
        let Some(Data::Histogram(size)) = &find("size").data else {
            panic!("no histogram")
        };
        assert_eq!(
            (find("size").unit.as_str(), size.data_points[0].count),
            ("By", 300)
        );
        let Some(Data::Histogram(duration)) = &find("node.duration").data else {
            panic!("no histogram of durations")
        };
        let counts: u64 = duration.data_points.iter().map(|point| point.count).sum();
        assert_eq!(counts, 300);
    }
}
