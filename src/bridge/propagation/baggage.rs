//! The header `baggage`: names and values of the application that travel with a request.

/// Most members, as many as the grammar has.
const MEMBERS: usize = 180;
/// Most bytes of the header; the least that everybody on the way must pass on.
const BYTES: usize = 8192;

/// Names and values of the application that travel with a request, in their order.
///
/// What would exceed 180 members or 8,192 bytes is left out of the header that is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<BaggageMember>,
}

/// One entry of [`Baggage`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaggageMember {
    /// The name: a token as in RFC 7230.
    pub key: String,
    /// The value, decoded.
    pub value: String,
    /// What follows behind `;`, as it came; empty if nothing does.
    pub properties: String,
}

impl Baggage {
    /// The value of a name.
    pub fn get(&self, key: &str) -> Option<&str> {
        let member = self.members.iter().find(|member| member.key == key)?;
        Some(&member.value)
    }

    /// Sets a value; any text will do. A name that is no token (letters, digits and
    /// `` !#$%&'*+-.^_`|~ ``) is ignored.
    pub fn set(&mut self, key: &str, value: &str) {
        if !is_token(key) {
            return;
        }
        self.remove(key);
        self.members.push(BaggageMember {
            key: key.to_owned(),
            value: value.to_owned(),
            properties: String::new(),
        });
    }

    /// Takes a name out.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|member| member.key != key);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All members.
    pub fn iter(&self) -> std::slice::Iter<'_, BaggageMember> {
        self.members.iter()
    }

    pub(super) fn parse(headers: &[String]) -> Self {
        let mut members: Vec<BaggageMember> = Vec::new();
        for text in headers.iter().flat_map(|header| header.split(',')) {
            if members.len() == MEMBERS {
                break;
            }
            let Some(member) = parse_member(text) else {
                continue;
            };
            // Of a name that comes twice the last one counts.
            members.retain(|known| known.key != member.key);
            members.push(member);
        }
        Self { members }
    }

    pub(super) fn format(&self) -> String {
        let mut header = String::new();
        for member in self.members.iter().take(MEMBERS) {
            let before = header.len();
            if before > 0 {
                header.push(',');
            }
            header.push_str(&member.key);
            header.push('=');
            encode(&mut header, &member.value);
            if !member.properties.is_empty() {
                header.push(';');
                header.push_str(&member.properties);
            }
            if header.len() > BYTES {
                header.truncate(before);
            }
        }
        header
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn parse_member(text: &str) -> Option<BaggageMember> {
    let (pair, properties) = text.split_once(';').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=')?;
    let (key, properties) = (trim(key), trim(properties));
    let printable = properties.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    (is_token(key) && printable).then_some(())?;
    Some(BaggageMember {
        key: key.to_owned(),
        value: decode(trim(value))?,
        properties: properties.to_owned(),
    })
}

fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// `baggage-octet` of the grammar.
fn is_octet(b: u8) -> bool {
    matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

fn encode(out: &mut String, value: &str) {
    for &b in value.as_bytes() {
        if is_octet(b) && b != b'%' {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

fn decode(value: &str) -> Option<String> {
    value.bytes().all(is_octet).then(|| percent_decoded(value))
}

/// Bytes that are no UTF-8 become replacement characters, as the recommendation has it.
pub(in crate::bridge) fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(b) = rest.next() {
        // A percent sign that begins no code stands for itself.
        let code = (b == b'%').then(|| {
            let mut ahead = rest.clone();
            let high = char::from(ahead.next()?).to_digit(16)?;
            let low = char::from(ahead.next()?).to_digit(16)?;
            rest = ahead;
            Some((high * 16 + low) as u8)
        });
        bytes.push(code.flatten().unwrap_or(b));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
