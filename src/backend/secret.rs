//! Texts that must not be seen, and how they are taken out of others.

use std::fmt;

use ahash::AHashSet;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// A shorter text would be found everywhere.
const SHORTEST: usize = 4;

/// Secrets of a backend. Its errors, panics and notes are looked through for them before anybody
/// sees them, in case a library says more than it should.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(AHashSet<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({HIDDEN})")
    }
}

impl Secrets {
    /// Adds one, also as it looks percent-encoded in a URL. One of less than four characters is
    /// only found where a URL has its password.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.0.insert(percent_encoded(secret));
            self.0.insert(secret.to_owned());
        }
    }

    /// The text without secrets: those that are known, and what stands where a URL has a password.
    pub fn hide(&self, text: &str) -> String {
        let mut out = without_passwords(text);
        // The longest first, so that none is left because a part of it was taken out.
        let mut secrets: Vec<&String> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if out.contains(secret.as_str()) {
                out = out.replace(secret.as_str(), HIDDEN);
            }
        }
        out
    }
}

/// `scheme://user:password@host` with the password hidden.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        out.push_str(before);
        let end =
            authority.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?'));
        let (authority, after) = authority.split_at(end.unwrap_or(authority.len()));
        match authority
            .rsplit_once('@')
            .map(|(user, host)| (user.split_once(':'), host))
        {
            Some((Some((user, _)), host)) => {
                out.extend([user, ":", HIDDEN, "@", host]);
            }
            _ => out.push_str(authority),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_passwords_of_urls_are_hidden() {
        let mut secrets = Secrets::default();
        secrets.add("p@ss/word");
        secrets.add("p@ss/word-and-more");
        secrets.add("ab");
        for (text, wanted) in [
            ("no secret, at 10:30", "no secret, at 10:30"),
            ("said p@ss/word twice: p@ss/word", "said *** twice: ***"),
            ("p@ss/word-and-more", "***"),
            ("?password=p%40ss%2Fword&x", "?password=***&x"),
            ("cab", "cab"),
            (
                "postgresql://me:hunter2@db:5432/x failed",
                "postgresql://me:***@db:5432/x failed",
            ),
            ("a://u:p:w@h b://u@h c://h", "a://u:***@h b://u@h c://h"),
            ("\"http://u:1@h\" éé", "\"http://u:***@h\" éé"),
            ("://", "://"),
        ] {
            assert_eq!(secrets.hide(text), wanted);
        }
        assert_eq!(format!("{secrets:?}"), "Secrets(***)");
    }
}
