//! Headers that carry a context.

use http::{header::HeaderName, HeaderMap, HeaderValue};

use crate::bridge::propagation::{Extract, Inject};

impl Extract for HeaderMap {
    fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
        for value in self.get_all(name) {
            // What is no text is no header of ours, and must still count as a second one.
            found(value.to_str().unwrap_or_default());
        }
    }
}

impl Inject for HeaderMap {
    fn inject(&mut self, name: &str, value: String) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            self.insert(name, value);
        }
    }
}
