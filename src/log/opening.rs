//! The opening of a segment: what its first frame begins with, once more, in the header.
//!
//! All other frames need what stands there: the clock anchor, the resource, names. Where the first
//! frame is damaged and the instance has no other segment, this copy speaks for it.
//!
//! Always true:
//! - it is written before the first frame is shown, and not again while that frame is intact
//! - it is the beginning of that frame's records, whole ones only, so that each of them lies as far
//!   behind the first one as it does there, and offsets of anchors hold
//!
//! The byte layout is in `docs/format.md`, section 4.

use crate::record::view::aligned;

use super::{
    index::FrameEntry,
    layout::{put, u16_at, u32_at, FRAME_HEADER, HEADER_BYTES, OPENING_AT, OPENING_BYTES},
    source::Source,
};

/// Length and checksum.
const HEAD: usize = 8;
/// Offset in the segment of the records that are copied: those of the first frame.
pub(super) const RECORDS_AT: u32 = (HEADER_BYTES + FRAME_HEADER as u64) as u32;

const _: () = assert!(OPENING_AT + OPENING_BYTES as u64 == HEADER_BYTES);

/// The opening of a segment whose first frame has these records.
pub(super) fn encode(records: &[u8], salt: u32) -> [u8; OPENING_BYTES] {
    let mut length = 0;
    while length < records.len() {
        let size = usize::from(u16_at(records, length)) * 8;
        if size == 0 || length + size > records.len().min(OPENING_BYTES - HEAD) {
            break;
        }
        length += size;
    }
    let mut opening = [0; OPENING_BYTES];
    put(&mut opening, 0, &(length as u32).to_le_bytes());
    put(&mut opening, HEAD, &records[..length]);
    let crc = checksum(&opening, length, salt);
    put(&mut opening, 4, &crc.to_le_bytes());
    opening
}

/// The records in an opening, to be read as bytes; none if it does not check.
pub(super) fn decode(opening: &[u8], salt: u32) -> Vec<u64> {
    let length = u32_at(opening, 0) as usize;
    match opening
        .get(HEAD..)
        .and_then(|records| records.get(..length))
    {
        Some(records) if u32_at(opening, 4) == checksum(opening, length, salt) => aligned(records),
        _ => Vec::new(),
    }
}

/// The opening that the first of these frames asks for, if `source` has another one.
pub(super) fn wanting(
    source: &mut impl Source,
    frames: &[FrameEntry],
    salt: u32,
) -> Option<[u8; OPENING_BYTES]> {
    let first = frames.first()?;
    if u64::from(first.offset) != HEADER_BYTES {
        return None;
    }
    let records = source.bytes(RECORDS_AT.into(), first.end())?;
    let wanted = encode(records, salt);
    (source.opening() != wanted).then_some(wanted)
}

fn checksum(opening: &[u8], length: usize, salt: u32) -> u32 {
    let crc = crc32c::crc32c_append(salt, &opening[..4]);
    crc32c::crc32c_append(crc, &opening[HEAD..HEAD + length])
}
