//! Texts as numbers while the analysis runs.

use std::sync::Arc;

use ahash::AHashMap;

/// Stands for no text.
pub(super) const NONE: u32 = u32::MAX;

/// Each text once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    ids: AHashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Texts {
    /// The number of a text.
    #[inline]
    pub(super) fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let text: Arc<str> = text.into();
        let id = self.texts.len() as u32;
        self.texts.push(text.clone());
        self.ids.insert(text, id);
        id
    }

    /// The text of a number; empty for [`NONE`].
    pub(super) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", |text| text)
    }
}
