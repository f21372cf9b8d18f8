//! What receivers answer: statuses, times to wait, partial success.

use std::time::{Duration, SystemTime};

use crate::{backend::exact, record::value::Value};

use super::{Taken, Untaken};

/// Longest text of a receiver that is kept.
const TEXT: usize = 300;
/// Longest wait that a receiver can ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            // A date that has passed asks for nothing.
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST))
}

/// What an HTTP status means that is no success. `wait` is what `Retry-After` says.
pub(super) fn of_status(status: u16, text: String, wait: Option<Duration>) -> Untaken {
    match status {
        429 | 502 | 503 | 504 => Untaken::Retry(text, wait),
        413 => Untaken::TooLarge(text),
        // It blames what it was given.
        400 | 406 | 409 | 411 | 412 | 414 | 416 | 422 | 431 => Untaken::Content(text),
        // Everything else is not about these items: moved, no such address, not allowed, broken.
        _ => Untaken::Refused(text),
    }
}

/// A body as part of an error: one line, cut, without control characters.
pub(super) fn shown(body: &[u8]) -> String {
    let cut = &body[..body.len().min(TEXT * 4)];
    let text = String::from_utf8_lossy(cut);
    let mut words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut line = String::new();
    for word in words.by_ref().filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(TEXT) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// `partial_success` of a response in protobuf; `None` if the bytes are none.
pub(super) fn partial_proto(body: &[u8]) -> Option<Taken> {
    let mut taken = Taken::default();
    for field in fields(body) {
        if let (1, Wire::Bytes(partial)) = field? {
            for field in fields(partial) {
                match field? {
                    (1, Wire::Number(rejected)) => taken.rejected = rejected,
                    (2, Wire::Bytes(text)) => taken.message = shown(text),
                    _ => {}
                }
            }
        }
    }
    // The count is signed.
    taken.rejected = i64::try_from(taken.rejected).map_or(0, |count| count as u64);
    Some(taken)
}

/// The same in JSON.
pub(super) fn partial_json(body: &[u8]) -> Option<Taken> {
    let answer = exact::read(std::str::from_utf8(body).ok()?, "")?;
    let Some(Value::Map(partial)) = answer.first_of(&["partialSuccess", "partial_success"]) else {
        return Some(Taken::default());
    };
    let mut taken = Taken::default();
    for (key, value) in partial {
        match (key.as_str(), value) {
            ("errorMessage" | "error_message", Value::Str(text)) => {
                taken.message = shown(text.as_bytes());
            }
            (key, value) if key.starts_with("rejected") => {
                let text = value.as_str().and_then(|text| text.parse().ok());
                let number = value.as_i64().and_then(|number| u64::try_from(number).ok());
                taken.rejected = text.or(number).unwrap_or(0);
            }
            _ => {}
        }
    }
    Some(taken)
}

/// The message of a `google.rpc.Status`; `None` if the bytes are none.
pub(super) fn status_message(body: &[u8]) -> Option<String> {
    let mut message = None;
    for field in fields(body) {
        if let (2, Wire::Bytes(text)) = field? {
            message = Some(shown(std::str::from_utf8(text).ok()?.as_bytes()));
        }
    }
    message
}

/// The wait in the `google.rpc.RetryInfo` of a `google.rpc.Status`.
#[cfg_attr(not(feature = "otlp-grpc"), allow(dead_code))] // gRPC alone has it
pub(super) fn retry_info(status: &[u8]) -> Option<Duration> {
    let bytes = |bytes, number| {
        fields(bytes)
            .map_while(|field| field)
            .find_map(move |field| match field {
                (n, Wire::Bytes(inner)) if n == number => Some(inner),
                _ => None,
            })
    };
    let details = fields(status).map_while(|field| field);
    let details = details.filter_map(|field| match field {
        (3, Wire::Bytes(any)) => Some(any),
        _ => None,
    });
    for any in details {
        if bytes(any, 1)?.ends_with(b"/google.rpc.RetryInfo") {
            let delay = bytes(any, 2)
                .and_then(|info| bytes(info, 1))
                .unwrap_or_default();
            let mut wait = Duration::ZERO;
            for field in fields(delay).map_while(|field| field) {
                match field {
                    (1, Wire::Number(s)) => wait += Duration::from_secs(s.min(LONGEST.as_secs())),
                    (2, Wire::Number(ns)) => wait += Duration::from_nanos(ns.min(999_999_999)),
                    _ => {}
                }
            }
            return Some(wait.min(LONGEST));
        }
    }
    None
}

/// The value of a field, as far as its wire type tells.
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    Fixed,
}

/// The fields of a message; ends with `None` where the bytes are no message.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Option<(u64, Wire<'_>)>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let read = field(bytes);
        rest = read.as_ref().map(|(_, rest)| *rest);
        Some(read.map(|(field, _)| field))
    })
}

fn field(bytes: &[u8]) -> Option<((u64, Wire<'_>), &[u8])> {
    let (key, bytes) = number(bytes)?;
    let (wire, rest) = match key & 7 {
        0 => number(bytes).map(|(value, rest)| (Wire::Number(value), rest))?,
        1 => (Wire::Fixed, bytes.get(8..)?),
        2 => {
            let (len, bytes) = number(bytes)?;
            let len = usize::try_from(len).ok()?;
            (Wire::Bytes(bytes.get(..len)?), &bytes[len..])
        }
        5 => (Wire::Fixed, bytes.get(4..)?),
        _ => return None,
    };
    (key >> 3 > 0).then_some(((key >> 3, wire), rest))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let cases = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:59 GMT", Some(22)),
            ("Sunday, 06-Nov-94 08:49:59 GMT", Some(22)),
            ("Sun Nov  6 08:49:59 1994", Some(22)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            let wait = retry_after(text, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn statuses_are_worth_another_try_only_where_the_specification_says_so() {
        for status in 300..600 {
            let retries = matches!(of_status(status, String::new(), None), Untaken::Retry(..));
            assert_eq!(retries, [429, 502, 503, 504].contains(&status), "{status}");
        }
        for status in [301, 401, 403, 404, 405, 415, 500, 501, 505] {
            let answer = of_status(status, String::new(), None);
            assert!(matches!(answer, Untaken::Refused(_)), "{status}");
        }
        for status in [400, 422] {
            let answer = of_status(status, String::new(), None);
            assert!(matches!(answer, Untaken::Content(_)), "{status}");
        }
    }

    #[test]
    fn partial_success_is_read_in_both_forms_and_garbage_is_none() {
        let taken = Taken {
            rejected: 5,
            message: "too old".to_owned(),
        };
        let proto = b"\x0a\x0b\x08\x05\x12\x07too old";
        assert_eq!(partial_proto(proto), Some(taken.clone()));
        assert_eq!(partial_proto(b""), Some(Taken::default()));
        for garbage in [&b"<html>"[..], b"\xff\xff", b"\x0a\x7f1", b"\x00"] {
            assert_eq!(partial_proto(garbage), None, "{garbage:?}");
        }
        let json = br#"{"partialSuccess":{"rejectedSpans":"5","errorMessage":"too old"}}"#;
        assert_eq!(partial_json(json), Some(taken.clone()));
        let json = br#"{"partialSuccess":{"rejectedLogRecords":5,"errorMessage":"too\nold"}}"#;
        assert_eq!(partial_json(json), Some(taken));
        assert_eq!(partial_json(b"{}"), Some(Taken::default()));
        assert_eq!(partial_json(b"<html>"), None);
    }

    #[test]
    fn the_wait_of_retry_info_is_found() {
        let info = b"\x0a\x07\x08\x02\x10\x80\xca\xb5\xee\x01";
        let mut any = b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12".to_vec();
        any.push(info.len() as u8 - 1);
        // The delay: 2 s and 500,000,000 ns.
        any.extend_from_slice(b"\x0a\x07\x08\x02\x10\x80\xca\xb5\xee");
        any[42 + 1] = 10;
        any.push(1);
        let mut status = b"\x08\x08\x12\x04busy\x1a".to_vec();
        status.push(any.len() as u8);
        status.extend_from_slice(&any);
        assert_eq!(status_message(&status).as_deref(), Some("busy"));
        let wait = retry_info(&status);
        assert!(
            wait.is_some_and(|wait| wait >= Duration::from_secs(2)),
            "{wait:?} {any:?}"
        );
        assert_eq!(retry_info(b"\x08\x08\x12\x04busy"), None);
    }
}
