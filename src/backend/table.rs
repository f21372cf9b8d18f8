//! The tables of databases, by the names that all of them have.

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Starts and ends of traces.
    Traces,
    /// Spans.
    Spans,
    /// Events that were recorded.
    Events,
    /// Measurements that were recorded.
    Metrics,
    /// Links.
    Links,
}

impl Table {
    /// All of them; a trace comes before what belongs to it.
    pub const ALL: [Self; 5] = [
        Self::Traces,
        Self::Spans,
        Self::Events,
        Self::Metrics,
        Self::Links,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Spans => "spans",
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Links => "links",
        }
    }
}
