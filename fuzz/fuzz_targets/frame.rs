//! Frames with any content and a checksum that is right, as a wrong writer would leave them: all
//! readers agree on how many records there are, and recovery changes nothing twice.
#![no_main]

use emberlog::{
    log::{verify, LogDir, Options, Position, Snapshot, Step},
    query::Rings,
    Filter, LogReader,
};
use emberlog_fuzz::{
    directory, files, frames, model, patches, place, read_everything, segments, Known,
};
use libfuzzer_sys::fuzz_target;
use std::{fs, sync::OnceLock};

/// The frames of the model, and its salt.
fn known() -> &'static (Vec<Known>, u32) {
    static KNOWN: OnceLock<(Vec<Known>, u32)> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let dir = directory();
        place(&model().sealed, dir.path());
        let snapshot = Snapshot::open(dir.path()).expect("a log");
        (frames(dir.path()), snapshot.segments()[0].header().salt)
    })
}

fuzz_target!(|data: &[u8]| {
    let (known, salt) = known();
    let dir = directory();
    place(&model().sealed, dir.path());
    let (name, mut bytes) = segments(&model().sealed).remove(0);
    for patch in patches(data) {
        let (from, to) = known[usize::from(patch.what) % known.len()].range;
        let frame = &mut bytes[from..to];
        let at = patch.at % frame.len();
        let n = patch.bytes.len().min(frame.len() - at);
        frame[at..at + n].copy_from_slice(&patch.bytes[..n]);
        // The length stays: with another one the checksum would cover other bytes.
        frame[..4].copy_from_slice(&((to - from) as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(*salt, &frame[..4]);
        let crc = crc32c::crc32c_append(crc, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(dir.path().join(&name), &bytes).expect("a file");
    // The index was made for what stood there before.
    let _ = fs::remove_file(dir.path().join(&name).with_extension("idx"));
    read_everything(dir.path());
    let report = verify(dir.path()).expect("a log");
    let mut records = 0u64;
    for step in Snapshot::open(dir.path())
        .expect("a log")
        .frames_from(Position::START)
    {
        if let Step::Frame(frame, _) = step {
            records += frame.records().filter(|record| record.is_ok()).count() as u64;
        }
    }
    // Where frames lie about their records, the report says so; their word is what it counts.
    if report.problems.is_empty() {
        assert_eq!(records, report.records, "{report:?}");
    }
    let spans = || {
        let reader = LogReader::open_with(dir.path(), Rings::Ignore).expect("a log");
        format!(
            "{:?}",
            reader.spans(&Filter::new().all().status(emberlog::Status::Ok))
        )
    };
    let before = spans();
    let recover =
        || LogDir::lock(dir.path(), &Options::default()).and_then(|mut dir| dir.recover());
    recover().expect("recovered");
    assert_eq!(before, spans(), "recovery changed what the log says");
    let first = segments(&files(dir.path()));
    recover().expect("recovered before");
    assert!(
        first == segments(&files(dir.path())),
        "a second recovery changed a segment"
    );
});
