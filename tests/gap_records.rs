//! What recovery finds missing is said in the log by the next open, once.

use emberlog::{log::Snapshot, record::kinds::GapCause, Config, Manager};

#[test]
fn damage_that_recovery_finds_stands_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    for _ in 0..3 {
        for _ in 0..100 {
            manager.event("custom", "tick").record();
        }
        manager.flush().unwrap();
    }
    manager.shutdown().unwrap();
    // As a kill would have left the segment, with one bit of its second batch wrong.
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let view = &snapshot.segments()[0];
    let mut batches = view.frames().iter().filter(|f| f.ring != u32::MAX);
    let hit = batches.nth(1).unwrap();
    let lost = u64::from(hit.count);
    let mut bytes = std::fs::read(view.path()).unwrap();
    bytes[4352] = 0;
    bytes[hit.offset as usize + 100] ^= 1;
    std::fs::write(view.path(), bytes).unwrap();

    for round in 0..3 {
        let manager = Manager::open(Config::new(dir.path())).unwrap();
        let (log, _) = manager.recovered().unwrap();
        assert_eq!(log.gaps.len(), usize::from(round == 0), "round {round}");
        manager.event("custom", "later").record();
        manager.shutdown().unwrap();
    }
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let gaps: Vec<_> = snapshot.segments().iter().flat_map(|v| v.gaps()).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].cause, Some(GapCause::Damaged));
    assert_eq!(gaps[0].records, Some(lost));
    assert_eq!(gaps[0].instance, snapshot.segments()[0].header().instance);
    let report = emberlog::log::verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
}
