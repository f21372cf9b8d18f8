//! Rates of single graphs.

/// Rates of graphs: patterns of graph ids, where `*` stands for any number of characters, and the
/// part of their traces that is kept.
///
/// Where several patterns fit, a name without `*` counts before one with it, and a longer pattern
/// before a shorter one; the order in which they stand does not matter.
///
/// ```
/// use emberlog::sampling::GraphRates;
/// let rates: GraphRates = [("billing*", 1.0), ("*", 0.01), ("billing-test", 0.0)].into_iter().collect();
/// assert_eq!(rates.rate_of("billing-eu"), Some(1.0));
/// assert_eq!(rates.rate_of("billing-test"), Some(0.0));
/// assert_eq!(rates.rate_of("crawler"), Some(0.01));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphRates {
    /// What counts first stands first.
    entries: Vec<(String, f64)>,
}

impl GraphRates {
    /// Adds a pattern, or gives one another rate.
    pub fn set(&mut self, pattern: impl Into<String>, rate: f64) {
        let pattern = pattern.into();
        self.entries.retain(|(other, _)| *other != pattern);
        self.entries.push((pattern, rate));
        self.entries.sort_by(|(a, _), (b, _)| {
            let rank = |text: &str| (text.contains('*'), std::cmp::Reverse(text.len()));
            rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
        });
    }

    /// The rate of a graph; `None` if no pattern fits.
    pub fn rate_of(&self, graph: &str) -> Option<f64> {
        let mut entries = self.entries.iter();
        let found = entries.find(|(pattern, _)| fits(pattern, graph));
        found.map(|(_, rate)| *rate)
    }

    /// Patterns and rates; what counts first comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        let entries = self.entries.iter();
        entries.map(|(pattern, rate)| (pattern.as_str(), *rate))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<P: Into<String>> FromIterator<(P, f64)> for GraphRates {
    fn from_iter<I: IntoIterator<Item = (P, f64)>>(entries: I) -> Self {
        let mut rates = Self::default();
        for (pattern, rate) in entries {
            rates.set(pattern, rate);
        }
        rates
    }
}

/// Whether `text` is what the pattern describes.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    // Each part as early as possible leaves most to those behind it.
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_number_of_characters() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "cab", false),
            ("a*c", "ac", true),
            ("a*c", "a", false),
            ("aa*a", "aa", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "x", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_order_in_which_they_stand_does_not_matter() {
        let entries = [("*", 0.1), ("a*", 0.2), ("a-b*", 0.3), ("a-b", 0.4)];
        let there: GraphRates = entries.into_iter().collect();
        let back: GraphRates = entries.into_iter().rev().collect();
        assert_eq!(there, back);
        for (graph, rate) in [("a-b", 0.4), ("a-bc", 0.3), ("a", 0.2), ("b", 0.1)] {
            assert_eq!(there.rate_of(graph), Some(rate), "{graph}");
        }
        let mut changed = there;
        changed.set("a-b", 0.9);
        assert_eq!(changed.rate_of("a-b"), Some(0.9));
        assert_eq!(changed.iter().count(), 4);
        assert_eq!(GraphRates::default().rate_of("a"), None);
    }
}
