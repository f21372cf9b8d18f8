//! Cursor files.

use std::fs;

use crate::{
    log::Position,
    record::id::{random_u128, InstanceId, LogId},
    tail::cursor::{check_name, drop_cursor, list, Cursor, CursorError, Place},
};

fn log() -> LogId {
    LogId(random_u128().to_be_bytes())
}

fn at(place: Place, offset: u64) -> Place {
    Place {
        position: Position { epoch: 3, offset },
        instance: InstanceId([7; 16]),
        delivered: offset / 2,
        lost: 1,
        passed: offset,
        ..place
    }
}

#[test]
fn says_after_reopening_what_it_said_before() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Place::start(log());
    for round in 0..5 {
        let mut cursor = Cursor::open(dir.path(), "sqlite", begin).unwrap();
        assert_eq!(cursor.place().position.offset, round * 10);
        let next = at(begin, round * 10 + 10);
        cursor.advance(next).unwrap();
        assert_eq!(*cursor.place(), next);
    }
    let listed = list(dir.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "sqlite");
    assert_eq!(listed[0].place, Some(at(begin, 50)));
    assert!(!listed[0].held);
}

#[test]
fn one_holder_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Place::start(log());
    let held = Cursor::open(dir.path(), "a", begin).unwrap();
    let second = Cursor::open(dir.path(), "a", begin);
    assert!(matches!(second, Err(CursorError::Locked { .. })));
    let dropped = drop_cursor(dir.path(), "a");
    assert!(matches!(dropped, Err(CursorError::Locked { .. })));
    assert!(list(dir.path()).unwrap()[0].held);
    drop(held);
    drop_cursor(dir.path(), "a").unwrap();
    assert!(list(dir.path()).unwrap().is_empty());
    let missing = drop_cursor(dir.path(), "a");
    assert!(matches!(missing, Err(CursorError::Missing { .. })));
}

#[test]
fn names_are_never_paths() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Place::start(log());
    for name in [
        "", ".", "..", "../x", "a/b", "a\\b", "/etc", "a b", "é", ".a", "a\0b",
    ] {
        let opened = Cursor::open(dir.path(), name, begin);
        assert!(matches!(opened, Err(CursorError::Name(_))), "{name:?}");
    }
    assert!(check_name(&"x".repeat(65)).is_err());
    for name in ["a", "A-9_b.c", &"x".repeat(64)] {
        assert!(check_name(name).is_ok());
    }
}

#[test]
fn garbage_is_an_error_and_one_bad_slot_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Place::start(log());
    let mut cursor = Cursor::open(dir.path(), "c", begin).unwrap();
    cursor.advance(at(begin, 10)).unwrap();
    cursor.advance(at(begin, 20)).unwrap();
    let path = cursor.path().to_owned();
    drop(cursor);
    let good = fs::read(&path).unwrap();
    for byte in [0, 20, 50, 127, 4096, 4116, 4146, 4223] {
        let mut bad = good.clone();
        bad[byte] ^= 0xff;
        fs::write(&path, &bad).unwrap();
        let cursor = Cursor::open(dir.path(), "c", begin).unwrap();
        assert!([10, 20].contains(&cursor.place().position.offset));
    }
    for length in [1, 100, 128, 512, 4224, 10_000] {
        let garbage: Vec<u8> = (0..length).map(|i| (i * 7 + 3) as u8).collect();
        fs::write(&path, garbage).unwrap();
        let opened = Cursor::open(dir.path(), "c", begin);
        assert!(
            matches!(opened, Err(CursorError::Damaged { .. })),
            "{length}"
        );
        assert_eq!(list(dir.path()).unwrap()[0].place, None);
    }
    fs::write(&path, b"").unwrap();
    assert_eq!(
        Cursor::open(dir.path(), "c", begin).unwrap().place(),
        &begin
    );
}

#[test]
fn notices_another_log() {
    let dir = tempfile::tempdir().unwrap();
    drop(Cursor::open(dir.path(), "c", Place::start(log())).unwrap());
    let other = Cursor::open(dir.path(), "c", Place::start(log()));
    assert!(matches!(other, Err(CursorError::OtherLog { .. })));
}
