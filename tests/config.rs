//! A configuration says the same in code, in files and in the environment; what is wrong with it is
//! said at once and all together; what must not be seen is not shown.

mod config_support;

use std::{
    process::{Command, Output},
    time::Duration,
};

use config_support::{map, with};
use emberlog::{config::Setting, Config, Manager, TelemetryConfig, Value};

/// An example of each option, as text; none is the default.
const EXAMPLES: &[(&str, &str)] = &[
    ("enabled", "true"),
    ("dir", "/tmp/somewhere"),
    ("in_memory", "16 MiB"),
    ("enable_traces", "false"),
    ("enable_events", "false"),
    ("enable_metrics", "false"),
    ("sampling_rate", "0.25"),
    ("graph_sampling_rates", "billing*=1,crawler=0.01"),
    ("parent_based_sampling", "false"),
    ("force_sample_on_error", "true"),
    ("error_sample_rate", "1"),
    ("slow_threshold_seconds", "250ms"),
    ("enable_adaptive_sampling", "true"),
    ("capture_errors", "false"),
    ("auto_instrument_graphs", "false"),
    ("auto_instrument_nodes", "false"),
    ("instrument_nodes", "read, parse"),
    ("capture_inputs", "true"),
    ("capture_outputs", "true"),
    ("capture_sizes", "true"),
    ("capture_bytes", "1 KiB"),
    ("propagate_context", "false"),
    ("metric_interval", "250ms"),
    (
        "resource_attributes",
        "service.name=indexer,host.name=a%2Cb",
    ),
    ("custom_attributes", "team=core"),
    ("metadata", "environment=production"),
    ("max_events_per_span", "7"),
    ("buffer_size", "123"),
    ("export_interval", "2.5"),
    ("shutdown_timeout", "250ms"),
    ("ring.ring_bytes", "256 KiB"),
    ("ring.total_bytes", "32 MiB"),
    ("ring.max_record_bytes", "4096"),
    ("ring.overflow", "block:0.5s"),
    ("ring.crash_safe", "false"),
    ("ring.dir", "/dev/shm/elsewhere"),
    ("ring.open_spans", "5"),
    ("log.segment_bytes", "8MiB"),
    ("log.sync", "every:20ms"),
    ("log.retention_age", "90d"),
    ("log.max_bytes", "1GiB"),
    ("log.hard_max_bytes", "2GiB"),
    ("log.min_free_percent", "10"),
    ("log.on_full", "delete_oldest"),
];

#[test]
fn every_option_goes_round_trip_and_comes_from_its_variable() {
    let options = Setting::all().iter().filter(|s| s.stands_for.is_none());
    let options: Vec<_> = options
        .filter(|s| s.get(&Config::default()).is_some())
        .map(|s| s.name)
        .collect();
    let examples: Vec<_> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(options, examples);

    let mut all = Config::default();
    for (name, text) in EXAMPLES {
        let setting = Setting::all().iter().find(|s| s.name == *name).unwrap();
        let one = with(Config::default(), &[(name, text)]);
        assert_ne!(one, Config::default(), "{name}: the example is the default");
        assert_eq!(Config::from_value(&one.to_value()).unwrap(), one, "{name}");
        for variable in setting.env {
            let from_env = Config::default().vars([(*variable, *text)]).unwrap();
            assert_eq!(from_env, one, "{variable}");
        }
        assert!(!setting.env.is_empty(), "{name} has no variable");
        setting.set(&mut all, &Value::from(*text)).unwrap();
    }
    assert_eq!(Config::from_value(&all.to_value()).unwrap(), all);
    let names = |config: &Config| match config.to_value() {
        Value::Map(entries) => entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    // Every field, also those that are as by default.
    assert_eq!(names(&Config::default()), names(&all));
}

#[cfg(feature = "serde")]
#[test]
fn files_say_the_same_through_serde() {
    let config = Config::new("log")
        .resource("service.name", "indexer")
        .custom(
            "limits",
            Value::Array(vec![1.into(), Value::Null, 0.5.into()]),
        )
        .export_interval(Duration::from_nanos(1_234_567_891))
        .ring(|ring| ring.total_bytes = 48 << 20)
        .log(|log| log.max_bytes = Some(1 << 40));
    let text = serde_json::to_string_pretty(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);

    // As a person writes it, with the documents' names.
    let text = r#"{
        "enabled": true, "dir": "log", "preset": "production", "buffer_size": 5000,
        "retention_days": 90, "max_queue_size": 10000, "metadata": {"region": "eu"},
        "ring": {"overflow": "spill:8MiB"}, "log.sync": "every_batch"
    }"#;
    let config: Config = serde_json::from_str(text).unwrap();
    let expected = with(
        Config::new("log")
            .preset(emberlog::Preset::Production)
            .buffer_size(5000),
        &[("ring.overflow", "spill:8MiB"), ("log.sync", "every_batch")],
    );
    let expected = expected.retention_days(90).metadata("region", "eu");
    assert_eq!(config, expected);

    let wrong = r#"{"buffer_size": 0, "export_interval": -1, "sampling_rat": 2}"#;
    let error = serde_json::from_str::<Config>(wrong)
        .unwrap_err()
        .to_string();
    for part in [
        "sampling_rat is no option",
        "at least 0, not -1",
        "at least 1, not 0",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_field_range_and_value() {
    let config = Config::new("")
        .buffer_size(0)
        .max_events_per_span(0)
        .retention_days(0)
        .sampling_rate(1.5)
        .graph_sampling_rate("crawler", f64::NAN)
        .custom("long", "x".repeat(40_000))
        .ring(|ring| {
            ring.ring_bytes = 5;
            ring.open_spans = 65;
        })
        .log(|log| {
            log.segment_bytes = 1;
            log.min_free_percent = 91;
        });
    let problems = config.validate().unwrap_err().problems;
    let expected = [
        "dir must name the directory of the log, not \"\"",
        "sampling_rate must be between 0.0 and 1.0, not 1.5",
        "graph_sampling_rates of \"crawler\" must be between 0.0 and 1.0, not NaN",
        "buffer_size must be at least 1, not 0",
        "max_events_per_span must be at least 1, not 0",
        "ring.ring_bytes is 5: expected a power of two from 16384 to 67108864",
        "ring.open_spans is 65: expected 0 to 64",
        "log.segment_bytes is 1, allowed are 1048576 to 1073741824",
        "retention_days must be at least 1, not 0",
        "log.min_free_percent is 91, at most 90 is allowed",
        "custom_attributes must take at most 32768 bytes, not ",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
    // Before anything is opened.
    assert!(Manager::open(config)
        .unwrap_err()
        .to_string()
        .contains("buffer_size"));
}

#[test]
fn what_a_file_or_a_variable_says_wrongly_is_reported_at_once() {
    let wrong = map(&[
        ("buffer_size", 0.into()),
        ("export_interval", Value::I64(-1)),
        ("retention_days", 0.into()),
        ("max_events_per_span", "many".into()),
        ("enable_events", 2.into()),
        ("preset", "prod".into()),
        ("async_export", false.into()),
        ("sampling_rate", Value::F64(-0.1)),
        ("graph_sampling_rates", map(&[("crawler", "much".into())])),
        ("traces_sampler", "sometimes".into()),
        (
            "ring",
            map(&[("overflow", "wait".into()), ("size", 1.into())]),
        ),
        ("log", map(&[("min_free_percent", 300.into())])),
        ("backend", "mongodb".into()),
        ("backends", map(&[])),
        ("colour", "red".into()),
    ]);
    let problems = Config::from_value(&wrong).unwrap_err().problems.join("\n");
    for expected in [
        "buffer_size must be at least 1, not 0",
        "export_interval must be at least 0, not -1",
        "retention_days must be at least 1, not 0",
        "max_events_per_span must be a whole number",
        "enable_events must be true or false, not 2",
        "preset must be one of development, staging, production",
        "async_export must be true",
        "sampling_rate must be between 0.0 and 1.0, not -0.1",
        "graph_sampling_rates must be patterns and rates",
        "traces_sampler must be one of always_on, always_off, traceidratio, parentbased_always_on",
        "ring.overflow must be drop_newest, block:TIME or spill:BYTES, not \"wait\"",
        "ring.size is no option",
        "log.min_free_percent must be at most 255, not 300",
        "backend must be one of memory, noop, otlp",
        "backends must be a list",
        "colour is no option",
    ] {
        assert!(
            problems.contains(expected),
            "{expected} is not in\n{problems}"
        );
    }
    assert_eq!(problems.lines().count(), 16, "{problems}");

    let variables = [
        ("EMBERLOG_BUFFER_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ];
    let problems = Config::default().vars(variables).unwrap_err().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("OTEL_BSP_SCHEDULE_DELAY: export_interval_ms must be"));

    let both = map(&[
        ("retention_days", 1.into()),
        ("log", map(&[("retention_age", 60.into())])),
    ]);
    let problems = Config::from_value(&both).unwrap_err().problems;
    assert_eq!(
        problems,
        ["retention_days and log.retention_age say the same: one of them is enough"]
    );
    // Values that the documents' examples have are fine.
    for (records, seconds, days, events) in [(10, 0.1, 7, 10), (100_000, 120.0, 365, 1000)] {
        Config::new("log")
            .buffer_size(records)
            .export_interval(Duration::from_secs_f64(seconds))
            .retention_days(days)
            .max_events_per_span(events)
            .validate()
            .unwrap();
    }
}

#[test]
fn code_counts_more_than_the_environment_and_the_environment_more_than_what_stood_before() {
    let variables = [
        ("EMBERLOG_BUFFER_SIZE", "7"),
        ("EMBERLOG_PRESET", "production"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,host.name=h"),
        ("OTEL_SERVICE_NAME", "b"),
        // Empty is the same as unset.
        ("EMBERLOG_EXPORT_INTERVAL", ""),
    ];
    let config = Config::new("log")
        .buffer_size(5)
        .resource("zone", "z")
        .resource("host.name", "code")
        .vars(variables)
        .unwrap()
        .resource("host.name", "later");
    assert_eq!(config.buffer_size, 7);
    // The preset's.
    assert_eq!(config.export_interval, Duration::from_secs(30));
    let resource = config.resource_attributes.to_json();
    assert_eq!(
        resource,
        r#"{"zone":"z","host.name":"later","service.name":"b"}"#
    );
    assert_eq!(config.buffer_size(9).buffer_size, 9);
    // Ours counts more than OpenTelemetry's.
    let both = [
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("EMBERLOG_BUFFER_SIZE", "2"),
    ];
    assert_eq!(Config::default().vars(both).unwrap().buffer_size, 2);
}

#[test]
fn the_documents_factories_and_their_direct_construction_are_the_same() {
    let direct = |entries: &[(&str, Value)]| {
        let mut all = vec![("enabled", true.into())];
        all.extend_from_slice(entries);
        Config::from_value(&map(&all)).unwrap()
    };
    assert_eq!(
        direct(&[("backend", "memory".into())]),
        Config::create_memory()
    );
    assert_eq!(direct(&[("backend", "noop".into())]), Config::create_noop());
    assert!(!Config::create_noop().enabled && Config::create_memory().enabled);
    // The documents' defaults, under their names.
    let defaults = TelemetryConfig::default();
    assert!(!defaults.enabled && defaults.enable_traces && defaults.enable_events);
    assert!(defaults.enable_metrics && defaults.capture_errors);
    assert_eq!(
        (defaults.buffer_size, defaults.max_events_per_span),
        (1000, 100)
    );
    assert_eq!(defaults.export_interval, Duration::from_secs(10));
    assert_eq!(defaults, Config::default().retention_days(30));
    let empty = defaults.resource_attributes.is_empty() && defaults.custom_attributes.is_empty();
    assert!(empty && defaults.metadata.is_empty());
}

#[cfg(feature = "sqlite")]
#[test]
fn a_sqlite_database_is_asked_for_in_every_way() {
    let config = Config::create_sqlite("/var/lib/spark/telemetry.db").buffer_size(50);
    assert!(config.enabled);
    config.validate().unwrap();
    let parameters = map(&[("db_path", "/var/lib/spark/telemetry.db".into())]);
    let direct = map(&[
        ("enabled", true.into()),
        ("backend", "sqlite".into()),
        ("backend_config", parameters.clone()),
        ("buffer_size", 50.into()),
    ]);
    assert_eq!(Config::from_value(&direct).unwrap(), config);
    assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    let variables = [
        ("EMBERLOG_ENABLED", "true"),
        ("EMBERLOG_BACKEND", "sqlite"),
        ("EMBERLOG_SQLITE_DB_PATH", "/var/lib/spark/telemetry.db"),
        ("EMBERLOG_BUFFER_SIZE", "50"),
    ];
    assert_eq!(Config::default().vars(variables).unwrap(), config);
    // The default file; and another name, since there may be two.
    let two = map(&[
        ("enabled", true.into()),
        (
            "backends",
            Value::Array(vec![
                "sqlite".into(),
                map(&[
                    ("backend", "sqlite".into()),
                    ("name", "copy".into()),
                    ("backend_config", parameters),
                ]),
            ]),
        ),
    ]);
    let two = Config::from_value(&two).unwrap();
    assert_eq!(two.backends.len(), 2);
    assert_eq!(
        two.backends[0],
        Config::create_sqlite("spark_telemetry.db").backends[0]
    );
    assert_eq!(two.backends[1].name(), "copy");
    assert_eq!(Config::from_value(&two.to_value()).unwrap(), two);
    // A variable changes a backend that is there.
    let moved = two
        .vars([("EMBERLOG_SQLITE_DB_PATH", "/elsewhere.db")])
        .unwrap();
    assert_eq!(
        moved.backends[1],
        Config::create_sqlite("/elsewhere.db").backends[0]
            .clone()
            .named("copy")
    );
    // Wrong ones.
    let wrong = map(&[
        ("backend", "sqlite".into()),
        (
            "backend_config",
            map(&[("db_pth", "x".into()), ("timeout", "2h".into())]),
        ),
    ]);
    let problems = Config::from_value(&wrong).unwrap_err().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(problems[0], "sqlite.db_pth is no parameter");
    assert!(problems[1].starts_with("sqlite.busy_timeout must be at most 1 hour"));
}

#[cfg(feature = "sqlite")]
#[test]
fn without_a_directory_the_log_is_beside_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("telemetry.db");
    let manager = Manager::open(Config::create_sqlite(&database)).unwrap();
    assert_eq!(
        manager.dir(),
        Some(dir.path().join("telemetry.db.emberlog").as_path())
    );
    assert_eq!(manager.config().unwrap().dir, manager.dir().unwrap());
}

/// Runs this test binary again as `child` with these variables.
fn child(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let arguments = [
        "a_child",
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    for name in ["OTEL_SDK_DISABLED", "EMBERLOG_DISABLED"] {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
#[ignore = "is the child of the tests below"]
fn a_child() {
    let Some(dir) = std::env::var_os("EMBERLOG_DIR") else {
        return;
    };
    // Twice, because what is warned about is warned about once.
    for _ in 0..2 {
        let manager = Manager::open(Config::from_env().unwrap()).unwrap();
        println!("recording from the environment: {}", manager.is_recording());
    }
    let code = Config::new(&dir).enabled(true);
    println!(
        "recording by code: {}",
        Manager::open(code).unwrap().is_recording()
    );
}

#[test]
fn the_off_switch_counts_more_than_code() {
    let recorded = |variables: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut all = vec![
            ("EMBERLOG_DIR", log.to_str().unwrap()),
            ("EMBERLOG_ENABLED", "1"),
        ];
        all.extend_from_slice(variables);
        let text = String::from_utf8(child(&all).stdout).unwrap();
        let (yes, no) = (
            text.matches(": true").count(),
            text.matches(": false").count(),
        );
        assert_eq!(yes + no, 3, "{text}");
        assert_eq!(log.exists(), yes > 0, "a disabled process left something");
        yes
    };
    assert_eq!(recorded(&[]), 3);
    assert_eq!(recorded(&[("OTEL_SDK_DISABLED", "true")]), 0);
    assert_eq!(recorded(&[("OTEL_SDK_DISABLED", "TRUE")]), 0);
    assert_eq!(recorded(&[("EMBERLOG_DISABLED", "1")]), 0);
    // OpenTelemetry knows one word only.
    assert_eq!(recorded(&[("OTEL_SDK_DISABLED", "1")]), 3);
    assert_eq!(
        recorded(&[("EMBERLOG_DISABLED", "false"), ("OTEL_SDK_DISABLED", "")]),
        3
    );
}

#[cfg(feature = "sqlite")]
#[test]
fn a_backend_that_is_not_enabled_is_warned_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let common = [
        ("EMBERLOG_DIR", log.to_str().unwrap()),
        ("EMBERLOG_BACKEND", "sqlite"),
    ];
    let output = child(&common);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.matches("enabled is false").count(), 1, "{error}");
    assert!(error.contains("\"sqlite\""), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.matches("from the environment: false").count(),
        2,
        "{text}"
    );
    let output = child(&common[..1]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
