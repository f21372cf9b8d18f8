//! The tables in PostgreSQL: as documented, also where somebody else created them; shared by many;
//! emptied by age.
#![cfg(all(unix, feature = "postgres"))]

#[path = "support/postgres_load.rs"]
mod load;
#[path = "support/postgres.rs"]
mod support;

use std::{path::Path, time::Duration};

use emberlog::{
    backend::{
        postgres::{Options, Partitions, PostgresReader, PostgresSink},
        Scan, Sink, SinkError,
    },
    Config, Filter, LogReader, Manager, TraceOptions,
};

use load::{assert_arrived, end, manager, record, tail, LONG};
use support::Server;

/// The statements of the documents.
const DOCUMENTED: &str = "
CREATE TABLE traces (trace_id UUID PRIMARY KEY, name VARCHAR(255), start_time TIMESTAMPTZ,
    end_time TIMESTAMPTZ, duration DOUBLE PRECISION, status VARCHAR(50), attributes JSONB);
CREATE TABLE spans (span_id UUID PRIMARY KEY, trace_id UUID REFERENCES traces(trace_id),
    parent_span_id UUID, name VARCHAR(255), kind VARCHAR(50), start_time TIMESTAMPTZ,
    end_time TIMESTAMPTZ, duration DOUBLE PRECISION, status VARCHAR(50), attributes JSONB);
CREATE TABLE events (event_id UUID PRIMARY KEY, trace_id UUID REFERENCES traces(trace_id),
    span_id UUID, type VARCHAR(100), name VARCHAR(255), timestamp TIMESTAMPTZ, attributes JSONB);
CREATE TABLE metrics (metric_id UUID PRIMARY KEY, trace_id UUID, name VARCHAR(255),
    value DOUBLE PRECISION, unit VARCHAR(50), aggregation_type VARCHAR(50), timestamp TIMESTAMPTZ,
    attributes JSONB);
CREATE INDEX idx_traces_start_time ON traces(start_time);
CREATE INDEX idx_traces_status ON traces(status);
CREATE INDEX idx_spans_trace_id ON spans(trace_id);
CREATE INDEX idx_spans_parent_span_id ON spans(parent_span_id);
CREATE INDEX idx_events_trace_id ON events(trace_id);
CREATE INDEX idx_events_type ON events(type);
CREATE INDEX idx_metrics_name ON metrics(name);
CREATE INDEX idx_metrics_timestamp ON metrics(timestamp);
CREATE INDEX idx_traces_attributes ON traces USING GIN(attributes);
CREATE INDEX idx_spans_attributes ON spans USING GIN(attributes);";

/// Table and column with its type, in order, of the documented tables.
const COLUMNS: &str =
    "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, NULL) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public' \
    WHERE c.relname IN ('traces', 'spans', 'events', 'metrics') AND a.attnum > 0 \
    AND NOT a.attisdropped ORDER BY c.relname, a.attnum";
/// Indexes, keys among them, and foreign keys.
const INDEXES: &str = "SELECT i.indexdef FROM pg_indexes i WHERE i.schemaname = 'public' \
    AND i.tablename IN ('traces', 'spans', 'events', 'metrics') UNION ALL \
    SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
    WHERE contype = 'f' AND conrelid::regclass::text IN ('spans', 'events') ORDER BY 1";

fn as_superuser<'s>(server: &'s Server, database: &'s str) -> impl Fn(&str) -> String + 's {
    move |sql| server.sql(database, sql)
}

/// Records something and waits until it is there.
fn fill(dir: &Path, options: &Options) {
    let manager = manager(dir);
    let tail = tail(dir, options, |_| ());
    record(&manager, 8);
    manager.flush().unwrap();
    tail.export(end(dir), LONG).unwrap();
    assert_eq!(tail.stats().quarantined, 0, "{:?}", tail.stats());
}

#[test]
fn tables_are_those_of_the_documents_whoever_creates_them() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    // What PostgreSQL makes of the documents.
    server.fresh("documented");
    let documented = as_superuser(&server, "documented");
    documented(&format!("SET ROLE telemetry; {DOCUMENTED}"));
    let (columns, indexes) = (documented(COLUMNS), documented(INDEXES));
    // A name that the documented column has no room for.
    let options = server
        .fresh("documented")
        .tune(|o| o.database = "documented".into());
    documented(&format!("SET ROLE telemetry; {DOCUMENTED}"));
    fill(&temp.path().join("by hand"), &options);
    assert_arrived(&temp.path().join("by hand"), &options);
    // What we create.
    let options = server.fresh("ours");
    fill(&temp.path().join("ours"), &options);
    assert_arrived(&temp.path().join("ours"), &options);
    for database in ["ours", "documented"] {
        let ask = as_superuser(&server, database);
        let (have, index) = (ask(COLUMNS), ask(INDEXES));
        let mut at = 0;
        let mut table = "";
        for line in columns.lines() {
            // The documented ones come first, in their order.
            let of = line.split('.').next().unwrap();
            let own: Vec<_> = have
                .lines()
                .filter(|l| l.starts_with(&format!("{of}.")))
                .collect();
            at = if of == table { at + 1 } else { 0 };
            table = of;
            assert_eq!(own[at], line, "{database}");
        }
        for line in indexes.lines() {
            assert!(index.contains(line), "{database} lacks {line}:\n{index}");
        }
        let long = ask(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' \
            AND table_name = 'spans' AND character_maximum_length IS NOT NULL",
        );
        assert_eq!(long, "0", "{database}: a name may be long");
        // People write, join and aggregate by hand.
        ask("INSERT INTO traces VALUES (gen_random_uuid(), 'mine', now(), now(), 0.5, 'completed', \
            '{\"k\": 1}')");
        let ask_mean = "SELECT count(*) FROM (SELECT name, avg(duration) FROM spans JOIN traces t \
            USING (trace_id) WHERE spans.attributes @> '{\"node.id\": \"n1\"}' GROUP BY spans.name, \
            name) x";
        let _ = (
            ask_mean,
            ask("SELECT avg(duration) FROM spans WHERE kind = 'node_execution'"),
        );
        let by_attribute =
            ask("SELECT count(*) FROM spans WHERE attributes @> '{\"node.id\": \"n1\"}'");
        assert_eq!(by_attribute, "8");
        let reader = PostgresReader::open(options.clone().database(database)).unwrap();
        let mine = reader.traces(&Filter::new().name("mine")).unwrap();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].status, emberlog::Status::Ok);
        let failed = Filter::new().status(emberlog::Status::Ok).all();
        assert_eq!(reader.traces(&failed).unwrap().len(), 7);
    }
}

#[test]
fn tables_of_somebody_else_are_refused_and_not_changed() {
    let server = Server::start();
    let dump = |database: &str| {
        let ask = as_superuser(&server, database);
        ask("SELECT string_agg(c.relname || a.attname || format_type(a.atttypid, a.atttypmod), ',' \
            ORDER BY 1) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
            WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 \
            GROUP BY c.relnamespace")
    };
    for (sql, said) in [
        (
            "CREATE TABLE spans (id INTEGER PRIMARY KEY, what TEXT)",
            "span_id",
        ),
        (
            "CREATE TABLE traces (trace_id TEXT PRIMARY KEY, name TEXT)",
            "is text, it must be uuid",
        ),
        (
            "CREATE TABLE traces (trace_id UUID, name TEXT)",
            "unique key",
        ),
        ("CREATE VIEW events AS SELECT 1 AS event_id", "no table"),
        (
            "CREATE TABLE metrics (metric_id UUID PRIMARY KEY, tenant TEXT NOT NULL)",
            "\"tenant\"",
        ),
        (
            "CREATE TABLE spans (span_id UUID PRIMARY KEY, start_time TIMESTAMP)",
            "timestamp without time zone",
        ),
        (
            "CREATE TABLE emberlog_schema (version INTEGER PRIMARY KEY); \
             INSERT INTO emberlog_schema VALUES (99)",
            "schema 99",
        ),
    ] {
        let options = server.fresh("foreign_one");
        server.sql("foreign_one", &format!("SET ROLE telemetry; {sql}"));
        let before = dump("foreign_one");
        let error = PostgresSink::open("postgres", options.clone()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(said), "{text}");
        assert!(matches!(SinkError::from(error), SinkError::Refused(_)));
        assert_eq!(dump("foreign_one"), before, "{sql}");
        // Beside them there is room.
        let beside = options.tune(|o| o.table_prefix = "tele_".into());
        PostgresSink::open("postgres", beside).unwrap();
    }
    // A schema of its own is another way; one that is not there is refused.
    let options = server.fresh("foreign_one");
    let error = PostgresSink::open(
        "postgres",
        options.clone().tune(|o| o.schema = Some("tele".into())),
    );
    assert!(error.unwrap_err().to_string().contains("no schema tele"));
    server.sql("foreign_one", "CREATE SCHEMA tele AUTHORIZATION telemetry");
    PostgresSink::open("postgres", options.tune(|o| o.schema = Some("tele".into()))).unwrap();
    let there = "SELECT count(*) FROM pg_tables WHERE schemaname = 'tele' AND tablename = 'spans'";
    assert_eq!(server.sql("foreign_one", there), "1");
}

#[test]
fn a_user_without_rights_to_create_uses_tables_that_are_there() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let options = server.options();
    drop(PostgresSink::open("postgres", options.clone()).unwrap());
    server.ask("CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk");
    server.ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let clerk = options.tune(|o| o.user = Some("clerk".into()));
    fill(temp.path(), &clerk);
    assert_arrived(temp.path(), &clerk);
    server.ask("REVOKE INSERT ON spans FROM clerk");
    let mut sink = PostgresSink::open("postgres", clerk.clone()).unwrap();
    let position = sink.position(emberlog::LogId([1; 16])).unwrap();
    assert!(position.is_some());
}

/// The same trace in several processes: each has a part of it.
fn share(dir: &Path, options: &Options, ids: &[emberlog::TraceId], writer: u64) {
    let manager = manager(dir);
    let tail = tail(dir, options, |o| o.buffer_size = 7);
    for (n, id) in ids.iter().enumerate() {
        let name = format!("shared-{n}");
        let run = manager.start_trace_with(name.as_str(), &TraceOptions::new().id(*id));
        run.set(format!("writer-{writer}").as_str(), writer);
        run.node("step").ok();
        run.event("shared", "here").record();
        run.ok();
    }
    record(&manager, 20);
    manager.flush().unwrap();
    if let Err(error) = tail.export(end(dir), LONG) {
        panic!("{error}: {:?}", tail.stats());
    }
    let stats = tail.stats();
    // Nobody waited in a circle, nothing had to be tried twice.
    assert_eq!((stats.errors, stats.quarantined), (0, 0), "{stats:?}");
}

#[test]
fn many_engines_write_to_one_database_also_the_same_traces() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let options = server.options();
    let ids: Vec<_> = (1..=60u128)
        .map(|n| {
            emberlog::TraceId::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
        })
        .collect();
    let writers = 6;
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (dir, options) = (temp.path().join(format!("log{writer}")), &options);
            // Each in another order.
            let mut ids = ids.clone();
            ids.rotate_left(writer as usize * 11);
            scope.spawn(move || share(&dir, options, &ids, writer));
        }
    });
    let reader = PostgresReader::open(options).unwrap();
    let all = Filter::new().all();
    let traces = reader.traces(&all).unwrap();
    assert_eq!(traces.len(), ids.len() + 20 * writers as usize);
    for id in &ids {
        let trace = traces.iter().find(|t| t.trace_id == *id).unwrap();
        for writer in 0..writers {
            let key = format!("writer-{writer}");
            assert!(trace.attributes.get(&key).is_some(), "{key} in {trace:?}");
        }
        let spans = reader.spans(&Filter::new().trace_id(*id)).unwrap();
        assert_eq!(spans.len(), writers as usize);
    }
    let events = reader
        .events(&Filter::new().event_type("shared").all())
        .unwrap();
    assert_eq!(events.len(), ids.len() * writers as usize);
    assert_eq!(server.count("emberlog_cursors"), writers);
}

#[test]
fn a_manager_with_a_database_delivers_and_a_span_keeps_its_newest_events() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let mut config = Config::new(temp.path()).postgres(server.options());
    config.max_events_per_span = 3;
    config.buffer_size = 5;
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    let span = run.node("step");
    for n in 0..40u64 {
        run.event("tick", "tick").with("n", n).record();
        if n % 10 == 9 {
            manager.export(LONG).unwrap();
        }
    }
    span.ok();
    run.ok();
    let ended = manager.shutdown().unwrap();
    assert_eq!(ended.backends[0].records, 0, "{ended:?}");
    let kept =
        server.ask("SELECT string_agg(attributes ->> 'n', ',' ORDER BY timestamp_ns) FROM events");
    assert_eq!(kept, "37,38,39");
}

#[test]
fn only_rows_that_come_again_need_temporary_tables() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let (dir, options) = (temp.path(), server.options());
    let manager = manager(dir);
    record(&manager, 8);
    manager.flush().unwrap();
    // Those of a session that is open.
    let temporary = || server.count("pg_class WHERE relpersistence = 't' AND relkind = 'r'");
    let deliver = || {
        let tail = tail(dir, &options, |o| o.buffer_size = 100_000);
        tail.export(end(dir), LONG).unwrap();
        assert_eq!(tail.stats().quarantined, 0, "{:?}", tail.stats());
        let tables = temporary();
        tail.shutdown(LONG);
        tables
    };
    assert_eq!(deliver(), 0);
    server.ask("DELETE FROM emberlog_cursors");
    assert!(deliver() > 0);
    assert_arrived(dir, &options);
}

#[test]
fn what_follows_from_rows_is_written_out_where_that_is_wanted() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let options = server.options().tune(|o| o.write_derived = true);
    fill(temp.path(), &options);
    let log = LogReader::open(temp.path()).unwrap();
    let all = Filter::new().all();
    let (events, metrics) = (log.events(&all).unwrap(), log.metrics(&all).unwrap());
    assert!(events.iter().any(|e| e.derived) && metrics.iter().any(|m| m.derived));
    assert_eq!(server.count("events"), events.len() as u64);
    assert_eq!(server.count("metrics"), metrics.len() as u64);
    let reader = PostgresReader::open(options.clone()).unwrap();
    assert_eq!(reader.events(&all).unwrap(), events);
    assert_eq!(
        format!("{:?}", reader.metrics(&all).unwrap()),
        format!("{metrics:?}")
    );
    let failed = server.ask("SELECT count(*) FROM events WHERE type = 'node.failed'");
    assert_eq!(failed, "8");
    assert_arrived(temp.path(), &options);
}

#[test]
fn retention_deletes_traces_or_drops_days() {
    for partitions in [Partitions::None, Partitions::Daily] {
        let temp = tempfile::tempdir().unwrap();
        let server = Server::start();
        let options = server.options().tune(|o| o.partitions = partitions);
        fill(temp.path(), &options);
        let tables = [
            "spans",
            "events",
            "metrics",
            "links",
            "traces",
            "emberlog_trace_parts",
        ];
        let count = || tables.map(|table| server.count(table));
        let before = count();
        assert!(before.iter().all(|rows| *rows > 0), "{before:?}");
        let days = || server.count("pg_class WHERE relname ~ '^spans_[0-9]{8}$' AND relkind = 'r'");
        let mut sink = PostgresSink::open("postgres", options.clone()).unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let now = now.as_nanos() as i64;
        let day = Duration::from_secs(86_400).as_nanos() as i64;
        assert_eq!(sink.retain(now - day).unwrap(), 0);
        assert_eq!(count(), before);
        assert_eq!(days() > 0, partitions == Partitions::Daily);
        let mut deleted = 0;
        loop {
            match sink.retain(now + 3 * day).unwrap() {
                0 => break,
                some => deleted += some,
            }
        }
        assert!(deleted > 0);
        assert_eq!(count(), [0; 6], "{partitions:?}");
        assert_eq!(days(), 0);
        // What comes later has its place again.
        fill(&temp.path().join("again"), &options);
        assert_eq!(count(), before);
    }
}

/// Nobody waits for long: no transaction deletes more than a hundred traces.
#[test]
fn retention_deletes_a_little_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let options = server.options();
    fill(temp.path(), &options);
    let manager = manager(temp.path());
    let tail = tail(temp.path(), &options, |_| ());
    for _ in 0..350 {
        manager.start_trace("run").ok();
    }
    manager.flush().unwrap();
    tail.export(end(temp.path()), LONG).unwrap();
    drop(tail);
    let traces = server.count("traces");
    server.ask(
        "CREATE TABLE deleted (txid bigint, traces bigint);
         GRANT ALL ON deleted TO PUBLIC;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN INSERT INTO deleted SELECT txid_current(), count(*) FROM gone; RETURN NULL; END $$;
         CREATE TRIGGER note AFTER DELETE ON traces REFERENCING OLD TABLE AS gone
           FOR EACH STATEMENT EXECUTE FUNCTION note();",
    );
    let mut sink = PostgresSink::open("postgres", options).unwrap();
    while sink.retain(i64::MAX / 2).unwrap() > 0 {}
    assert_eq!(server.count("traces"), 0);
    assert_eq!(
        server.ask("SELECT sum(traces) FROM deleted"),
        traces.to_string()
    );
    let most = "SELECT max(n) FROM (SELECT sum(traces) n FROM deleted GROUP BY txid) t";
    assert_eq!(server.ask(most), "100");
}

/// Identities of all rows that belong to traces.
fn identities(scan: &dyn Scan) -> Vec<String> {
    let mut all = Filter::new().all();
    all.recorded_only = true;
    let spans = scan.spans(&all).unwrap();
    let events = scan.events(&all).unwrap();
    let spans = spans.into_iter().map(|row| format!("{:?}", row.record));
    let mut found: Vec<_> = spans
        .chain(events.into_iter().map(|row| format!("{:?}", row.record)))
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

/// Both go on under the same log id and the same positions, into one database.
#[test]
fn a_copied_directory_repeats_and_skips_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let options = server.options();
    let (first, second) = (temp.path().join("first"), temp.path().join("second"));
    let go_on = |dir: &Path, runs: u64| {
        let manager = manager(dir);
        record(&manager, runs);
        let tail = tail(dir, &options, |_| ());
        manager.shutdown().unwrap();
        tail.export(end(dir), LONG).unwrap();
    };
    go_on(&first, 5);
    // With its cursor.
    copy(&first, &second);
    for round in 0..3 {
        go_on(&first, 5 + round);
        go_on(&second, 9 - round);
    }
    let mut both = identities(&LogReader::open(&first).unwrap());
    both.extend(identities(&LogReader::open(&second).unwrap()));
    both.sort();
    let all = both.len();
    both.dedup();
    assert!(both.len() < all, "they have nothing in common");
    let stored = identities(&PostgresReader::open(options).unwrap());
    assert_eq!(stored.len(), both.len());
    assert_eq!(stored, both);
}
