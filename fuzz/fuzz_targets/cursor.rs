//! Any bytes over the file of a cursor: it says one of the two places written last or that it is
//! damaged, never another place; and what is written then is read again.
#![no_main]

use emberlog::{
    log::Position,
    record::id::{InstanceId, LogId},
    tail::cursor::{cursor_path, Cursor, CursorError, Place},
};
use emberlog_fuzz::{apply, directory, patches};
use libfuzzer_sys::fuzz_target;

const LOG: LogId = LogId([7; 16]);

fn at(offset: u64) -> Place {
    Place {
        instance: InstanceId([3; 16]),
        position: Position { epoch: 1, offset },
        delivered: offset * 3,
        lost: 5,
        passed: offset * 4,
        ..Place::start(LOG)
    }
}

fuzz_target!(|data: &[u8]| {
    let dir = directory();
    let open = || Cursor::open(dir.path(), "fuzz", Place::start(LOG));
    let mut cursor = open().expect("a new cursor");
    for offset in [100, 200] {
        cursor.advance(at(offset)).expect("moved");
    }
    drop(cursor);
    let path = cursor_path(dir.path(), "fuzz").expect("a name");
    let mut touched = [false; 2];
    for patch in patches(data) {
        // Slots of 128 bytes at 0 and 4096.
        let (slot, within) = (usize::from(patch.what) % 2, patch.at % 128);
        touched[slot] = true;
        touched[1] |= patch.bytes.is_empty() || within + patch.bytes.len() > 4096;
        apply(&path, &patch, slot * 4096 + within);
    }
    match open() {
        Ok(mut cursor) => {
            let known = [at(100), at(200)].contains(cursor.place());
            // A file cut to nothing is as new.
            let fresh = *cursor.place() == Place::start(LOG) && touched == [true; 2];
            assert!(known || fresh, "{:?}", cursor.place());
            if touched == [false; 2] {
                assert_eq!(*cursor.place(), at(200));
            }
            cursor.advance(at(300)).expect("moved");
            drop(cursor);
            assert_eq!(*open().expect("written").place(), at(300));
        }
        Err(CursorError::Damaged { .. }) => assert_eq!(touched, [true; 2]),
        Err(error) => panic!("{error}"),
    }
});
