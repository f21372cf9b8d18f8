//! The header `tracestate`: what each tracing system on the way says of the trace. It is passed on.

/// Most members of a list.
const MEMBERS: usize = 32;

/// The list that several headers make together; `None` if it is malformed (section 3.3.1 of the
/// recommendation), empty members left out.
pub(super) fn parse(headers: &[String]) -> Option<String> {
    let mut list = String::new();
    let mut members = 0;
    for member in headers.iter().flat_map(|header| header.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        members += 1;
        let (key, value) = member.split_once('=')?;
        if members > MEMBERS || !is_key(key) || !is_value(value) {
            return None;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(member);
    }
    Some(list)
}

fn is_key(key: &str) -> bool {
    let rest = |text: &str, most: usize| {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        text.len() <= most && text.bytes().all(allowed)
    };
    let letter = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    match key.split_once('@') {
        None => letter(key) && rest(key, 256),
        Some((tenant, system)) => {
            let digit = tenant.as_bytes().first().is_some_and(u8::is_ascii_digit);
            (letter(tenant) || digit) && rest(tenant, 241) && letter(system) && rest(system, 14)
        }
    }
}

/// Printable ASCII without `,` and `=`; blanks at its end were trimmed with the member.
fn is_value(value: &str) -> bool {
    let allowed = |b: u8| matches!(b, b' '..=b'~') && b != b',' && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed)
}
