//! Header values and addresses: what may hold a key is shown by name only.

use std::fmt;

/// Stands for a value that is not shown.
const HIDDEN: &str = "***";

/// Headers of every request. Values are never shown: not in `Debug`, not in errors.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    list: Vec<(String, String)>,
    /// Secrets of the address.
    hidden: Vec<String>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a header; names compare without case.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self
            .list
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(&name))
        {
            Some((_, old)) => *old = value,
            None => self.list.push((name, value)),
        }
    }

    /// Takes a header out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self
            .list
            .iter()
            .position(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(self.list.remove(at).1)
    }

    /// Hides another text too.
    pub(super) fn also_hide(&mut self, secret: impl Into<String>) {
        self.hidden.push(secret.into());
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What must not be shown: values, also without the word before them (`Bearer`), and what the
    /// address hides.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self.list.iter().flat_map(|(_, value)| {
            let bare = value
                .split_once(' ')
                .map_or(value.as_str(), |(_, bare)| bare);
            [value.as_str(), bare]
        });
        values.chain(self.hidden.iter().map(String::as_str))
    }

    /// Hides the values, should a server or a library repeat them.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Shorter values are no secrets, and words of their own.
        for secret in self.secrets().filter(|secret| secret.len() >= 4) {
            text = text.replace(secret, HIDDEN);
        }
        text
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.list.iter().map(|(name, _)| (name, HIDDEN)))
            .finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in items {
            headers.set(name, value);
        }
        headers
    }
}

/// An address as it may be shown: without user, password and query.
pub(super) fn bare_url(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match scheme {
        "" => format!("{host}{path}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown() {
        let headers: Headers = [("authorization", "Bearer canary-1"), ("k", "canary-2")]
            .into_iter()
            .collect();
        let shown = format!("{headers:?} {headers:#?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("authorization"), "{shown}");
        let text = headers.hide_in("no key canary-1 or canary-2 here");
        assert_eq!(text, "no key *** or *** here");
    }

    #[test]
    fn addresses_are_shown_without_user_and_query() {
        let cases = [
            ("http://u:p@h:1/a/b?key=x#y", "http://h:1/a/b"),
            ("https://h", "https://h"),
            ("u:p@h:4317", "h:4317"),
            ("http://h/?a@b", "http://h/"),
        ];
        for (url, bare) in cases {
            assert_eq!(bare_url(url), bare);
        }
    }
}
