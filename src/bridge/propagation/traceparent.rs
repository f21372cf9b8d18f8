//! The header `traceparent`: which trace, which span of the caller, sampled or not.

use crate::record::id::{SpanId, TraceId};

/// Bytes of version 00, and the least of any later one.
const LEN: usize = 55;
/// Bit of the flags: the caller may have recorded.
pub(super) const SAMPLED: u8 = 1;
/// Bit of the flags: the right half of the trace id is random (Trace Context Level 2).
pub(super) const RANDOM: u8 = 2;

/// Reads a header; `None` where the recommendation says to ignore it (section 3.2).
pub(super) fn parse(header: &str) -> Option<(TraceId, SpanId, u8)> {
    let text = header.trim_matches([' ', '\t']);
    let head = text.get(..LEN)?;
    let rest = &text[LEN..];
    let mut fields = head.split('-');
    let mut field = |digits: usize| {
        let field = fields.next()?;
        // Upper case is malformed; the standard library would read it.
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (field.len() == digits && field.bytes().all(hex)).then_some(field)
    };
    let version = u8::from_str_radix(field(2)?, 16).ok()?;
    let trace = u128::from_str_radix(field(32)?, 16).ok()?;
    let span = u64::from_str_radix(field(16)?, 16).ok()?;
    let flags = u8::from_str_radix(field(2)?, 16).ok()?;
    // A later version may say more behind another dash, which is not looked at.
    let whole = match version {
        0xff => false,
        0 => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    if !whole || trace == 0 {
        return None;
    }
    Some((
        TraceId::from_u128(trace),
        SpanId::new(span)?,
        flags & (SAMPLED | RANDOM),
    ))
}

/// Writes a header of version 00.
pub(super) fn format(trace: TraceId, span: SpanId, flags: u8) -> String {
    format!("00-{trace}-{span}-{flags:02x}")
}
