//! One ring per thread, from which a single flusher takes what was recorded.
//!
//! ```text
//!  thread                                     flusher
//!  Producer ── push ──▶ [ .. head ▓▓▓▓ tail .. ] ── readable, release ──▶ Consumers
//!      └ open, close ─▶ [ open-span table ]
//! ```
//!
//! Always true:
//! - one producer and one consumer per ring; each keeps its own index in a plain field
//! - a record is published whole, by one Release store of the tail, or not at all
//! - what cannot be recorded is counted by cause and kind, in memory that survives a kill
//! - a ring changes hands only when it is drained, so that captured records have one lease
//!
//! | field | written by | read by | orderings (site) |
//! |---|---|---|---|
//! | tail | producer | consumer | Release (`Publish`) → Acquire (`Readable`) |
//! | head | consumer | producer | Release (`Release`) → Acquire (`Room`) |
//! | head slots | consumer | recovery, any reader | Relaxed between fence Release (`SlotBegin`) and the head; fence Acquire (`SlotCheck`) |
//! | anchor slots | flusher | recovery, any reader | Relaxed between fence Release (`AnchorBegin`) and the generation, Release (`AnchorCommit`); fence Acquire (`SlotCheck`) |
//! | wrap position | producer | consumer | Relaxed, published by the tail |
//! | lease | producer | next producer | Release (`LeaseOver`) → Acquire (`LeaseTake`) |
//! | lease | producer | consumer | Relaxed, fixed while records wait |
//! | thread id and name | producer | recovery | Relaxed, published by the tail |
//! | lost, by cause and kind | producer | consumer | Relaxed, then the sum: Release (`Lost`) → Acquire (`LostSeen`) |
//! | follows | producer | consumer | Relaxed, published by the tail |
//! | span fields | producer | any reader | Relaxed between fence Release (`SpanFields`) and the state; fence Acquire (`SpanCheck`) |
//! | span state | producer, closers | any reader | Release (`SpanState`) → Acquire (`SpanSeen`) |
//! | asleep | sleeper | ringers | Relaxed, fences SeqCst (`BellSleep`, `BellRing`) |
//! | names committed | definer | any reader | Release (`NamesCommit`) → Acquire (`NamesSeen`) |
//! | registered | whoever leases | flusher | Relaxed, the list is locked |
//! | gate | manager | producers | Relaxed, carries no data |
//!
//! `storage` has the memory and both ends, `producer` and `consumer` what is built on them,
//! `registry` says who has which ring, `doorbell` and `tickets` wake the flusher and those who
//! wait for it, `left` reads what another process left behind. Formats: `docs/format.md`,
//! section 7.

mod consumer;
mod doorbell;
#[cfg(unix)]
mod folder;
mod gate;
mod layout;
mod lease;
#[cfg(not(loom))]
mod left;
mod losses;
mod options;
mod producer;
mod registry;
mod shared;
mod slots;
mod spans;
mod stats;
mod storage;
#[cfg(all(test, not(loom)))]
mod tests;
mod tickets;
mod wiped;

pub use consumer::Consumers;
pub use gate::{Gate, GateWord};
pub use lease::Lease;
#[cfg(not(loom))]
pub use left::{left, LeftInstance, LeftRing};
pub use options::{Options, Overflow};
pub use producer::Producer;
pub use registry::{CreateError, Registry};
pub use spans::OpenSpan;
pub use stats::{RingStats, Stats};
pub use tickets::{Tickets, WaitError};

thread_local! {
    static ENGINE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Marks the calling thread as one of the engine's, or no longer: it must never wait for the
/// flusher.
pub fn engine_thread(is: bool) {
    let _ = ENGINE.try_with(|mark| mark.set(is));
}

/// Whether the calling thread is one of the engine's.
pub fn is_engine_thread() -> bool {
    ENGINE.try_with(std::cell::Cell::get).unwrap_or(false)
}

/// What loom's models drive, see `loom-tests`.
#[cfg(loom)]
pub mod loom_api {
    pub use super::{
        consumer::*,
        doorbell::*,
        gate::*,
        layout::{at, Shape},
        lease::*,
        losses::lost,
        options::*,
        producer::*,
        registry::*,
        shared::{set_anchor, Shared},
        slots::settled,
        spans::{close_elsewhere, read as read_span, OpenSpan, SpanTable},
        storage::*,
        tickets::*,
    };
}
