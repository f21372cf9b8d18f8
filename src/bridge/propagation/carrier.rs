//! What carries a context: anything that has values under names.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
};

/// Something that a context can be read from.
///
/// For a carrier that finds its values in its own way,
/// [`TraceContext::extract_with`](super::TraceContext::extract_with) takes a closure.
pub trait Extract {
    /// Hands every value under `name` (in lower case) to `found`, in their order. Names are
    /// compared without regard to case.
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str));
}

/// Something that a context can be written to.
pub trait Inject {
    /// Sets the value under `name` (in lower case), in place of what is there.
    fn inject(&mut self, name: &str, value: String);
}

fn scan<'c, K: AsRef<str> + 'c, V: AsRef<str> + 'c>(
    pairs: impl IntoIterator<Item = (&'c K, &'c V)>,
    name: &str,
    found: &mut dyn FnMut(&str),
) {
    for (key, value) in pairs {
        if key.as_ref().eq_ignore_ascii_case(name) {
            found(value.as_ref());
        }
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for [(K, V)] {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        scan(self.iter().map(|(key, value)| (key, value)), name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for Vec<(K, V)> {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        self.as_slice().extract(name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<str>, S> Extract for HashMap<K, V, S> {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        scan(self, name, found);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for BTreeMap<K, V> {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        scan(self, name, found);
    }
}

impl Inject for Vec<(String, String)> {
    fn inject(&mut self, name: &str, value: String) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value));
    }
}

impl<S: std::hash::BuildHasher> Inject for HashMap<String, String, S> {
    fn inject(&mut self, name: &str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl Inject for BTreeMap<String, String> {
    fn inject(&mut self, name: &str, value: String) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

/// The environment of a child process: `TRACEPARENT`, `TRACESTATE`, `BAGGAGE`.
impl Inject for Command {
    fn inject(&mut self, name: &str, value: String) {
        self.env(name.to_ascii_uppercase(), value);
    }
}

/// The environment of this process: `TRACEPARENT`, `TRACESTATE`, `BAGGAGE`, as a parent process
/// may have set them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment;

impl Extract for Environment {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        if let Ok(value) = std::env::var(name.to_ascii_uppercase()) {
            found(&value);
        }
    }
}
