//! The part of a URL behind its scheme: what of it may be shown, and what is secret.

use crate::backend::Secrets;

/// Options of a database's URL that say which rows are meant; the others say how to get there.
const TELLING: &[&str] = &["dbname", "host", "port", "schema", "table_prefix", "user"];
/// What names of options have in them whose values are not shown.
const SECRET: &[&str] = &[
    "auth", "cred", "key", "pass", "pwd", "secret", "sig", "token",
];
/// Options that look so and name a file.
const FILES: &[&str] = &["passfile", "sslkey"];

/// Which URL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The user and some options tell databases apart.
    Database,
    /// User and options are the receiver's way to know us: all of it is secret.
    Receiver,
}

/// An address that can be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    /// All that tells targets apart, and no secret.
    pub(super) shown: String,
    /// Host and port.
    pub(super) hosts: String,
    pub(super) secrets: Secrets,
}

impl Address {
    /// Reads what follows `://`.
    ///
    /// # Errors
    /// Where it is not clear what is a password. Nothing of the text is repeated.
    pub(super) fn read(text: &str, form: Form) -> Result<Self, &'static str> {
        let end = text.find(['/', '?', '#']).unwrap_or(text.len());
        let (authority, after) = text.split_at(end);
        // Half of a password could pass for a host.
        if after.contains('@') {
            return Err(
                "'@', '/', '?' and '#' in a name, a password or an option must be \
                        percent-encoded",
            );
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !hosts.split(',').all(has_port_or_none) {
            return Err("what follows the ':' of the host must be a port");
        }
        let mut secrets = Secrets::default();
        let mut hide = |text: &str| {
            secrets.add(text);
            secrets.add(&decoded(text));
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        hide(password);
        if form == Form::Receiver && password.is_empty() {
            hide(user);
        }
        let (path, query) = after.split_once('?').unwrap_or((after, ""));
        let mut telling = Vec::new();
        for option in query.split('&') {
            let (key, value) = option.split_once('=').unwrap_or(("", option));
            let key = decoded(key).to_ascii_lowercase();
            if is_secret(&key) || form == Form::Receiver {
                hide(value);
            } else if TELLING.contains(&key.as_str()) {
                telling.push(option);
            }
        }
        let mut shown = String::new();
        if form == Form::Database && !user.is_empty() {
            shown.extend([user, "@"]);
        }
        shown.push_str(hosts);
        shown.push_str(
            path.split('#')
                .next()
                .unwrap_or_default()
                .trim_end_matches('/'),
        );
        if !telling.is_empty() {
            shown.push('?');
            shown.push_str(&telling.join("&"));
        }
        Ok(Self {
            shown,
            hosts: hosts.to_owned(),
            secrets,
        })
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn has_port_or_none(host: &str) -> bool {
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    let port = behind.split_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|b| b.is_ascii_digit())
}

fn is_secret(key: &str) -> bool {
    // An option without a name may be anything.
    key.is_empty() || !FILES.contains(&key) && SECRET.iter().any(|part| key.contains(part))
}

/// Percent-decoded; what is no code stays.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        match (first, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                out.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_targets_apart_is_shown() {
        let database = |text: &str| Address::read(text, Form::Database).unwrap();
        let receiver = |text: &str| Address::read(text, Form::Receiver).unwrap();
        for (address, shown) in [
            (
                database("me:can%61ry@h:5/db?sslmode=require&schema=s"),
                "me@h:5/db?schema=s",
            ),
            (database("me:a@canary@h/db"), "me@h/db"),
            (database("h/db?p%61ssword=canary&user=me"), "h/db?user=me"),
            (database("h/db?canary"), "h/db"),
            (database("a:1,[::1]:2/db"), "a:1,[::1]:2/db"),
            (receiver("canary@h:4318/base/"), "h:4318/base"),
            (receiver("u:canary@h?x=canary#canary"), "h"),
        ] {
            assert_eq!(address.shown, shown);
            assert!(!format!("{address:?}").contains("canary"));
            let said = address.secrets.hide("said a@canary, canary");
            let expected = match shown {
                // The whole password, not its part.
                "me@h/db" => "said ***, canary",
                // There is none.
                "a:1,[::1]:2/db" => "said a@canary, canary",
                _ => "said a@***, ***",
            };
            assert_eq!(said, expected, "{shown}");
        }
    }

    #[test]
    fn an_address_that_may_hold_half_a_password_is_refused() {
        for text in ["me:ca/nary@h/db", "me:ca?nary@h/db", "me:canary", "::1"] {
            let why = Address::read(text, Form::Database).unwrap_err();
            assert!(!why.contains("nary"), "{why}");
        }
    }
}
