//! Any bytes, read as records one after the other: no read outside, no endless loop, and a record
//! says the same wherever it lies.
#![no_main]

use emberlog::record::{view::aligned, Record};
use libfuzzer_sys::fuzz_target;

fn said(record: &Record<'_>) -> String {
    let attributes = record.attributes.iter().chain(record.custom.iter());
    let values: Vec<_> = attributes
        .map(|a| (a.truncated, a.value.to_value().to_json()))
        .collect();
    format!(
        "{:?} {:?} {:?} {} {values:?}",
        record.kind(),
        record.inline_name,
        record.text,
        record.flags()
    )
}

fuzz_target!(|data: &[u8]| {
    let words = aligned(data);
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let mut at = 0;
    while let Ok(record) = Record::read(&bytes, at) {
        assert!(record.size >= 8 && record.size % 8 == 0 && at + record.size <= bytes.len());
        let alone = &bytes[at..at + record.size];
        let again = Record::read(alone, 0).expect("a record needs nothing behind it");
        assert_eq!(said(&record), said(&again));
        at += record.size;
    }
});
