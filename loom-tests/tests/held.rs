//! Rings that are read and kept (of traces that may yet be kept), spans that end elsewhere, what is
//! durable, and several that wait or count at once.
#![cfg(loom)]

use std::{
    task::{Poll, Wake, Waker},
    time::Instant,
};

use emberlog::loom_api::{
    close_elsewhere, read_span, Desk, Doorbell, Memory, Progress, Reader, SpanTable, Tickets,
    WaitError, Writer,
};
use emberlog::mark;
use emberlog_loom_tests::{
    explore, must_fail,
    parts::{frames, memory, read_below, slots, span, CORE, LONG},
};
use loom::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
};

/// The consumer looks at everything that is there, again and again, and lets go of the oldest record
/// only when there is another one; the producer goes on over what was let go of.
fn looked_at(mirrored: bool, sizes: [usize; 4]) {
    let (memory, mut reader) = Reader::of(memory(4, mirrored));
    let producer = thread::spawn(move || {
        let mut writer = Writer::take(&memory).expect("free");
        for (size, number) in sizes.into_iter().zip(1..) {
            while !writer.fits(size) {
                writer.reload();
                writer.wrap(size);
                if writer.fits(size) {
                    break;
                }
                thread::yield_now();
            }
            writer.write(size, |out| {
                out.fill(number);
                out[0] = size as u64;
            });
        }
    });
    loop {
        reader.capture();
        let captured = reader.captured();
        let first = captured.first_sequence as usize;
        let mut words = captured.first.to_vec();
        words.extend_from_slice(&captured.second);
        let (mut count, mut at, mut oldest) = (0, 0, 0);
        while at < words.len() {
            let size = sizes[first + count];
            assert_eq!(words[at], size as u64, "torn, or out of order");
            let number = (first + count + 1) as u64;
            assert!(words[at + 1..at + size].iter().all(|w| *w == number));
            if count == 0 {
                oldest = size;
            }
            count += 1;
            at += size;
        }
        if first + count == sizes.len() {
            break;
        }
        if count > 1 {
            reader.release(oldest as u64 * 8, 1);
        } else {
            thread::yield_now();
        }
    }
    producer.join().expect("no panic");
}

#[test]
fn looked_at_mirrored() {
    explore("held, mirrored", Some(3), CORE, || {
        looked_at(true, [2, 1, 2, 1])
    });
}

#[test]
fn looked_at_wrapping() {
    explore("held, wrapping", Some(3), CORE, || {
        looked_at(false, [2, 1, 2, 1])
    });
}

/// The slot of a span that is over goes to the next one at once.
#[test]
fn replaced_spans() {
    let sites = &["SpanFields", "SpanState", "SpanSeen", "SpanCheck"];
    explore("open spans, replaced", Some(2), sites, || {
        let memory = slots(1);
        let shown = Arc::clone(&memory);
        let owner = thread::spawn(move || {
            let mut table = SpanTable::take(&shown);
            let slot = table.open(span(1)).expect("free");
            table.replace(slot, span(2));
        });
        loop {
            if let Some(seen) = read_span(&memory, 0) {
                assert_eq!(seen, span(seen.start), "mixed");
                if seen.start == 2 {
                    break;
                }
            }
            thread::yield_now();
        }
        owner.join().expect("no panic");
    });
}

/// A span that began on one thread ends on another, twice even; the slot's next span stays.
fn ends_elsewhere(close: fn(&Memory, u64)) {
    let memory = slots(1);
    let elsewhere = Arc::clone(&memory);
    let mut table = SpanTable::take(&memory);
    assert_eq!(table.open(span(1)), Some(0));
    let other = thread::spawn(move || {
        close(&elsewhere, 1);
        thread::yield_now();
        close(&elsewhere, 1);
    });
    while table.open(span(2)).is_none() {
        thread::yield_now();
    }
    other.join().expect("no panic");
    assert_eq!(read_span(&memory, 0), Some(span(2)));
}

#[test]
fn spans_that_end_elsewhere() {
    fn close(memory: &Memory, start: u64) {
        close_elsewhere(memory, 0, start);
    }
    fn blindly(memory: &Memory, _: u64) {
        memory.span_slot(0)[0].store(0, Ordering::Relaxed);
    }
    // Three threads would not change it: readers only look.
    explore_few("open spans, ended elsewhere", || {
        let reader_of = slots(1);
        let shown = Arc::clone(&reader_of);
        let looking = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(seen) = read_span(&shown, 0) {
                    assert_eq!(seen, span(1));
                }
                thread::yield_now();
            }
        });
        let mut table = SpanTable::take(&reader_of);
        table.open(span(1)).expect("free");
        ends_elsewhere(close);
        looking.join().expect("no panic");
    });
    must_fail("open spans, ended blindly", None, || {
        ends_elsewhere(blindly)
    });
}

fn explore_few(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore(name, Some(3), &[], model);
}

/// Whoever sees that something is durable can read it.
#[test]
fn durable() {
    explore("durable", Some(2), &["Durable", "DurableSeen"], || {
        let frames = frames();
        let progress = Arc::new(Progress::new(0));
        let (disk, mark) = (frames.clone(), progress.clone());
        let syncing = thread::spawn(move || {
            for n in 0..2 {
                disk[n].store(1, Ordering::Relaxed);
                mark.set_durable(n as u64 + 1);
            }
        });
        let read =
            |frames: &[AtomicU64; 2], progress: &Progress| read_below(frames, progress.durable());
        let (disk, mark) = (frames.clone(), progress.clone());
        let other = thread::spawn(move || {
            read(&disk, &mark);
            read(&disk, &mark);
        });
        while read(&frames, &progress) < 2 {
            thread::yield_now();
        }
        syncing.join().expect("no panic");
        other.join().expect("no panic");
    });
}

/// Nothing is durable that is not logged, whoever looks.
#[test]
fn durable_is_logged() {
    explore(
        "durable and logged",
        Some(2),
        &["Durable", "DurableSeen"],
        || {
            let progress = Arc::new(Progress::new(0));
            let (mark, durable) = (progress.clone(), progress.clone());
            let writer = thread::spawn(move || {
                mark.commit(1);
                mark.commit(2);
            });
            let syncing = thread::spawn(move || {
                for _ in 0..2 {
                    let covered = durable.begin_sync();
                    durable.set_durable(covered);
                    thread::yield_now();
                }
            });
            for _ in 0..2 {
                let durable = progress.durable();
                assert!(progress.committed() >= durable);
                thread::yield_now();
            }
            writer.join().expect("no panic");
            syncing.join().expect("no panic");
        },
    );
}

/// Two flushes at once: one round may answer both, none is forgotten.
#[test]
fn two_flushes() {
    explore("two flushes", Some(1), &["BellSleep", "BellRing"], || {
        let (tickets, bell) = (Arc::new(Tickets::new()), Arc::new(Doorbell::new()));
        let answered = Arc::new(AtomicU64::new(0));
        let flushes: Vec<_> = (0..2)
            .map(|_| {
                let (tickets, bell, answered) = (tickets.clone(), bell.clone(), answered.clone());
                thread::spawn(move || {
                    let ticket = tickets.take().expect("open");
                    bell.ring();
                    tickets.wait(ticket, LONG).expect("answered");
                    answered.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                })
            })
            .collect();
        let over = || answered.load(Ordering::Relaxed) == 2;
        let mut rounds = 0;
        while !over() {
            bell.sleep(LONG, || tickets.wanted() || over());
            rounds += 1;
            tickets.end_round(tickets.begin_round(), rounds);
        }
        for flush in flushes {
            flush.join().expect("no panic");
        }
    });
}

/// Ends a sleep of whoever polled.
struct Ring(Doorbell, AtomicU64);

impl Wake for Ring {
    fn wake(self: std::sync::Arc<Self>) {
        // Release: what was waited for comes with it.
        self.1.store(1, Ordering::Release);
        self.0.ring();
    }
}

fn polled(forgotten: bool) {
    let tickets = Arc::new(Tickets::new());
    let ticket = tickets.take().expect("open");
    let (flusher, closer) = (tickets.clone(), tickets.clone());
    let flusher = thread::spawn(move || {
        let round = flusher.begin_round();
        flusher.end_round(round, 7);
    });
    let closer = thread::spawn(move || closer.close(WaitError::Closed));
    let ring = std::sync::Arc::new(Ring(Doorbell::new(), AtomicU64::new(0)));
    let waker = Waker::from(ring.clone());
    loop {
        match tickets.poll(ticket, &waker) {
            Poll::Ready(answer) => break assert!(matches!(answer, Ok(7) | Err(WaitError::Closed))),
            Poll::Pending if forgotten => tickets.forget(ticket),
            Poll::Pending => {}
        }
        ring.0.sleep(LONG, || ring.1.swap(0, Ordering::AcqRel) == 1);
    }
    flusher.join().expect("no panic");
    closer.join().expect("no panic");
}

/// A flush that is awaited is polled again when its round is over, or when none will come any more.
#[test]
fn polled_flush() {
    let sites = &["BellSleep", "BellRing"];
    explore("flush, polled", Some(3), sites, || polled(false));
    must_fail("flush, polled and forgotten", None, || polled(true));
}

/// What a thread that syncs is asked for.
#[derive(Default)]
struct Work {
    due: bool,
    closing: bool,
    stopped: bool,
}

/// The thread that syncs, until it is told to end. What is durable already needs no sync.
fn syncs(desk: &Desk<Work>, progress: &Progress, tell: fn(&Desk<Work>)) {
    loop {
        let mut work = desk.work();
        if work.due {
            work.due = false;
            let offset = progress.begin_sync();
            drop(work);
            if offset > progress.durable() {
                progress.set_durable(offset);
                tell(desk);
            }
        } else if work.closing {
            work.stopped = true;
            drop(work);
            return desk.tell();
        } else {
            drop(desk.wait_for_work(work, None));
        }
    }
}

fn sync_is_waited_for(tell: fn(&Desk<Work>)) {
    let (desk, progress) = (Desk::new(Work::default()), Progress::new(0));
    let shared = Arc::new((desk, progress));
    let housekeeper = shared.clone();
    let housekeeper = thread::spawn(move || syncs(&housekeeper.0, &housekeeper.1, tell));
    let (desk, progress) = &*shared;
    for offset in 1..3 {
        progress.commit(offset);
        if progress.schedule_sync() {
            desk.work().due = true;
            desk.wake();
        }
        let durable = desk.ask(deadline(), |work| {
            work.due |= progress.durable() < offset;
            (progress.durable() >= offset).then_some(())
        });
        assert_eq!(durable, Some(()));
    }
    desk.work().closing = true;
    desk.wake();
    housekeeper.join().expect("no panic");
}

fn deadline() -> Instant {
    Instant::now() + LONG
}

/// Nobody sleeps through the sync that it waits for.
#[test]
fn syncs_are_waited_for() {
    explore("durable, waited for", Some(3), &[], || {
        sync_is_waited_for(Desk::tell_after)
    });
    must_fail("durable, told without the lock", Some(3), || {
        sync_is_waited_for(Desk::tell)
    });
}

fn sync_never_comes(tells: bool) {
    let shared = Arc::new((Desk::new(Work::default()), Progress::new(0)));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let stopped = shared.0.ask(deadline(), |work| work.stopped.then_some(()));
                assert_eq!(stopped, Some(()));
            })
        })
        .collect();
    let (desk, progress) = &*shared;
    desk.work().closing = true;
    if tells {
        syncs(desk, progress, Desk::tell_after);
    } else {
        desk.work().stopped = true;
    }
    callers
        .into_iter()
        .for_each(|t| t.join().expect("no panic"));
}

/// Whoever waits for a sync learns that none will come any more.
#[test]
fn syncs_that_never_come() {
    explore("durable, closed", None, &[], || sync_never_comes(true));
    must_fail("durable, closed silently", None, || sync_never_comes(false));
}

/// A segment's header page: frames, then the mark, then the word that says that it is the last one.
/// The real words are shared between processes; what stores and loads them is the real code.
fn sealed(wrong: bool) {
    let frames = frames();
    let words: Arc<[AtomicU64; 2]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
    let (log, page) = (frames.clone(), words.clone());
    let writer = thread::spawn(move || {
        if wrong {
            mark::seal(&page[1], 1);
        }
        for n in 0..2 {
            log[n].store(1, Ordering::Relaxed);
            mark::publish(&page[0], n as u64 + 1);
        }
        mark::seal(&page[1], 1);
    });
    loop {
        let over = mark::look(&words[1]) == 1;
        let end = read_below(&*frames, mark::look(&words[0]));
        if over {
            assert_eq!(end, 2, "sealed before its last mark");
            break;
        }
        thread::yield_now();
    }
    writer.join().expect("no panic");
}

#[test]
fn sealed_segments() {
    let sites = &["CommitMark", "SegmentState", "CommitMarkSeen"];
    explore("sealed mark", None, sites, || sealed(false));
    must_fail("sealed mark, too early", None, || sealed(true));
}
