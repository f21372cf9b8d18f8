//! Recording allocates nothing, enters the kernel for nothing and touches no new page, once a thread
//! has recorded its first few spans.
//!
//! One test in this file: a second one would allocate while the first one counts.

#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "counting allocations needs an allocator of one's own"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt, fs,
    time::Duration,
};

use emberlog::{
    instrument::{GraphRun, Node, Observer},
    Config, Manager, Overflow, Run, StaticName,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: hands everything on to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the calling thread has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Costs {
    /// Calls of the allocator, frees included.
    allocations: u64,
    /// Times that the thread gave up the processor: every blocking system call does.
    voluntary_switches: u64,
    /// Pages that were not there when it touched them.
    page_faults: u64,
    /// System calls that read or wrote something.
    reads_and_writes: u64,
}

impl Costs {
    fn now() -> Self {
        let number = |text: &str, key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.expect(key).trim().parse().expect("a number")
        };
        // Read in one go each, so that reading costs the same every time.
        let status = fs::read_to_string("/proc/thread-self/status").expect("status");
        let io = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        let stat = fs::read_to_string("/proc/thread-self/stat").expect("stat");
        let fields = stat.rsplit(") ").next().expect("fields");
        let faults = fields.split(' ').nth(7).expect("minor faults");
        let mut costs = Self {
            allocations: 0,
            voluntary_switches: number(&status, "voluntary_ctxt_switches:"),
            page_faults: faults.parse().expect("a number"),
            reads_and_writes: if io.is_empty() {
                0
            } else {
                number(&io, "syscr:") + number(&io, "syscw:")
            },
        };
        costs.allocations = ALLOCATIONS.get();
        costs
    }

    fn since(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            voluntary_switches: self.voluntary_switches - before.voluntary_switches,
            page_faults: self.page_faults - before.page_faults,
            reads_and_writes: self.reads_and_writes - before.reads_and_writes,
        }
    }
}

static NAME: StaticName = StaticName::new("costs");
static KEY: StaticName = StaticName::new("costs.key");
static TEXT: StaticName = StaticName::new("costs.text");

type Work = fn(&Manager, &Run);

const WORK: [(&str, Work); 7] = [
    ("span", |_, run| run.span(&NAME).ok()),
    ("span with attributes", |_, run| {
        run.span(&NAME)
            .with(&KEY, 7u64)
            .with(&TEXT, "some text")
            .ok();
    }),
    ("nested spans", |_, run| {
        let outer = run.node(&NAME);
        outer.child(&NAME).ok();
        outer.ok();
    }),
    ("steps", |_, run| {
        let mut steps = run.steps();
        steps.enter(&NAME);
        steps.enter(&NAME);
        steps.ok();
    }),
    ("event", |_, run| {
        run.event(&NAME, &NAME).with(&KEY, 1u64).record();
    }),
    ("metric", |_, run| run.metric(&NAME).gauge(1.5)),
    ("whole run", |manager, _| {
        let run = manager.start_trace(&NAME);
        run.span(&NAME).with(&KEY, 7u64).ok();
        run.ok();
    }),
];

/// What an observed graph does while it runs.
struct Observed {
    graph: Observer,
    run: GraphRun,
    node: Node,
}

impl Observed {
    fn new(manager: &Manager) -> Self {
        let graph = Observer::new(manager, "observed").version("1");
        Self {
            run: graph.start(),
            node: graph.node("node").node_type("costs").after(["a", "b"]),
            graph,
        }
    }
}

type Observing = fn(&Observed);
type Row<'a> = (&'static str, Box<dyn Fn() + 'a>);

const OBSERVING: [(&str, Observing); 5] = [
    ("node", |on| on.run.node(&on.node).ok()),
    ("call", |on| {
        on.run
            .call(&on.node, |_| Ok::<_, fmt::Error>(()))
            .expect("a success");
    }),
    ("node that ends elsewhere", |on| {
        on.run.start_node(&on.node).ok();
    }),
    ("edge", |on| on.run.edge_taken("a", &on.node)),
    ("whole graph", |on| {
        let run = on.graph.start();
        run.node(&on.node).ok();
        run.ok();
    }),
];

#[test]
fn recording_costs_no_allocation_no_system_call_and_no_page_fault() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config::new(dir.path()).ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(10),
        };
    });
    let manager = Manager::open(config).expect("a fresh log");
    let run = manager.start_trace(&NAME);
    let observed = Observed::new(&manager);
    let (manager, run, observed) = (&manager, &run, &observed);
    let plain = WORK.map(|(what, work)| -> Row { (what, Box::new(move || work(manager, run))) });
    let observing =
        OBSERVING.map(|(what, work)| -> Row { (what, Box::new(move || work(observed))) });
    for (what, work) in plain.into_iter().chain(observing) {
        for _ in 0..1000 {
            work();
        }
        // Whoever else runs on this machine may take pages and the processor away from us; what
        // recording itself costs it costs every time.
        let cheapest = (0..20)
            .map(|_| {
                manager.flush().expect("flushed");
                Costs::now();
                let nothing = Costs::now();
                let empty = Costs::now().since(nothing);
                let before = Costs::now();
                // Fewer than fill half a ring: waking the flusher is a system call.
                for _ in 0..500 {
                    work();
                }
                let spent = Costs::now().since(before);
                [
                    spent.allocations.saturating_sub(empty.allocations),
                    spent
                        .voluntary_switches
                        .saturating_sub(empty.voluntary_switches),
                    spent.page_faults.saturating_sub(empty.page_faults),
                    spent
                        .reads_and_writes
                        .saturating_sub(empty.reads_and_writes),
                ]
            })
            .min();
        assert_eq!(cheapest, Some([0; 4]), "{what}");
    }
    manager.flush().expect("flushed");
    assert_eq!(manager.stats().dropped_count, 0);
}
