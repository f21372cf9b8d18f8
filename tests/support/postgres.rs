//! A PostgreSQL server of the test's own: made in a temporary directory, on a free port of
//! loopback, gone when it is dropped.
//!
//! The programs are those of `EMBERLOG_PG_BIN`, else the newest below `/usr/lib/postgresql`, else
//! what `PATH` has. The server refuses to run as root: then it runs as the user `postgres`.

#![allow(dead_code)] // each test file uses a part of it

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use emberlog::backend::postgres::Options;

/// Awkward on purpose: URLs must encode it.
pub const PASSWORD: &str = "p@ss w0rd/%";
pub const USER: &str = "telemetry";
pub const DATABASE: &str = "telemetry";
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is to be.
#[derive(Clone, Default)]
pub struct Wanted {
    /// Passwords are asked for, with SCRAM.
    pub scram: bool,
    /// Certificate and key, PEM: everybody must come with TLS.
    pub tls: Option<(String, String)>,
    /// Certificate of the authority that clients' certificates must come from.
    pub client_ca: Option<String>,
    /// More lines of `postgresql.conf`.
    pub settings: Vec<String>,
    /// Where the data is; a directory of its own if nothing is said.
    pub root: Option<PathBuf>,
}

/// A running server, or one that was stopped.
pub struct Server {
    /// Removed at the end.
    dir: Option<tempfile::TempDir>,
    root: PathBuf,
    port: u16,
    process: Option<Child>,
}

/// Where a program of the server is.
fn program(name: &str) -> PathBuf {
    if let Some(dir) = std::env::var_os("EMBERLOG_PG_BIN") {
        return Path::new(&dir).join(name);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    match versions.pop() {
        Some((_, path)) => path.join("bin").join(name),
        None => name.into(),
    }
}

/// Whom the server runs as: nobody else than us, unless we are root.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let line = line.expect("no user postgres: apt-get install postgresql");
    let fields: Vec<_> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command.current_dir("/").env_remove("PGDATA");
    command
}

fn run(mut command: Command) {
    let done = command.output().unwrap_or_else(|e| {
        panic!("{command:?}: {e}; scripts/test installs PostgreSQL, or apt-get install postgresql")
    });
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Server {
    /// One that trusts everybody on loopback.
    pub fn start() -> Self {
        Self::with(&Wanted::default())
    }

    pub fn with(wanted: &Wanted) -> Self {
        let dir = match &wanted.root {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("emberlog-pg-")
                    .tempdir()
                    .unwrap(),
            ),
        };
        let root = match (&wanted.root, &dir) {
            (Some(root), _) => root.clone(),
            (None, Some(dir)) => dir.path().to_owned(),
            (None, None) => unreachable!(),
        };
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
        let mut server = Self {
            dir,
            root,
            port: free_port(),
            process: None,
        };
        server.create(wanted);
        server.up();
        server.sql(
            "postgres",
            &format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"),
        );
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {DATABASE} OWNER {USER}"),
        );
        server
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = server_user() {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    fn create(&mut self, wanted: &Wanted) {
        let data = self.data();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        self.give(&data);
        self.give(&self.root);
        let mut initdb = command("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        run(initdb);
        let method = if wanted.scram {
            "scram-sha-256"
        } else {
            "trust"
        };
        let kind = if wanted.tls.is_some() {
            "hostssl"
        } else {
            "host"
        };
        let more = match wanted.client_ca {
            Some(_) => " clientcert=verify-full",
            None => "",
        };
        let hba = format!("local all all trust\n{kind} all all 127.0.0.1/32 {method}{more}\n");
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let mut settings = vec![
            format!("port = {}", self.port),
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("unix_socket_directories = '{}'", self.root.display()),
            "password_encryption = scram-sha-256".to_owned(),
            // What a killed server needs is written; what a power cut takes is another test's.
            "fsync = off".to_owned(),
            "max_wal_size = 256MB".to_owned(),
        ];
        if let Some((cert, key)) = &wanted.tls {
            for (name, text) in [("server.crt", cert), ("server.key", key)] {
                let path = data.join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                self.give(&path);
            }
            settings.push("ssl = on".to_owned());
        }
        if let Some(ca) = &wanted.client_ca {
            let path = data.join("ca.crt");
            fs::write(&path, ca).unwrap();
            self.give(&path);
            settings.push("ssl_ca_file = 'ca.crt'".to_owned());
        }
        settings.extend(wanted.settings.iter().cloned());
        let conf = data.join("postgresql.conf");
        let before = fs::read_to_string(&conf).unwrap();
        fs::write(&conf, format!("{before}\n{}\n", settings.join("\n"))).unwrap();
    }

    /// Starts it, if it does not run.
    pub fn up(&mut self) {
        if self.process.is_some() {
            return;
        }
        let log = fs::File::create(self.root.join("log")).unwrap();
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(self.data()).stdin(Stdio::null());
        // A group of its own, so that all of it can be stopped and killed at once.
        postgres
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        self.process = Some(postgres.spawn().unwrap());
        let begun = Instant::now();
        while !self.answers() {
            let died = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.root.join("log")).unwrap_or_default();
            assert!(died.is_none(), "the server ended: {}", log());
            assert!(
                begun.elapsed() < PATIENCE,
                "the server does not start: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again, if it ended by itself.
    pub fn up_again(&mut self) {
        let process = self.process.as_mut().expect("it ran");
        if process.try_wait().unwrap().is_some() {
            self.process = None;
            let _ = fs::remove_file(self.data().join("postmaster.pid"));
            self.up();
        }
    }

    fn answers(&self) -> bool {
        let mut ask = self.psql("postgres", "SELECT 1");
        ask.stdout(Stdio::null()).stderr(Stdio::null());
        ask.status().is_ok_and(|status| status.success())
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.arg("-h").arg(&self.root);
        psql.args([
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-d",
            database,
        ]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-X", "-q", "-A", "-t", "-c", sql]);
        psql.env_remove("PGPASSWORD")
            .env("PGOPTIONS", "-c default_transaction_read_only=off");
        psql
    }

    /// Runs a statement as the superuser; what it prints.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let done = self.psql(database, sql).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{sql}: {error}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Runs a statement in the database of the tests.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.sql(DATABASE, sql)
    }

    #[track_caller]
    pub fn count(&self, from: &str) -> u64 {
        self.ask(&format!("SELECT count(*) FROM {from}"))
            .parse()
            .unwrap()
    }

    /// A database of that name, empty.
    pub fn fresh(&self, name: &str) -> Options {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name}"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        self.options().database(name)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn options(&self) -> Options {
        self.options_at(self.port)
    }

    /// The same through something that listens on another port.
    pub fn options_at(&self, port: u16) -> Options {
        Options::default()
            .server("127.0.0.1", port)
            .login(USER, PASSWORD)
            .database(DATABASE)
            .tune(|o| o.application_name = "emberlog test".to_owned())
    }

    /// Processor time of all of its processes so far.
    pub fn cpu(&self) -> Duration {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()));
        let of = |pid: &str| -> Option<[u64; 4]> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let at = |n: usize| fields[n].parse().unwrap_or(0);
            Some([at(11), at(12), at(13), at(14)])
        };
        // Of those that ended the first one knows.
        let first = of(&self.pid().to_string()).unwrap_or_default();
        let mut ticks: u64 = first.iter().sum();
        for child in children.unwrap_or_default().split_whitespace() {
            ticks += of(child).map_or(0, |[user, system, ..]| user + system);
        }
        Duration::from_millis(ticks * 10)
    }

    fn signal(&self, signal: &str, to: i32) {
        let done = Command::new("kill")
            .args([signal, "--", &to.to_string()])
            .status();
        assert!(done.unwrap().success(), "kill {signal} {to}");
    }

    fn pid(&self) -> i32 {
        self.process.as_ref().expect("it runs").id() as i32
    }

    /// Ends it, and everybody's connection with it.
    pub fn stop(&mut self) {
        self.signal("-INT", self.pid());
        self.process.take().unwrap().wait().unwrap();
    }

    /// Kills all of it at once; the next start recovers.
    pub fn kill(&mut self) {
        // Every process of the server has a session of its own.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()));
        self.process.as_mut().unwrap().kill().unwrap();
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill")
                .args(["-KILL", child])
                .stderr(Stdio::null())
                .status();
        }
        self.process.take().unwrap().wait().unwrap();
        let pid_file = self.data().join("postmaster.pid");
        until("the memory of a killed server is free", || {
            fs::remove_file(&pid_file).is_ok() || !pid_file.exists()
        });
    }

    /// Stops every process of it where it is: it takes connections and never answers.
    pub fn pause(&self) {
        self.signal_all("-STOP");
    }

    pub fn go_on(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        self.signal(signal, self.pid());
        for child in fs::read_to_string(path)
            .unwrap_or_default()
            .split_whitespace()
        {
            // It may have ended meanwhile.
            let _ = Command::new("kill")
                .args([signal, child])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.kill()));
        }
    }
}
