//! PostgreSQL and OTLP are asked for in code, in files and in the environment, and mean the same
//! there. What servers make of it is in `postgres_*.rs` and `otlp*.rs`.

mod config_support;

use config_support::map;
#[cfg(any(feature = "otlp", feature = "postgres"))]
use emberlog::config::BackendKind;
use emberlog::{Config, Value};

fn backend(kind: &str, parameters: &[(&str, Value)]) -> Value {
    map(&[
        ("enabled", true.into()),
        ("backend", kind.into()),
        ("backend_config", map(parameters)),
    ])
}

fn problems(value: &Value) -> Vec<String> {
    Config::from_value(value).unwrap_err().problems
}

/// The parameters of the first backend as they are written.
#[cfg(any(feature = "otlp", feature = "postgres"))]
fn written(config: &Config) -> Value {
    let Value::Map(entries) = config.to_value() else {
        panic!("{config:?}");
    };
    let (_, backends) = entries.into_iter().find(|(k, _)| k == "backends").unwrap();
    let Value::Array(mut backends) = backends else {
        panic!("{backends:?}");
    };
    let Value::Map(first) = backends.remove(0) else {
        panic!("no backend");
    };
    let found = first.into_iter().find(|(k, _)| k == "backend_config");
    found.expect("its parameters").1
}

#[cfg(any(feature = "otlp", feature = "postgres"))]
fn parameter<'v>(written: &'v Value, name: &str) -> Option<&'v Value> {
    let Value::Map(entries) = written else {
        panic!("{written:?}");
    };
    entries.iter().find(|(k, _)| k == name).map(|(_, v)| v)
}

/// Each parameter of a kind has an example that is not the default, reaches the options (what is
/// written comes from them), comes from its variable, has its other names, and reads back the same.
#[cfg(any(feature = "otlp", feature = "postgres"))]
fn every_parameter(
    kind: &str,
    examples: &[(&str, Value)],
    with: &dyn Fn(&str) -> Vec<(&'static str, Value)>,
) {
    let kind = BackendKind::all().iter().find(|k| k.name == kind).unwrap();
    let shown: Vec<_> = kind.parameters.iter().filter(|p| !p.secret).collect();
    let names: Vec<_> = shown.iter().map(|p| p.name).collect();
    let proved: Vec<_> = examples.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, proved, "{}", kind.name);
    for (about, (name, example)) in shown.iter().zip(examples) {
        let beside = with(name);
        let before = Config::from_value(&backend(kind.name, &beside)).unwrap();
        assert_ne!(parameter(&written(&before), name), Some(example), "{name}");
        for spelling in [*name].iter().chain(about.aliases) {
            let mut given = beside.clone();
            given.push((spelling, example.clone()));
            let config = Config::from_value(&backend(kind.name, &given)).unwrap();
            assert_eq!(
                parameter(&written(&config), name),
                Some(example),
                "{spelling}"
            );
            assert_eq!(
                Config::from_value(&config.to_value()).unwrap(),
                config,
                "{spelling}"
            );
            let text = match example {
                Value::Str(text) => text.clone(),
                Value::Map(_) => "team=core".to_owned(),
                other => other.to_json(),
            };
            let mut variables = vec![
                ("EMBERLOG_ENABLED".to_owned(), "true".to_owned()),
                ("EMBERLOG_BACKEND".to_owned(), kind.name.to_owned()),
                (kind.variable(about), text.clone()),
            ];
            for (name, value) in &beside {
                let other = kind.parameters.iter().find(|p| p.name == *name).unwrap();
                variables.push((kind.variable(other), value.as_str().unwrap().to_owned()));
            }
            assert_eq!(Config::default().vars(variables).unwrap(), config, "{name}");
            // A variable changes what stood there before; which signal it is stays.
            if *name != "signal" {
                let changed = before.clone().vars([(kind.variable(about), text)]).unwrap();
                assert_eq!(changed, config, "{name}");
            }
        }
    }
}

#[cfg(feature = "postgres")]
mod postgresql {
    use super::*;
    use emberlog::backend::postgres::{Options, Partitions, SslMode, Target};

    #[test]
    fn every_parameter_of_postgresql_is_read_and_written() {
        let text = |text: &str| Value::from(text);
        let examples = [
            ("host", text("a.example,b.example")),
            ("port", 6000.into()),
            ("database", text("telemetry")),
            ("user", text("me")),
            ("passfile", text("/etc/pass")),
            ("sslmode", text("verify-full")),
            ("sslrootcert", text("/etc/ca.pem")),
            ("sslcert", text("/etc/cert.pem")),
            ("sslkey", text("/etc/key.pem")),
            ("target_session_attrs", text("read-write")),
            ("application_name", text("graph")),
            ("connect_timeout", 2.5.into()),
            ("command_timeout", 30.0.into()),
            ("min_pool_size", 2.into()),
            ("max_pool_size", 20.into()),
            ("pool_timeout", 7.0.into()),
            ("schema", text("tele")),
            ("table_prefix", text("a_")),
            ("partitions", text("daily")),
            ("write_derived", true.into()),
        ];
        every_parameter("postgresql", &examples, &|name| match name {
            // Both or none.
            "sslcert" | "sslkey" => vec![("sslkey", "k".into()), ("sslcert", "c".into())],
            _ => Vec::new(),
        });
    }

    #[test]
    fn a_postgresql_database_is_asked_for_in_every_way() {
        let options = Options::default().server("db", 6000).login("me", "p@ss/1");
        let by_fields = Config::create_postgresql(options.database("telemetry").tune(|o| {
            o.sslmode = SslMode::Require;
            (o.min_size, o.max_size) = (10, 20);
            o.command_timeout = std::time::Duration::from_secs(30);
        }));
        assert!(by_fields.enabled);
        by_fields.validate().unwrap();
        let url = "postgresql://me:p%40ss%2F1@db:6000/telemetry?sslmode=require&min_size=10\
                   &max_size=20&command_timeout=30";
        assert_eq!(Config::create_postgresql(url), by_fields);
        assert_eq!(Config::create_postgresql(Some(url.to_owned())), by_fields);
        let direct = [
            ("host", "db".into()),
            ("port", 6000.into()),
            ("database", "telemetry".into()),
            ("user", "me".into()),
            ("password", "p@ss/1".into()),
            ("sslmode", "require".into()),
            ("min_pool_size", 10.into()),
            ("max_pool_size", 20.into()),
            ("command_timeout", 30.into()),
        ];
        for kind in ["postgresql", "postgres"] {
            let config = Config::from_value(&backend(kind, &direct)).unwrap();
            assert_eq!(config, by_fields);
        }
        let by_url = [("connection_string", url.into())];
        assert_eq!(
            Config::from_value(&backend("postgresql", &by_url)).unwrap(),
            by_fields
        );
        // What is said beside a URL counts more.
        let both = [
            (
                "connection_string",
                "postgresql://you:x@other:1/telemetry?sslmode=require".into(),
            ),
            ("host", "db".into()),
            ("port", "6000".into()),
            ("user", "me".into()),
            ("password", "p@ss/1".into()),
            ("min_size", 10.into()),
            ("max_size", 20.into()),
            ("command_timeout", "30s".into()),
        ];
        assert_eq!(
            Config::from_value(&backend("postgresql", &both)).unwrap(),
            by_fields
        );
        let variables = [
            ("EMBERLOG_ENABLED", "true"),
            ("EMBERLOG_BACKEND", "postgresql"),
            ("EMBERLOG_POSTGRESQL_CONNECTION_STRING", url),
        ];
        assert_eq!(Config::default().vars(variables).unwrap(), by_fields);
        // A secret of the environment beside what a file says, and a URL instead of it.
        let without = Config::from_value(&by_fields.to_value()).unwrap();
        assert_ne!(without, by_fields);
        let secret = [("EMBERLOG_POSTGRESQL_PASSWORD", "p@ss/1")];
        assert_eq!(without.vars(secret).unwrap(), by_fields);
        let other = Config::create_postgresql("postgresql://a.example:1/x?schema=s");
        assert_eq!(other.vars([variables[2]]).unwrap(), by_fields);
        // With no argument at all, and tuned.
        let defaults = Config::from_value(&backend("postgresql", &[])).unwrap();
        assert_eq!(defaults, Config::create_postgresql(Options::default()));
        assert_eq!(Options::default().database, "spark_telemetry");
        defaults
            .buffer_size(500)
            .retention_days(90)
            .validate()
            .unwrap();
        let system =
            Config::from_value(&backend("postgresql", &[("sslrootcert", "system".into())]));
        let full = Options::default().tune(|o| o.sslmode = SslMode::VerifyFull);
        assert_eq!(system.unwrap(), Config::create_postgresql(full));
        let more = Options::default().tune(|o| {
            o.target = Target::ReadOnly;
            o.partitions = Partitions::Daily;
        });
        let config = Config::create_postgresql(more);
        assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    }

    #[test]
    fn what_is_wrong_with_postgresql_is_said_at_once_and_shows_no_secret() {
        let unset: Option<String> = None;
        let error = Config::create_postgresql(unset)
            .buffer_size(0)
            .validate()
            .unwrap_err();
        assert_eq!(error.problems.len(), 2, "{error}");
        assert!(
            error.to_string().contains("connection string is missing"),
            "{error}"
        );
        let wrong = [
            (
                "connection_string",
                "postgresql://me:hunter2@h/x?colour=red".into(),
            ),
            ("port", "1,2,3".into()),
            ("sslmode", "maybe".into()),
            ("password", 7.into()),
            ("table_prefix", "a-b".into()),
            ("command_timeout", (-1).into()),
            ("wheels", 4.into()),
        ];
        let problems = problems(&backend("postgresql", &wrong)).join("\n");
        for expected in [
            "postgresql.connection_string: unknown option \"colour\"",
            "postgresql.host and port: 3 ports for 1 hosts",
            "postgresql.sslmode must be disable, prefer, require, verify-ca or verify-full, not \"maybe\"",
            "postgresql.password must be text, not that",
            "postgresql.command_timeout must be at least 0, not -1",
            "postgresql.wheels is no parameter",
            "backend \"postgres\": table_prefix \"a-b\" must be",
        ] {
            assert!(problems.contains(expected), "{expected} is not in\n{problems}");
        }
        assert_eq!(problems.lines().count(), 7, "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        // In code too, and before anything is opened.
        let options = Options::default().tune(|o| o.max_size = 0);
        assert!(Config::create_postgresql(options).validate().is_err());
    }
}

#[cfg(feature = "otlp")]
mod otlp {
    use super::*;
    use emberlog::backend::otlp::{
        Compression, Events, HistogramForm, Options, Protocol, Signal, Temporality,
    };

    #[test]
    fn every_parameter_of_otlp_is_read_and_written() {
        let text = |text: &str| Value::from(text);
        let examples = [
            ("signal", text("logs")),
            ("endpoint", text("https://collector.example:4318")),
            ("signal_endpoint", text("http://h:1/custom")),
            ("protocol", text("http/json")),
            ("compression", text("gzip")),
            ("timeout", 2.5.into()),
            ("certificate", text("/etc/ca.pem")),
            ("client_certificate", text("/etc/cert.pem")),
            ("client_key", text("/etc/key.pem")),
            ("insecure", true.into()),
            ("file", text("out/lines.jsonl")),
            ("file_max_bytes", Value::U64(4096)),
            ("file_max_files", Value::U64(3)),
            ("events", text("both")),
            ("derived_events", true.into()),
            ("temporality", text("delta")),
            ("histograms", text("base2_exponential_bucket_histogram")),
            ("cardinality_limit", Value::U64(77)),
            ("max_request_bytes", Value::U64(65_536)),
            ("resource", map(&[("team", "core".into())])),
        ];
        every_parameter("otlp", &examples, &|name| match name {
            // Both or none.
            "client_certificate" | "client_key" => {
                vec![
                    ("client_key", "k".into()),
                    ("client_certificate", "c".into()),
                ]
            }
            "file_max_bytes" | "file_max_files" => vec![("file", "lines.jsonl".into())],
            "signal_endpoint" => vec![("signal", "traces".into())],
            _ => Vec::new(),
        });
    }

    #[test]
    fn otlp_is_asked_for_in_every_way() {
        let options = Options::new().endpoint("https://api.example:4318");
        let options = options
            .header("api-key", "hunter2")
            .compression(Compression::Gzip);
        let by_code = Config::create_otlp(options.clone());
        assert!(by_code.enabled);
        by_code.validate().unwrap();
        let names: Vec<_> = by_code.backends.iter().map(|b| b.name()).collect();
        assert_eq!(names, ["otlp-traces", "otlp-logs", "otlp-metrics"]);
        let headers = || ("headers", map(&[("api-key", "hunter2".into())]));
        let direct = [
            ("endpoint", "https://api.example:4318".into()),
            headers(),
            ("compression", "gzip".into()),
        ];
        assert_eq!(
            Config::from_value(&backend("otlp", &direct)).unwrap(),
            by_code
        );
        let variables = [
            ("EMBERLOG_ENABLED", "true"),
            ("EMBERLOG_BACKEND", "otlp"),
            ("EMBERLOG_OTLP_ENDPOINT", "https://api.example:4318"),
            ("EMBERLOG_OTLP_HEADERS", "api-key=hunter2"),
            ("EMBERLOG_OTLP_COMPRESSION", "gzip"),
        ];
        assert_eq!(Config::default().vars(variables).unwrap(), by_code);
        // Secrets are not written, and come from the environment beside what a file says.
        let text = by_code.to_value().to_json();
        assert!(
            !text.contains("hunter2") && text.contains("api.example"),
            "{text}"
        );
        let without = Config::from_value(&by_code.to_value()).unwrap();
        assert_ne!(without, by_code);
        assert_eq!(without.vars([variables[3]]).unwrap(), by_code);
        // The protocol by the name of the kind, by itself, by the port.
        let of = |kind, parameters: &[_]| Config::from_value(&backend(kind, parameters)).unwrap();
        let at = ("endpoint", Value::from("http://h:4317"));
        let code =
            |protocol| Config::create_otlp(Options::from("http://h:4317").protocol(protocol));
        assert_eq!(
            of("otlp_http", std::slice::from_ref(&at)),
            code(Protocol::HttpProtobuf)
        );
        let said = ("protocol", Value::from("http"));
        assert_eq!(
            of("otlp", &[at.clone(), said]),
            code(Protocol::HttpProtobuf)
        );
        if cfg!(feature = "otlp-grpc") {
            assert_eq!(
                of("otlp_grpc", std::slice::from_ref(&at)),
                code(Protocol::Grpc)
            );
        }
        let wrong = [at, ("protocol", "grpc".into())];
        let said = problems(&backend("otlp_http", &wrong)).join("\n");
        assert!(
            said.contains("otlp.protocol must be one of those that otlp_http means"),
            "{said}"
        );
        // What one signal has for itself in code is written as that.
        let mut own = options
            .only(&[Signal::Traces, Signal::Metrics])
            .resource("team", "core");
        own.traces.endpoint = Some("http://h:1/custom".to_owned());
        own.events = Events::Both;
        own.temporality = Some(Temporality::Delta);
        own.histograms = Some(HistogramForm::Exponential);
        own.all.headers = Default::default();
        own.name = "second".to_owned();
        let config = Config::new("log")
            .otlp(own)
            .otlp(Options::file("lines.jsonl"));
        assert_eq!(config.backends.len(), 5);
        assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    }

    #[test]
    fn several_backends_are_a_list_each_with_its_own() {
        let one = |kind: &str, name: &str, more: &[(&str, Value)]| {
            let mut entries = vec![("backend", kind.into()), ("name", name.into())];
            entries.extend_from_slice(more);
            map(&entries)
        };
        let logs = map(&[
            ("signal", "logs".into()),
            ("endpoint", "http://logs:4318".into()),
        ]);
        let list = vec![
            one("otlp", "platform", &[("buffer_size", 77.into())]),
            one("otlp_http", "only-logs", &[("backend_config", logs)]),
            "otlp".into(),
        ];
        let value = map(&[("backends", Value::Array(list))]);
        let config = Config::from_value(&value).unwrap();
        let names: Vec<_> = config.backends.iter().map(|b| b.name()).collect();
        let mut expected = vec![
            "platform-traces",
            "platform-logs",
            "platform-metrics",
            "only-logs",
        ];
        expected.extend(["otlp-traces", "otlp-logs", "otlp-metrics"]);
        assert_eq!(names, expected);
        assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
        let twice = map(&[("backends", Value::Array(vec!["otlp".into(), "otlp".into()]))]);
        let said = problems(&twice);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("two have the name"), "{said:?}");
    }

    #[test]
    fn what_is_wrong_with_otlp_is_said_at_once_and_shows_no_secret() {
        let wrong = [
            ("endpoint", "ftp://me:hunter2@h/?key=hunter3".into()),
            ("protocol", "soap".into()),
            ("headers", 7.into()),
            ("timeout_seconds", 7200.into()),
            ("signal_endpoint", "http://h/x".into()),
            ("cardinality_limit", 1.into()),
            ("client_key", "/k".into()),
        ];
        let said = problems(&backend("otlp", &wrong)).join("\n");
        for expected in [
            "otlp.protocol must be http/protobuf, http/json or grpc, not \"soap\"",
            "otlp.headers must be keys and values, or a text such as \"a=1,b=x\", not that",
            "otlp.signal_endpoint: needs a signal",
            "otlp: cardinality_limit is 1: expected 2 to 1000000",
            "otlp: timeout is 7200s: expected 1 ms to 1 h",
            "otlp: endpoint \"ftp://h/\" is no address",
        ] {
            assert!(said.contains(expected), "{expected} is not in\n{said}");
        }
        assert!(!said.contains("hunter"), "{said}");
        // The variables of OpenTelemetry, in the list that stands for the environment.
        let variables = [
            ("EMBERLOG_BACKEND", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "soap"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "soon"),
        ];
        let error = Config::default().vars(variables).unwrap_err();
        let said = error.to_string();
        for expected in [
            "OTEL_EXPORTER_OTLP_PROTOCOL is",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT is",
        ] {
            assert!(said.contains(expected), "{expected} is not in\n{said}");
        }
        assert_eq!(error.problems.len(), 2, "{said}");
    }
}

/// What is not built in is refused by the name of its feature.
#[test]
fn a_kind_that_is_not_built_in_names_its_feature() {
    let missing = [
        ("postgresql", "postgres", cfg!(not(feature = "postgres"))),
        ("otlp", "otlp", cfg!(not(feature = "otlp"))),
        ("otlp_http", "otlp", cfg!(not(feature = "otlp"))),
        ("sqlite", "sqlite", cfg!(not(feature = "sqlite"))),
    ];
    for (kind, feature, missing) in missing {
        let value = backend(kind, &[]);
        if !missing {
            assert!(Config::from_value(&value).is_ok(), "{kind}");
            continue;
        }
        let said = problems(&value).join("\n");
        assert!(
            said.contains(&format!("needs the feature {feature} of emberlog")),
            "{said}"
        );
    }
    let grpc = backend("otlp_grpc", &[]);
    match (cfg!(feature = "otlp"), cfg!(feature = "otlp-grpc")) {
        (_, true) => assert!(Config::from_value(&grpc).is_ok()),
        (true, false) => assert!(problems(&grpc).join("\n").contains("feature otlp-grpc")),
        (false, false) => assert!(problems(&grpc).join("\n").contains("feature otlp ")),
    }
    let said = problems(&backend("mongodb", &[])).join("\n");
    let all =
        "backend must be one of memory, noop, otlp, otlp_http, otlp_grpc, postgresql, postgres, \
               sqlite, not \"mongodb\"";
    assert!(said.contains(all), "{said}");
}
