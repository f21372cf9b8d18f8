//! What programs measure with `metrics` is recorded: the real macros with our recorder.
#![cfg(feature = "metrics-0-24")]

use std::time::Duration;

use emberlog::{bridge::metrics_0_24::Recorder, Aggregation, Config, Filter, Manager, Value};
use metrics::{counter, describe_histogram, gauge, histogram, Unit};

#[test]
fn what_is_measured_adds_up_per_key_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).metric_interval(Duration::ZERO);
    let manager = Manager::open(config).unwrap();
    let recorder = Recorder::new(&manager);
    metrics::with_local_recorder(&recorder, || {
        describe_histogram!("latency", Unit::Seconds, "how long");
        for i in 0..100_u32 {
            counter!("requests", "route" => "/a").increment(1);
            counter!("requests", "route" => "/b").increment(2);
            histogram!("latency").record(f64::from(i));
        }
        counter!("total").absolute(10);
        counter!("total").absolute(25);
        counter!("total").absolute(20);
        gauge!("load").set(2.0);
        gauge!("load").increment(3.0);
        gauge!("load").decrement(1.5);
    });
    manager.flush().unwrap();
    let rows = |name: &str| {
        manager
            .query_metrics(&Filter::new().name(name).all())
            .unwrap()
    };
    let requests = rows("requests");
    assert_eq!(requests.len(), 2);
    for (route, expected) in [("/a", 100), ("/b", 200)] {
        let row = requests
            .iter()
            .find(|row| row.attributes.get("route") == Some(&route.into()));
        assert_eq!(row.and_then(|row| row.integer), Some(expected), "{route}");
    }
    assert_eq!(rows("total")[0].integer, Some(25));
    assert_eq!((rows("load").len(), rows("load")[0].value), (1, 3.5));
    let latency = rows("latency");
    assert_eq!(
        (latency.len(), latency[0].aggregation),
        (1, Aggregation::Histogram)
    );
    assert_eq!(
        (latency[0].value, latency[0].unit.as_str()),
        (49.5, "seconds")
    );
    let Some(Value::Map(told)) = latency[0].attributes.get("emberlog.distribution") else {
        panic!("{latency:?}");
    };
    assert_eq!(told[0], ("count".to_owned(), Value::U64(100)));
}
