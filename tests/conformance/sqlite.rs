//! SQLite, in a file of its own per store.

use std::{path::PathBuf, time::Duration};

use emberlog::backend::{
    sqlite::{Options, SqliteReader, SqliteSink},
    Scan, Sink,
};

use crate::{backend::Backend, conformance, conformance_of_writes};

struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.0.path().join("t.db")
    }
}

impl Backend for Sqlite {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(SqliteSink::open("sqlite", Options::new(self.path())).unwrap())
    }

    fn scan(&self) -> Option<Box<dyn Scan>> {
        let reader = SqliteReader::open(self.path(), Duration::from_secs(30)).unwrap();
        Some(Box::new(reader))
    }

    fn assert_sound(&self) {
        let db = rusqlite::Connection::open(self.path()).unwrap();
        let check = "PRAGMA integrity_check";
        let ok: String = db.query_row(check, [], |row| row.get(0)).unwrap();
        assert_eq!(ok, "ok");
        let mut orphans = db.prepare("PRAGMA foreign_key_check").unwrap();
        assert!(!orphans.exists([]).unwrap(), "a row without its trace");
    }
}

fn fresh() -> Sqlite {
    Sqlite(tempfile::tempdir().unwrap())
}

conformance!(fresh);
