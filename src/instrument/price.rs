//! What tokens cost.

/// Tokens of one call of a language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All that went in, those from a cache included.
    pub input: u64,
    /// Of these, what the provider had in a cache.
    pub cached_input: u64,
    /// What came out.
    pub output: u64,
}

/// Dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    input: f64,
    output: f64,
    cached: f64,
}

impl Price {
    /// A price of input and output; input from a cache costs the same.
    pub const fn new(input: f64, output: f64) -> Self {
        Self {
            input,
            output,
            cached: input,
        }
    }

    /// Sets the price of input that came from a cache.
    #[must_use]
    pub const fn cached(mut self, cached: f64) -> Self {
        self.cached = cached;
        self
    }

    /// Dollars for these tokens.
    pub fn cost(&self, tokens: Tokens) -> f64 {
        let cached = tokens.cached_input.min(tokens.input);
        let fresh = tokens.input - cached;
        let parts = [
            (fresh, self.input),
            (cached, self.cached),
            (tokens.output, self.output),
        ];
        let millionths = parts.map(|(tokens, price)| tokens as f64 * price);
        millionths.iter().sum::<f64>() / 1e6
    }
}

/// Prices by model. None are built in, since they change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    models: Vec<(String, Price)>,
}

impl Prices {
    /// No prices.
    pub const fn new() -> Self {
        Self { models: Vec::new() }
    }

    /// Sets the price of a model, and of those whose names go on after it with `-`, `:` or `@`:
    /// dated and tagged versions.
    #[must_use]
    pub fn model(mut self, name: &str, price: Price) -> Self {
        self.models.retain(|(known, _)| known != name);
        self.models.push((name.to_owned(), price));
        self
    }

    /// The price of a model: its own, or that of the longest name that it is a version of.
    pub fn of(&self, model: &str) -> Option<Price> {
        let fits = |known: &str| {
            let rest = model.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@']))
        };
        let known = self.models.iter().filter(|(known, _)| fits(known));
        let nearest = known.max_by_key(|(known, _)| known.len());
        nearest.map(|(_, price)| *price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_tells_the_price() {
        let (big, mini) = (Price::new(2.5, 10.0), Price::new(0.15, 0.6));
        let prices = Prices::new().model("m", big).model("m-mini", mini);
        assert_eq!(prices.of("m"), Some(big));
        assert_eq!(prices.of("m-2024-08-06"), Some(big));
        assert_eq!(prices.of("m-mini-2024"), Some(mini));
        assert_eq!(prices.of("m-minimal"), Some(big));
        assert_eq!(prices.of("m4"), None, "another model, no version");
        assert_eq!(prices.model("m", mini).of("m"), Some(mini));
    }

    #[test]
    fn cached_tokens_are_part_of_the_input() {
        let price = Price::new(2.0, 8.0).cached(0.5);
        let tokens = Tokens {
            input: 1_000_000,
            cached_input: 400_000,
            output: 500_000,
        };
        assert_eq!(price.cost(tokens), 1.2 + 0.2 + 4.0);
        let more_cached_than_there_is = Tokens {
            cached_input: 2_000_000,
            ..tokens
        };
        assert_eq!(price.cost(more_cached_than_there_is), 0.5 + 4.0);
    }
}
