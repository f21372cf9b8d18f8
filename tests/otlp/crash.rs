//! A process that is killed at any moment: no record is missing, at most one batch per signal and
//! kill arrives twice, and sums count each measurement once.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use emberlog::{backend::otlp::Options, Config, Filter, LogReader, Manager};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};

use crate::receiver::{http::Receiver, text, Act, Request};

/// Rows of a batch; a batch ends with a frame, which has as many again at most.
const BATCH: usize = 50;

fn config(dir: &Path, url: &str) -> Config {
    let mut options = Options::new().environment([("NOT", "used")]).endpoint(url);
    options.metric_rows = BATCH;
    // Several requests per batch.
    options.max_request_bytes = 4 << 10;
    let mut config = Config::new(dir.join("log")).otlp(options);
    config.ring.dir = Some(dir.join("rings"));
    config.buffer_size = BATCH;
    config.export_interval = Duration::from_millis(1);
    config
}

/// Rounds of a child: some twenty requests, of which a few are waited for before it is killed.
const ROUNDS: u64 = 100;

/// The child: records, and delivers until it is killed.
fn record_for_ever(dir: &Path, url: &str) -> ! {
    let manager = Manager::open(config(dir, url)).unwrap();
    for n in 0..ROUNDS {
        let run = manager.start_trace("run");
        run.span("work").with("n", n).ok();
        run.event("an.event", "e").with("n", n).record();
        run.metric("hits").counter(1u64);
        run.ok();
        if n % 20 == 19 {
            // A batch now and then; all else is up to the tails.
            manager.flush().unwrap();
        }
    }
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "is the child of the test below"]
fn child() {
    if let Some(dir) = std::env::var_os("EMBERLOG_OTLP_DIR") {
        record_for_ever(
            Path::new(&dir),
            &std::env::var("EMBERLOG_OTLP_URL").unwrap(),
        );
    }
}

fn start_child(dir: &Path, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env("EMBERLOG_OTLP_DIR", dir)
        .env("EMBERLOG_OTLP_URL", url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_between_sending_and_the_cursor_nothing_is_missing() {
    let deep = std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1");
    let kills = if deep { 1000 } else { 200 };
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let mut random = 1u64;
    for kill in 0..kills {
        let before = receiver.stored().taken.len();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let more = 1 + (random >> 33) as usize % 8;
        // Every other time it has sent something that is stored and learns nothing of it; else it
        // is somewhere behind an answer.
        if kill % 2 == 0 {
            let takes = std::iter::repeat_n(Act::Take, more - 1);
            receiver.script(takes.chain([Act::HangAfter]));
        }
        let mut child = start_child(dir.path(), &receiver.url());
        receiver.wait("requests of the child", |stored| {
            stored.taken.len() >= before + more
        });
        child.kill().unwrap();
        child.wait().unwrap();
        receiver.end_script();
    }
    // The rest, without anybody recording.
    let manager = Manager::open(config(dir.path(), &receiver.url())).unwrap();
    manager.export(Duration::from_secs(120)).unwrap();
    manager.shutdown().unwrap();

    let log = LogReader::open(dir.path().join("log")).unwrap();
    let mut all = Filter::new().all();
    all.recorded_only = true;
    let stored = receiver.stored();
    let mut spans: HashMap<_, usize> = HashMap::new();
    for span in stored.spans() {
        *spans.entry((span.trace_id, span.span_id)).or_default() += 1;
    }
    let recorded = log.spans(&all).unwrap();
    let recorded: Vec<_> = recorded
        .iter()
        .filter(|span| span.duration_ns.is_some())
        .collect();
    assert!(recorded.len() > kills * 10, "{}", recorded.len());
    for span in &recorded {
        let id = (
            span.trace_id.0.to_vec(),
            span.span_id.get().to_be_bytes().to_vec(),
        );
        assert!(spans.contains_key(&id), "{} is missing", span.span_id);
    }
    let ended = log
        .traces(&all)
        .unwrap()
        .iter()
        .filter(|t| t.end_ns.is_some())
        .count();
    assert_eq!(spans.len(), recorded.len() + ended, "spans and roots");

    let mut events: HashMap<_, usize> = HashMap::new();
    for log in stored.logs() {
        let id = text(&log.attributes, "log.record.uid").unwrap().to_owned();
        *events.entry(id).or_default() += 1;
    }
    let recorded = log.events(&all).unwrap();
    assert_eq!(events.len(), recorded.len());
    for event in &recorded {
        assert!(events.contains_key(&format!("{:032x}", event.event_id)));
    }
    let twice =
        |counts: &mut dyn Iterator<Item = usize>| counts.map(|count| count - 1).sum::<usize>();
    let (spans_twice, events_twice) = (
        twice(&mut spans.values().copied()),
        twice(&mut events.values().copied()),
    );
    println!(
        "{kills} kills: {} spans, {spans_twice} twice; {} events, {events_twice} twice",
        spans.len(),
        events.len()
    );
    assert!(spans_twice + events_twice > 0, "what hung was sent again");
    for (twice, most) in [
        (spans_twice, kills * BATCH * 4),
        (events_twice, kills * BATCH * 4),
    ] {
        assert!(twice <= most, "{twice}");
    }

    // Sums: the greatest point of each instance is what its records add up to.
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for request in &stored.taken {
        let Request::Metrics(request) = request else {
            continue;
        };
        for resource in &request.resource_metrics {
            let attributes = &resource.resource.as_ref().unwrap().attributes;
            let instance = text(attributes, "service.instance.id").unwrap();
            for metric in resource
                .scope_metrics
                .iter()
                .flat_map(|scope| &scope.metrics)
            {
                let Some(Data::Sum(sum)) = &metric.data else {
                    panic!("{metric:?}")
                };
                let Some(Value::AsInt(value)) = sum.data_points[0].value else {
                    panic!("{metric:?}")
                };
                let known = sums.entry(instance.to_owned()).or_default();
                assert!(value >= *known, "a sum went back from {known} to {value}");
                *known = value;
            }
        }
    }
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for metric in log.metrics(&all).unwrap() {
        *expected
            .entry(metric.record.unwrap().instance.to_string())
            .or_default() += 1;
    }
    assert_eq!(sums, expected);
}
