//! Figures: `cargo test --release --lib log::tests::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use crate::{
    log::{Snapshot, SyncPolicy},
    record::id::TraceId,
};

use super::support::*;

#[test]
#[ignore = "prints how long it takes"]
fn append_and_lookup() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut options = options();
    options.segment_bytes = 64 << 20;
    options.sync = SyncPolicy::Every(Duration::from_secs(1));
    let (mut writer, housekeeper) = open(dir.path(), &options);
    let mut words = spans(1, 0, 20 * 1020);
    writer.roll(&prologue(), soon()).unwrap();
    let mut sequence = 0;
    let mut rates = Vec::new();
    let batch = words.len() as u64 / 8;
    for round in 0..250u64 {
        if round % 50 == 0 && round > 0 {
            // Other traces.
            words = spans(1, round * batch, (round + 1) * batch);
        }
        let start = Instant::now();
        append(&mut writer, 1, sequence, &words);
        writer.commit().unwrap();
        rates.push(start.elapsed().as_nanos() as f64 / batch as f64);
        sequence += batch;
    }
    rates.sort_by(f64::total_cmp);
    let mean: f64 = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "append + commit: median {:.1} ns per 64-byte span, mean {mean:.1}, worst batch {:.1} ({} spans)",
        rates[rates.len() / 2],
        rates[rates.len() - 1],
        sequence
    );
    let bytes = crate::record::view::bytes_of(&words);
    let mut index = crate::log::index::IndexBuilder::default();
    let start = Instant::now();
    for _ in 0..100 {
        let mut at = 0;
        while at < bytes.len() {
            let s = crate::log::walk::walk(&bytes[at..], 65_472, |h| index.trace(h)).unwrap();
            at += s.bytes;
        }
    }
    let walk = start.elapsed().as_nanos() as f64 / 100.0 / batch as f64;
    let start = Instant::now();
    let mut crc = 0;
    for _ in 0..100 {
        for chunk in bytes.chunks(65_472) {
            crc = crc32c::crc32c_append(crc, chunk);
        }
    }
    let sum = start.elapsed().as_nanos() as f64 / 100.0 / batch as f64;
    println!("of that the walk {walk:.1} ns, the checksum {sum:.1} ns per span ({crc:x})");
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    lookup(dir.path(), batch);
}

fn lookup(dir: &std::path::Path, batch: u64) {
    let start = Instant::now();
    let snapshot = Snapshot::open(dir).unwrap();
    println!(
        "opened {} segments in {:?}",
        snapshot.segments().len(),
        start.elapsed()
    );
    for pass in 0..2 {
        let mut times = Vec::new();
        let mut candidates = 0;
        for n in 0..2000u64 {
            let ring = 1 + (n % 2) as u32 * 7;
            let id = TraceId::from_u128(trace_of(ring, (n * 9) % batch));
            let start = Instant::now();
            for view in snapshot.segments() {
                candidates += view.find_trace(id).count();
            }
            times.push(start.elapsed());
        }
        times.sort();
        println!(
            "lookup pass {pass}: median {:?}, p99 {:?}, worst {:?}, {candidates} candidate frames",
            times[1000], times[1980], times[1999]
        );
    }
}

/// Peak resident memory of this process since the last call with `reset`, in MiB.
#[cfg(target_os = "linux")]
fn peak_mib(reset: bool) -> u64 {
    if reset {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or(0u64) >> 10
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "prints how long it takes"]
fn recovery_of_a_gibibyte() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut options = options();
    options.segment_bytes = 1 << 30;
    options.max_bytes = Some(8 << 30);
    let (mut writer, housekeeper) = open(dir.path(), &options);
    let words = spans(1, 0, 20 * 1020);
    writer.roll(&prologue(), soon()).unwrap();
    let batch = words.len() as u64 / 8;
    let mut sequence = 0;
    while writer.append(1, 1, sequence, &words).is_ok() {
        writer.commit().unwrap();
        sequence += batch;
    }
    writer.commit().unwrap();
    drop(writer);
    housekeeper.stop().unwrap();
    set_durable(dir.path(), 0);
    for again in [false, true] {
        let path = segment_of(dir.path());
        let file = crate::log::file::open_rw(&path).unwrap();
        let mut page = vec![0; 8192];
        crate::log::file::read_up_to(&file, &mut page, 0).unwrap();
        if again {
            // Once more, as if it had never been sealed.
            page[crate::log::layout::STATE_AT] = 0;
            crate::log::file::write_at(&file, &page, 0).unwrap();
            set_durable(dir.path(), 0);
        }
        let before = peak_mib(true);
        let start = Instant::now();
        let report = crate::log::LogDir::lock(dir.path(), &options)
            .unwrap()
            .recover()
            .unwrap();
        println!(
            "recovered {} MiB in {:?}, memory from {before} to {} MiB",
            report.end.offset >> 20,
            start.elapsed(),
            peak_mib(false)
        );
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(report.damage.is_empty() && report.sealed.len() == 1);
    }
    let before = peak_mib(true);
    let start = Instant::now();
    assert!(crate::log::verify(dir.path()).unwrap().ok);
    println!(
        "verified in {:?}, memory from {before} to {} MiB",
        start.elapsed(),
        peak_mib(false)
    );
}
