//! What rings tell about themselves.

/// The rings of one open log at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that the rings and the name table take, all but the next field.
    pub bytes: usize,
    /// Bytes that further rings of threads whose ring was full take.
    pub spill_bytes: usize,
    /// Why some or all rings lie in memory that dies with the process; the first reason.
    pub not_crash_safe: Option<String>,
    /// Each ring.
    pub rings: Vec<RingStats>,
}

/// One ring at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RingStats {
    /// Its number.
    pub ring: u32,
    /// Bytes that it holds when full.
    pub capacity_bytes: usize,
    /// Bytes that wait in it.
    pub used_bytes: usize,
    /// Bytes that were ever written to it.
    pub written_bytes: u64,
    /// Records that it lost, for any cause.
    pub lost_records: u64,
    /// Name of the thread that has it; `None` while it is free.
    pub thread: Option<String>,
    /// Whether it survives the death of the process.
    pub crash_safe: bool,
}
