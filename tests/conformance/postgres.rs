//! PostgreSQL: one server for all checks, a database of its own per store.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Mutex, OnceLock,
};

use emberlog::backend::{
    postgres::{Options, Partitions, PostgresReader, PostgresSink},
    Scan, Sink,
};

use crate::{backend::Backend, conformance, conformance_of_writes};

#[path = "../support/postgres.rs"]
mod support;

use support::Server;

/// Statics are not dropped: the last store that goes takes the server with it.
static SERVER: OnceLock<Mutex<Shared>> = OnceLock::new();

#[derive(Default)]
struct Shared {
    server: Option<Server>,
    stores: u64,
}

fn shared() -> std::sync::MutexGuard<'static, Shared> {
    let shared = SERVER.get_or_init(Mutex::default);
    shared.lock().unwrap_or_else(|e| e.into_inner())
}

struct Postgres(Options);

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut shared = shared();
        shared.stores -= 1;
        if shared.stores == 0 {
            shared.server = None;
        }
    }
}

impl Backend for Postgres {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(PostgresSink::open("postgres", self.0.clone()).unwrap())
    }

    fn scan(&self) -> Option<Box<dyn Scan>> {
        Some(Box::new(PostgresReader::open(self.0.clone()).unwrap()))
    }
}

fn store(tune: impl FnOnce(&mut Options)) -> Postgres {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut shared = shared();
    shared.stores += 1;
    let server = shared.server.get_or_insert_with(Server::start);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Postgres(server.fresh(&format!("store_{number}")).tune(tune))
}

mod plain {
    use super::*;

    fn fresh() -> Postgres {
        store(|_| ())
    }

    conformance!(fresh);
}

/// A partition per day, and everything that follows written out: the answers are the same.
mod partitioned {
    use super::*;

    fn fresh() -> Postgres {
        store(|options| {
            options.partitions = Partitions::Daily;
            options.write_derived = true;
            options.table_prefix = "tele_".to_owned();
        })
    }

    conformance!(fresh);
}
