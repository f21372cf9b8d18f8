//! How models are run: each is explored in full and counted, and each has twins with one ordering
//! weakened, which must fail.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p emberlog-loom-tests`, or `scripts/test loom`,
//! which also counts models and twins.
//!
//! Each explores at least 100 executions (asserted); the numbers are what it explored when this was
//! written. A bound is the most preemptions of one execution; without one all are explored.
//!
//! | model | protocol | twins: what is weakened | bound | executions |
//! |---|---|---|---|---|
//! | ring, mirrored | push and pop: full, empty, over old bytes | `Publish`, `Readable`, `Release`, `Room` | | 163,597 |
//! | ring, wrapping | the same around the end of the area | `Publish`, `Readable`, `Release`, `Room` | | 95,290 |
//! | two leases | a ring from one thread to the next | `LeaseOver`, `LeaseTake` | | 606,755 |
//! | losses | counters and their sum | `Lost`, `LostSeen` | | 2,864 |
//! | registration | threads come and go while the flusher looks for rings | `Publish` | 2 | 279,060 |
//! | pool | a free ring is reused while the flusher drains it | `Publish`, `Readable` | 2 | 5,941 |
//! | spill | a full thread goes on in a further ring, in order | `Publish`, `Readable` | 2 | 93,574 |
//! | doorbell | sleep and wake-up | `BellSleep`, `BellRing` | | 138,577 |
//! | half full | a producer wakes the flusher | `BellSleep`, `BellRing` | 3 | 1,327 |
//! | blocked | the flusher wakes a producer that waits for room | `BellSleep`, `BellRing` | 3 | 44,383 |
//! | stopped | producers that wait give up at the end | `BellSleep`, `BellRing` | 3 | 1,873 |
//! | late | shutdown while a thread takes a ring | `BellSleep`, `BellRing` | 3 | 2,139 |
//! | flush | tickets and rounds | `BellSleep`, `BellRing`, tails captured too early | 3 | 2,465 |
//! | shutdown | whoever waits for a flush is answered | nobody closes | | 494,706 |
//! | open spans | the table of open spans and its readers | `SpanFields`, `SpanState`, `SpanSeen`, `SpanCheck` | 3 | 5,996 |
//! | committed names | names and their readers | `NamesCommit`, `NamesSeen` | | 57,883 |
//! | heads | head slots and a reader of a live ring | `SlotBegin`, `SlotCheck`, `Release` | 2 | 20,138 |
//! | anchors | anchor slots and a reader of a live ring | `AnchorBegin`, `SlotCheck`, `AnchorCommit` | 2 | 158,071 |
//! | commit mark | the log's end and its readers | `Committed`, `CommittedSeen` | | 55,345 |
//! | sync | commits and the syncs that cover them | `SyncSchedule`, `SyncBegin` | | 13,370 |
//! | held, mirrored | a ring that is read and kept, and let go of from its front | `Publish`, `Readable`, `Release`, `Room` | 3 | 2,148 |
//! | held, wrapping | the same around the end of the area | `Publish`, `Readable`, `Release`, `Room` | 3 | 1,850 |
//! | open spans, replaced | a slot that goes to the next span at once | `SpanFields`, `SpanState`, `SpanSeen`, `SpanCheck` | 2 | 1,929 |
//! | open spans, ended elsewhere | a span that another thread ends, twice | the slot is cleared whoever has it | 3 | 406 |
//! | durable | what is durable can be read | `Durable`, `DurableSeen` | 2 | 1,917 |
//! | durable and logged | nothing is durable that is not logged | `Durable`, `DurableSeen` | 2 | 2,851 |
//! | two flushes | rounds that answer several at once | `BellSleep`, `BellRing` | 1 | 1,014 |
//! | flush, for another | a thread flushes what another one recorded | `BellSleep`, `BellRing`, the other did not tell | 2 | 2,708 |
//! | flush, polled | a flush that is awaited, while rounds end for good | `BellSleep`, `BellRing`, the waker is forgotten | 3 | 2,204 |
//! | doorbell, two ringers | sleep, and wake-up from two sides | `BellSleep`, `BellRing` | 3 | 21,076 |
//! | blocked, two | the flusher wakes two producers | `BellSleep`, `BellRing` | 1 | 4,880 |
//! | spill, home again | a thread comes home from a further ring | `Publish`, `Readable`, `Release`, `Room` | 1 | 16,841 |
//! | too late | what is recorded when the log is closed for good | nobody asks | | 3,430 |
//! | losses, next owner | counters of a ring that changes hands | `LeaseOver`, `LeaseTake` | | 251 |
//! | losses, told | rounds tell what was lost | `Lost`, `LostSeen` | 2 | 2,758 |
//! | held, next owner | a ring that keeps records changes hands | `Publish`, `Readable` | 2 | 747 |
//! | held, flushed | a flush of what stays in its ring | `BellSleep`, `BellRing`, nobody looks | 3 | 10,861 |
//! | open spans, next owner | a table whose last owner left a span open | `SpanFields`, `SpanState`, `SpanSeen`, `SpanCheck` | 2 | 495 |
//! | committed names, two definers | two threads define names | `NamesCommit`, `NamesSeen` | 3 | 2,698 |
//! | durable, waited for | a sync that somebody waits for | told without the lock | 3 | 383 |
//! | durable, closed | syncs that will not come any more | closed silently | | 2,439 |
//! | sealed mark | a segment's last mark and its readers | `CommitMark`, `SegmentState`, `CommitMarkSeen`, sealed too early | | 238 |

#[cfg(loom)]
mod harness {
    use std::{
        process::{Command, Stdio},
        sync::{
            atomic::{AtomicUsize, Ordering},
            Arc,
        },
    };

    use emberlog::loom_api::mutant;

    /// Says which twin a process is to run: "model/site".
    const TWIN: &str = "EMBERLOG_LOOM_TWIN";

    fn check(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) -> usize {
        let explored = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&explored);
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 20_000;
        builder.preemption_bound = bound;
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            model();
        });
        explored.load(Ordering::Relaxed)
    }

    /// Whether the twin fails, in a process of its own: loom aborts where threads deadlock.
    fn dies(twin: &str) -> bool {
        let run = std::env::current_exe().and_then(|this| {
            Command::new(this)
                .arg("--test-threads=1")
                .env(TWIN, twin)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        });
        !run.expect("the test can be started again").success()
    }

    /// Explores a model with at most `bound` preemptions (all of them if `None`), then its twins:
    /// one for each of `sites`, weakened, which must fail.
    ///
    /// loom passes some models without exploring them, so fewer than 100 executions fail too.
    pub fn explore(
        name: &str,
        bound: Option<usize>,
        sites: &[&'static str],
        model: impl Fn() + Send + Sync + 'static,
    ) {
        if let Ok(twin) = std::env::var(TWIN) {
            let ours = twin.split_once('/').filter(|(ours, _)| *ours == name);
            let site = ours.and_then(|(_, site)| sites.iter().find(|s| **s == site));
            if let Some(site) = site {
                mutant::plant(site, || check(bound, model));
            }
            return;
        }
        let explored = check(bound, model);
        println!("{name}: {explored} executions");
        assert!(explored >= 100, "{name}: only {explored} executions");
        for site in sites {
            assert!(
                dies(&format!("{name}/{site}")),
                "{name}: survives without {site}"
            );
            println!("{name}: fails without {site}");
        }
    }

    /// Runs a model that is wrong, which must fail.
    pub fn must_fail(name: &str, bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
        match std::env::var(TWIN) {
            Ok(twin) if twin == name => drop(check(bound, model)),
            Ok(_) => {}
            Err(_) => {
                assert!(dies(name), "{name}: survives");
                println!("{name}: fails");
            }
        }
    }
}

#[cfg(loom)]
pub mod parts;

#[cfg(loom)]
pub use harness::{explore, must_fail};
