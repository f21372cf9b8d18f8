//! One connection, driven by the thread that uses it.
//!
//! Always true:
//! - no call waits longer than the options allow, whatever the server and the network do
//! - a connection of which an answer is missing is not used again
//! - what the server still does for a connection that is gone ends by the same time

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{future::join_all, SinkExt, TryStreamExt};
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{
    config::SslMode as Tls,
    types::{ToSql, Type},
    Client, Config, NoTls, Row, Statement,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    error::{PostgresError, Verdict},
    options::{Options, Server, SslMode, Target},
    password, tls,
};

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Something that a connection is asked for.
pub(super) enum Step<'a> {
    /// A statement.
    Run(&'a str, Params<'a>),
    /// Rows for a `COPY`, in PostgreSQL's binary form.
    Copy(&'a str, Bytes),
}

/// What a step gave.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// Rows that a statement inserted, changed, deleted or selected.
    pub(super) touched: u64,
}

/// Rows that are fetched at once.
pub(super) const PIECE: usize = 1000;

/// A query of which rows are fetched.
#[derive(Debug)]
pub(super) struct Cursor(String);

/// Statements that stay prepared.
const PREPARED: usize = 64;

/// One connection.
pub(super) struct Link {
    /// Taken on drop; without it nothing runs.
    runtime: Option<Runtime>,
    client: Client,
    statements: HashMap<String, Statement>,
    place: String,
    within: Duration,
    broken: bool,
    /// Cursors so far, for their names.
    cursors: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("place", &self.place)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Without waiting for a name that is still being looked up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A text as SQL has it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Link {
    /// Connects to the first server that is good enough.
    pub(super) fn open(options: &Options) -> Result<Self, PostgresError> {
        let problems = options.validate();
        if !problems.is_empty() {
            return Err(super::options::OptionsError { problems }.into());
        }
        let tls = tls::config(options)?.map(Arc::new);
        let mut last = None;
        for server in &options.servers {
            match Self::to(options, server, tls.as_ref()) {
                Ok(link) => return Ok(link),
                Err(error) => {
                    // What passes is worth more than what stays: another server may do.
                    let better = error.verdict() == Verdict::Retry;
                    if last.is_none() || better {
                        last = Some(error);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| PostgresError::Content("no server".to_owned())))
    }

    fn to(
        options: &Options,
        server: &Server,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, PostgresError> {
        let place = format!("{server}/{}", options.database);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| PostgresError::Pool {
            place: place.clone(),
            problem: format!("cannot start: {e}"),
        })?;
        let config = config(options, server);
        let connect = async {
            match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
                Some(tls) => {
                    let tls = MakeRustlsConnect::new(ClientConfig::clone(tls));
                    let (client, connection) = config.connect(tls).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
            }
        };
        let within = options.connect_timeout;
        let client: Result<Client, tokio_postgres::Error> =
            match runtime.block_on(async { tokio::time::timeout(within, connect).await }) {
                Ok(connected) => connected,
                Err(_) => {
                    runtime.shutdown_background();
                    let what = "the connection";
                    return Err(PostgresError::Timeout {
                        place,
                        what,
                        within,
                    });
                }
            };
        let client = match client {
            Ok(client) => client,
            Err(source) => {
                runtime.shutdown_background();
                return Err(PostgresError::Server { place, source });
            }
        };
        let mut link = Self {
            runtime: Some(runtime),
            client,
            statements: HashMap::new(),
            place,
            within: options.command_timeout,
            broken: false,
            cursors: 0,
        };
        link.begin(options)?;
        Ok(link)
    }

    /// What every session begins with.
    fn begin(&mut self, options: &Options) -> Result<(), PostgresError> {
        let ms = options.command_timeout.as_millis();
        let mut sql = format!(
            "SET statement_timeout = {ms}; SET lock_timeout = {ms}; \
             SET idle_in_transaction_session_timeout = {ms}; \
             SET client_min_messages = warning; SET TimeZone = 'UTC'; \
             SET default_transaction_isolation = 'read committed';"
        );
        if let Some(schema) = &options.schema {
            sql.push_str(&format!("SET search_path = {};", quoted(schema)));
        }
        self.batch(&sql)?;
        let wanted = match options.target {
            Target::Any => return Ok(()),
            Target::ReadWrite => "off",
            Target::ReadOnly => "on",
        };
        let row = self.query("SHOW transaction_read_only", &[])?;
        let is: &str = row
            .first()
            .map_or(Ok(""), |row| row.try_get(0))
            .unwrap_or("");
        match is == wanted {
            true => Ok(()),
            false => Err(PostgresError::Pool {
                place: self.place.clone(),
                problem: format!("transaction_read_only is {is}, wanted is {wanted}"),
            }),
        }
    }

    /// Server and database, as messages name them.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether it is of no more use.
    pub(super) fn is_broken(&self) -> bool {
        self.broken || self.client.is_closed()
    }

    /// Waits for an answer, no longer than is allowed.
    fn wait<T>(
        &mut self,
        what: &'static str,
        with: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        let within = self.within;
        let Some(runtime) = &self.runtime else {
            unreachable!("it is taken on drop")
        };
        let client = &self.client;
        let answer = runtime.block_on(async { tokio::time::timeout(within, with(client)).await });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => {
                // Without a word of the server it is the connection.
                self.broken |= source.code().is_none();
                Err(PostgresError::Server {
                    place: self.place.clone(),
                    source,
                })
            }
            Err(_) => {
                self.broken = true;
                Err(PostgresError::Timeout {
                    place: self.place.clone(),
                    what,
                    within,
                })
            }
        }
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), PostgresError> {
        self.wait("a statement", async |client| {
            client.batch_execute(sql).await
        })
    }

    /// The prepared statement of a text.
    pub(super) fn prepared(&mut self, sql: &str) -> Result<Statement, PostgresError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait("a statement", async |client| client.prepare(sql).await)?;
        if self.statements.len() >= PREPARED {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// All rows of a query.
    pub(super) fn query(
        &mut self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, PostgresError> {
        let statement = self.prepared(sql)?;
        self.wait("a query", async |client| {
            client.query(&statement, params).await
        })
    }

    /// Runs a statement; how many rows it touched.
    pub(super) fn execute(&mut self, sql: &str, params: Params<'_>) -> Result<u64, PostgresError> {
        let statement = self.prepared(sql)?;
        self.wait("a statement", async |client| {
            client.execute(&statement, params).await
        })
    }

    /// Takes steps one after the other and gives what each gave; the first error ends it. Statements
    /// are sent without waiting for those before them, a copy is waited for: the client library loses
    /// count of answers when one fails and more is on its way.
    pub(super) fn script(&mut self, steps: Vec<Step<'_>>) -> Result<Vec<Answer>, PostgresError> {
        let mut prepared = Vec::with_capacity(steps.len());
        for step in steps {
            let (Step::Run(sql, _) | Step::Copy(sql, _)) = &step;
            prepared.push((self.prepared(sql)?, step));
        }
        let mut answers = Vec::with_capacity(prepared.len());
        let mut steps = prepared.into_iter().peekable();
        while let Some((statement, step)) = steps.next() {
            let params = match step {
                Step::Run(_, params) => params,
                Step::Copy(_, rows) => {
                    self.wait("rows", async |client| copy(client, &statement, rows).await)?;
                    answers.push(Answer::default());
                    continue;
                }
            };
            let mut together = vec![(statement, params)];
            while let Some((statement, Step::Run(_, params))) =
                steps.next_if(|(_, step)| matches!(step, Step::Run(..)))
            {
                together.push((statement, params));
            }
            let all = self.wait("statements", async |client| {
                let all = together
                    .iter()
                    .map(|(statement, params)| ask(client, statement, params));
                join_all(all)
                    .await
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
            })?;
            answers.extend(all);
        }
        Ok(answers)
    }

    /// Begins a query of which the rows are fetched piece by piece, each within the time of one
    /// answer. It ends with the transaction that it must be in.
    pub(super) fn declare(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Cursor, PostgresError> {
        self.cursors += 1;
        let name = format!("emberlog_{}", self.cursors);
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}");
        self.wait("a query", async |client| {
            client.execute_typed(&declare, params).await
        })?;
        Ok(Cursor(name))
    }

    /// More rows; fewer than [`PIECE`] are the last.
    pub(super) fn fetch(&mut self, cursor: &Cursor) -> Result<Vec<Row>, PostgresError> {
        let fetch = format!("FETCH {PIECE} FROM {}", cursor.0);
        self.wait("a query", async |client| {
            client.query_typed(&fetch, &[]).await
        })
    }
}

/// Runs a statement to its end.
async fn ask(
    client: &Client,
    statement: &Statement,
    params: Params<'_>,
) -> Result<Answer, tokio_postgres::Error> {
    let params = params.iter().map(|param| *param as &dyn ToSql);
    let mut stream = std::pin::pin!(client.query_raw(statement, params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    let touched = stream.rows_affected().unwrap_or(0);
    Ok(Answer { rows, touched })
}

/// Copies rows in PostgreSQL's binary form; how many.
async fn copy(
    client: &Client,
    statement: &Statement,
    rows: Bytes,
) -> Result<u64, tokio_postgres::Error> {
    let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(statement).await?);
    sink.feed(rows).await?;
    sink.finish().await
}

/// What one server is asked for.
fn config(options: &Options, server: &Server) -> Config {
    let env = &password::process;
    let mut config = Config::new();
    config
        .host(&server.host)
        .port(server.port)
        .user(password::user(options, env))
        .dbname(&options.database)
        .application_name(&options.application_name)
        .connect_timeout(options.connect_timeout)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(options.command_timeout)
        .ssl_mode(match options.sslmode {
            SslMode::Disable => Tls::Disable,
            SslMode::Prefer => Tls::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Tls::Require,
        });
    if let Some(password) = password::password(options, server, env) {
        config.password(password.expose());
    }
    config
}
