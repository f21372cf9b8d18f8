//! What the PostgreSQL sink adds to binary COPY: the same rows into the same tables with the same
//! indexes, as many per transaction, on a server of its own.
//!
//! ```text
//! cargo bench --features postgres,sqlite --bench postgres [-- ROUNDS] [PART]
//! ```
//!
//! | part | who takes turns with the plain client |
//! |---|---|
//! | `sink` | the sink, given rows |
//! | `migrate` | `emberlog migrate` of a SQLite database: rows are read, made and sent |
//!
//! Rows are those of the log: a span is one, a trace two.

#[cfg(unix)]
#[path = "../tests/support/postgres.rs"]
mod support;

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() {
    bench::main();
}

#[cfg(unix)]
mod bench {
    use std::{
        path::Path,
        pin::pin,
        sync::Arc,
        time::{Duration, Instant},
    };

    use bytes::Bytes;
    use emberlog::{
        backend::{
            postgres::{Options, PostgresSink},
            sqlite::{self, SqliteSink},
            BatchRange, Row, Sink, TraceBegan, TraceEnded,
        },
        export::{Endpoint, Export, ExportOptions},
        log::Position,
        model::Origin,
        AttributeMap, BackendConfig, InstanceId, LogId, RecordId, Span, SpanId, SpanKind, Status,
        Trace, TraceId, Value,
    };
    use futures_util::{SinkExt, TryStreamExt};
    use tokio_postgres::{Client, NoTls};

    use crate::support::{Server, Wanted};

    const LONG: Duration = Duration::from_secs(600);
    const SPANS: usize = 60_000;
    const PER_TRACE: usize = 20;
    const BATCH: usize = 1000;
    const T0: i64 = 1_767_225_600_000_000_000;
    /// Tables that both fill, in which order, with how many rows a batch has of each.
    const TABLES: [(&str, &str, usize); 3] = [
        ("traces", "start_ns", BATCH / (PER_TRACE + 2)),
        (
            "emberlog_trace_parts",
            "sequence",
            2 * (BATCH / (PER_TRACE + 2)),
        ),
        ("spans", "sequence", PER_TRACE * (BATCH / (PER_TRACE + 2))),
    ];

    fn origin() -> Arc<Origin> {
        Arc::new(Origin {
            instance: InstanceId([7; 16]),
            resource: Arc::new([("service.name", "bench")].into_iter().collect()),
            custom: Vec::new(),
            derive_events: true,
            derive_metrics: true,
            max_events_per_span: 100,
        })
    }

    fn rows() -> Vec<Row> {
        let instance = InstanceId([7; 16]);
        let mut sequence = 0;
        let mut record = || {
            sequence += 1;
            RecordId {
                instance,
                ring: 3,
                sequence,
            }
        };
        let mut rows = Vec::new();
        for n in 0..SPANS {
            let id = ((n / PER_TRACE) as u128 + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let start_ns = T0 + n as i64 * 1000;
            let trace = |end_ns: Option<i64>, status| Trace {
                trace_id: TraceId::from_u128(id),
                name: "graph".into(),
                start_ns,
                end_ns,
                status,
                attributes: [("graph_id", "g1"), ("graph_version", "2")]
                    .into_iter()
                    .collect(),
                resource: Arc::new(AttributeMap::new()),
                remote_parent: None,
                sampling_rate: 1.0,
                dropped_attributes: 0,
                instance,
            };
            if n % PER_TRACE == 0 {
                rows.push(Row::TraceBegan(TraceBegan {
                    trace: trace(None, Status::Unset),
                    record: record(),
                }));
            }
            let attributes: [(&str, Value); 3] = [
                ("node.id", format!("n{}", n % 50).into()),
                ("tokens", Value::U64(n as u64 % 1000)),
                ("cost", Value::F64(0.5)),
            ];
            let of = record();
            rows.push(Row::Span(Span {
                span_id: SpanId::new((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap(),
                trace_id: TraceId::from_u128(id),
                parent_span_id: None,
                remote_parent: false,
                name: "step".into(),
                kind: SpanKind::NodeExecution,
                start_ns,
                duration_ns: Some(1_000_001),
                status: Status::Ok,
                attributes: attributes.into_iter().collect(),
                error: None,
                dropped_attributes: 0,
                thread: (3, 8),
                record: Some(of),
                instance,
            }));
            if n % PER_TRACE == PER_TRACE - 1 {
                rows.push(Row::TraceEnded(TraceEnded {
                    trace: trace(Some(start_ns + 5_000_000), Status::Ok),
                    record: record(),
                }));
            }
        }
        rows
    }

    /// How long it took, and the processor time of client and server.
    #[derive(Clone, Copy)]
    struct Cost {
        wall: Duration,
        cpu: Duration,
    }

    /// Processor time of this process.
    fn own_cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn measured(server: &Server, work: impl FnOnce()) -> Cost {
        let (begun, cpu) = (Instant::now(), own_cpu() + server.cpu());
        work();
        Cost {
            wall: begun.elapsed(),
            cpu: own_cpu() + server.cpu() - cpu,
        }
    }

    fn range(n: usize) -> BatchRange {
        let at = |offset| Position { epoch: 1, offset };
        BatchRange {
            log: LogId([1; 16]),
            instance: InstanceId([7; 16]),
            from: at(n as u64),
            to: at(n as u64 + 1),
        }
    }

    /// A SQLite database with the rows.
    fn in_sqlite(db: &Path, rows: &[Row]) {
        let mut sink = SqliteSink::open("sqlite", sqlite::Options::new(db)).unwrap();
        sink.meet(&origin());
        for (n, batch) in rows.chunks(BATCH).enumerate() {
            sink.write(range(n), batch).unwrap();
        }
    }

    /// What `emberlog migrate` does with that database.
    fn migrate(server: &Server, db: &Path, options: &Options) -> Cost {
        let from: Endpoint = format!("sqlite:{}", db.display()).parse().unwrap();
        let target = BackendConfig::postgres(options.clone());
        let state = tempfile::tempdir().unwrap();
        measured(server, || {
            for (name, source) in from.sources().unwrap() {
                let mut options = ExportOptions::new(name);
                options.batch = BATCH;
                let export = Export::of(state.path(), source, &target, &options).unwrap();
                assert!(export.wait(LONG).done, "{name}");
                let (report, trouble) = export.finish(LONG);
                assert_eq!((trouble, report.quarantined), (None, 0), "{name}");
            }
        })
    }

    fn ours(server: &Server, options: &Options, rows: &[Row]) -> Cost {
        let mut sink = PostgresSink::open("postgres", options.clone()).unwrap();
        sink.meet(&origin());
        measured(server, || {
            for (n, batch) in rows.chunks(BATCH).enumerate() {
                sink.write(range(n), batch).unwrap();
            }
        })
    }

    /// What a plain client has: the rows of one table as COPY writes them, cut into batches.
    async fn copied(client: &Client, table: &str, by: &str, per_batch: usize) -> Vec<Bytes> {
        let sql = format!("COPY (SELECT * FROM {table} ORDER BY {by}) TO STDOUT BINARY");
        let stream = client.copy_out(&sql).await.unwrap();
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        let all = pieces.concat();
        let head = 19;
        let (mut batches, mut batch, mut count, mut at) =
            (Vec::new(), all[..head].to_vec(), 0, head);
        let number = |at: usize, bytes: usize| {
            all[at..at + bytes]
                .iter()
                .fold(0u64, |n, b| n << 8 | u64::from(*b))
        };
        while number(at, 2) != 0xffff {
            let begin = at;
            let fields = number(at, 2);
            at += 2;
            for _ in 0..fields {
                let bytes = number(at, 4) as u32 as i32;
                at += 4 + bytes.max(0) as usize;
            }
            batch.extend_from_slice(&all[begin..at]);
            count += 1;
            if count % per_batch == 0 {
                batch.extend_from_slice(&[0xff, 0xff]);
                batches.push(Bytes::from(std::mem::replace(
                    &mut batch,
                    all[..head].to_vec(),
                )));
            }
        }
        batch.extend_from_slice(&[0xff, 0xff]);
        batches.push(Bytes::from(batch));
        batches
    }

    async fn connect(server: &Server, database: &str) -> Client {
        let url = format!(
            "host=127.0.0.1 port={} user=telemetry dbname={database}",
            server.port()
        );
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn raw(server: &Server, from: &str, to: &str) -> Cost {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (client, tables) = runtime.block_on(async {
            let source = connect(server, from).await;
            let mut tables = Vec::new();
            for (table, by, per_batch) in TABLES {
                tables.push((table, copied(&source, table, by, per_batch).await));
            }
            (connect(server, to).await, tables)
        });
        measured(server, || {
            runtime.block_on(async {
                let mut statements = Vec::new();
                for (table, ..) in TABLES {
                    let sql = format!("COPY {table} FROM STDIN BINARY");
                    statements.push(client.prepare(&sql).await.unwrap());
                }
                let most = tables
                    .iter()
                    .map(|(_, batches)| batches.len())
                    .max()
                    .unwrap();
                for n in 0..most {
                    client.batch_execute("BEGIN").await.unwrap();
                    for ((_, batches), statement) in tables.iter().zip(&statements) {
                        let Some(batch) = batches.get(n) else {
                            continue;
                        };
                        let mut sink = pin!(client.copy_in::<_, Bytes>(statement).await.unwrap());
                        sink.feed(batch.clone()).await.unwrap();
                        sink.finish().await.unwrap();
                    }
                    client.batch_execute("COMMIT").await.unwrap();
                }
            });
        })
    }

    pub fn main() {
        let rounds = std::env::args()
            .filter_map(|arg| arg.parse().ok())
            .next()
            .unwrap_or(5);
        let server = Server::with(&Wanted {
            settings: vec!["fsync = on".to_owned()],
            ..Wanted::default()
        });
        let rows = rows();
        let temp = tempfile::tempdir().unwrap();
        let db = temp.path().join("rows.db");
        in_sqlite(&db, &rows);
        let wanted = |part: &str| {
            let parts = ["sink", "migrate"];
            let mut said = std::env::args().filter(|arg| parts.contains(&arg.as_str()));
            said.next().is_none_or(|said| said == part)
        };
        if wanted("sink") {
            compare("sink", rounds, &server, rows.len(), |options| {
                ours(&server, options, &rows)
            });
        }
        if wanted("migrate") {
            compare("migrate", rounds, &server, rows.len(), |options| {
                migrate(&server, &db, options)
            });
        }
    }

    /// Something in turns with a plain client that copies the same rows into the same tables.
    fn compare(
        what: &str,
        rounds: usize,
        server: &Server,
        rows: usize,
        ours: impl Fn(&Options) -> Cost,
    ) {
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let ours = ours(&server.fresh("ours"));
            let plain = server.fresh("plain");
            drop(PostgresSink::open("postgres", plain).unwrap());
            let raw = raw(server, "ours", "plain");
            for (table, ..) in TABLES {
                let count =
                    |database| server.sql(database, &format!("SELECT count(*) FROM {table}"));
                assert_eq!(count("ours"), count("plain"), "{table}");
            }
            let per = |time: Duration| rows as f64 / time.as_secs_f64();
            println!(
                "{what} {:.0} rows/s, {:.0} rows per CPU second; plain COPY {:.0}, {:.0}",
                per(ours.wall),
                per(ours.cpu),
                per(raw.wall),
                per(raw.cpu)
            );
            wall.push(raw.wall.as_secs_f64() / ours.wall.as_secs_f64());
            cpu.push(raw.cpu.as_secs_f64() / ours.cpu.as_secs_f64());
        }
        for (of, ratios) in [("wall time", &mut wall), ("CPU time", &mut cpu)] {
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            println!(
                "{what} to plain COPY by {of}: median {:.2}x ({least:.2} to {most:.2})",
                ratios[ratios.len() / 2]
            );
        }
    }
}
