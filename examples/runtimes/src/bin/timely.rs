//! A breadth-first search in timely dataflow, recorded through timely's own logging streams: each
//! schedule of an operator is a span, each channel an edge, and messages are counted per channel.
//!
//! `timely [EDGES] [WORKERS] [ROUNDS]`; 10,000,000 edges and 2 workers unless something else is said.
//! With rounds it searches so often without being recorded and with, in turns, and prints what
//! recording costs. With 200,000 edges and no rounds it prints:
//!
//! ```text
//! 200000 edges among 20000 nodes: 19998 reached in 7 rounds
//! worker 0: ok; worker 1: ok
//! operators: BFS, Concatenate, Feedback, ToStreamBuilder
//! edges: BFS -> Concatenate, Concatenate -> Feedback, Feedback -> BFS, ToStreamBuilder -> BFS, ToStreamBuilder -> Concatenate
//! messages that were sent: all received
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use emberlog::{Config, Filter, Manager, Run, SpanKind, StaticName, TraceOptions};
use timely::{
    dataflow::{
        channels::pact::Exchange,
        operators::{
            generic::operator::Operator, Capability, Concat, ConnectLoop, Feedback, ToStream,
        },
    },
    logging::{ChannelsEvent, StartStop, TimelyEvent, TimelyEventBuilder},
};

static NODE_ID: StaticName = StaticName::new("node.id");
static NODE_NAME: StaticName = StaticName::new("node.name");
static FROM: StaticName = StaticName::new("edge.from");
static TO: StaticName = StaticName::new("edge.to");
static CHANNEL: StaticName = StaticName::new("channel");
static RECORDS: StaticName = StaticName::new("records");

/// Turns what one worker logs into records.
struct Recorder {
    run: Option<Run>,
    /// When the worker's clock began.
    origin: SystemTime,
    names: HashMap<usize, String>,
    /// Operators by their place in their scope.
    places: HashMap<Vec<usize>, String>,
    channels: Vec<ChannelsEvent>,
    running: HashMap<usize, Duration>,
    /// Records that were sent and received on each channel.
    moved: BTreeMap<(usize, bool), i64>,
}

impl Recorder {
    fn new(manager: &Manager, worker: usize, began: Instant) -> Self {
        let options = TraceOptions::new().graph("bfs");
        let run = manager.start_trace_with(format!("worker {worker}").as_str(), &options);
        Self {
            run: Some(run),
            origin: SystemTime::now() - began.elapsed(),
            names: HashMap::new(),
            places: HashMap::new(),
            channels: Vec::new(),
            running: HashMap::new(),
            moved: BTreeMap::new(),
        }
    }

    fn take(&mut self, batch: &[(Duration, TimelyEvent)]) {
        let Some(run) = &self.run else { return };
        let mut past = run.past();
        for (time, event) in batch {
            match event {
                TimelyEvent::Operates(operator) => {
                    // The dataflow itself, which is scheduled around its operators, is the trace.
                    if operator.addr.len() > 1 {
                        self.names.insert(operator.id, operator.name.clone());
                    }
                    self.places
                        .insert(operator.addr.clone(), operator.name.clone());
                }
                TimelyEvent::Channels(channel) => self.channels.push(channel.clone()),
                TimelyEvent::Messages(message) => {
                    let moved = self.moved.entry((message.channel, message.is_send));
                    *moved.or_default() += message.record_count;
                }
                TimelyEvent::Schedule(schedule) if schedule.start_stop == StartStop::Start => {
                    self.running.insert(schedule.id, *time);
                }
                TimelyEvent::Schedule(schedule) => {
                    let (Some(begin), Some(name)) = (
                        self.running.remove(&schedule.id),
                        self.names.get(&schedule.id),
                    ) else {
                        continue;
                    };
                    let times = self.origin + begin..self.origin + *time;
                    past.span(name.as_str(), SpanKind::NodeExecution, times)
                        .with(&NODE_ID, schedule.id)
                        .with(&NODE_NAME, name.as_str())
                        .ok();
                }
                _ => {}
            }
        }
    }
}

/// The stream ends with its worker.
impl Drop for Recorder {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        for channel in &self.channels {
            let name = |(index, _): (usize, usize)| {
                let mut place = channel.scope_addr.clone();
                place.push(index);
                self.places.get(&place).map_or("", String::as_str)
            };
            run.event("edge.taken", "edge taken")
                .with(&FROM, name(channel.source))
                .with(&TO, name(channel.target))
                .with(&CHANNEL, channel.id)
                .record();
        }
        for ((channel, sent), records) in &self.moved {
            let (event, name) = match sent {
                true => ("message.sent", "message sent"),
                false => ("message.received", "message received"),
            };
            let event = run.event(event, name);
            event
                .with(&CHANNEL, *channel)
                .with(&RECORDS, *records)
                .record();
        }
        run.ok();
    }
}

/// A pseudo-random number for an edge and an end of it.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Nodes that the search reached, and in how many rounds. Recorded where there is a manager.
fn search(manager: Option<&Manager>, edges: usize, nodes: usize, workers: usize) -> (usize, usize) {
    let found = Arc::new(Mutex::new((0, 0)));
    let (result, manager) = (Arc::clone(&found), manager.cloned());
    timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        // All that observing needs: timely hands over what it logs, in batches.
        let began = worker.timer().unwrap_or_else(Instant::now);
        if let (Some(manager), Some(mut register)) = (&manager, worker.log_register()) {
            let mut recorder = Recorder::new(manager, index, began);
            register.insert::<TimelyEventBuilder, _>("timely", move |_, batch| {
                if let Some(batch) = batch {
                    recorder.take(batch);
                }
            });
        }
        let found = Arc::clone(&found);
        worker.dataflow::<usize, _, _>(move |scope| {
            let part = (index..edges).step_by(peers);
            let graph = part
                .map(move |edge| {
                    let end = |side| (mixed(2 * edge as u64 + side) % nodes as u64) as u32;
                    (end(0), end(1))
                })
                .to_stream(scope)
                .container::<Vec<_>>();
            let (handle, reached) = scope.feedback(1usize);
            let by_node = |pair: &(u32, u32)| u64::from(pair.0);
            graph
                .binary_frontier(
                    reached,
                    Exchange::new(by_node),
                    Exchange::new(by_node),
                    "BFS",
                    move |_, _| {
                        let mut targets: Vec<Vec<u32>> = vec![Vec::new(); nodes / peers + 1];
                        let mut done = vec![false; nodes / peers + 1];
                        let mut rounds: BTreeMap<usize, (Capability<usize>, Vec<u32>)> =
                            BTreeMap::new();
                        move |(edges, all_edges), (nodes, all_nodes), output| {
                            edges.for_each_stamp(|cap, data| {
                                if let Some(cap) = cap.retain_least(output.output_index()) {
                                    rounds.entry(*cap.time()).or_insert((cap, Vec::new()));
                                }
                                data.for_each(|pairs| {
                                    for (from, to) in pairs.drain(..) {
                                        targets[from as usize / peers].push(to);
                                    }
                                });
                            });
                            nodes.for_each_stamp(|cap, data| {
                                let Some(cap) = cap.retain_least(output.output_index()) else {
                                    return;
                                };
                                let round = rounds.entry(*cap.time()).or_insert((cap, Vec::new()));
                                data.for_each(|pairs| round.1.extend(pairs.drain(..).map(|p| p.0)));
                            });
                            while let Some(time) = rounds.keys().next().copied() {
                                if all_edges.frontier().less_equal(&time)
                                    || all_nodes.frontier().less_equal(&time)
                                {
                                    break;
                                }
                                let Some((cap, todo)) = rounds.remove(&time) else {
                                    break;
                                };
                                let mut session = output.session(&cap);
                                let mut new = 0;
                                for node in todo {
                                    let place = node as usize / peers;
                                    if !std::mem::replace(&mut done[place], true) {
                                        new += 1;
                                        for &target in &targets[place] {
                                            session.give((target, node));
                                        }
                                    }
                                }
                                if new > 0 {
                                    let mut found = found.lock().unwrap();
                                    *found = (found.0 + new, found.1.max(time));
                                }
                            }
                        }
                    },
                )
                .concat(
                    (0..usize::from(index == 0))
                        .map(|_| (0, 0))
                        .to_stream(scope),
                )
                .connect_loop(handle);
        });
    })
    .unwrap();
    let found = result.lock().unwrap();
    *found
}

/// Searches in turns without and with a recorder; prints the medians and the overhead by pairs.
fn compare(edges: usize, workers: usize, rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let manager = Manager::open(Config::new(dir.path()))?;
    let time = |manager| {
        let begin = Instant::now();
        let found = search(manager, edges, edges / 10, workers);
        (begin.elapsed().as_secs_f64(), found)
    };
    let (mut without, mut with, mut overhead) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (bare, recorded) = if round % 2 == 0 {
            let bare = time(None);
            (bare, time(Some(&manager)))
        } else {
            let recorded = time(Some(&manager));
            (time(None), recorded)
        };
        assert_eq!(bare.1, recorded.1);
        without.push(bare.0);
        with.push(recorded.0);
        overhead.push((recorded.0 / bare.0 - 1.0) * 100.0);
    }
    manager.flush()?;
    for values in [&mut without, &mut with, &mut overhead] {
        values.sort_by(f64::total_cmp);
    }
    let stats = manager.stats();
    println!(
        "{edges} edges, {workers} workers, {rounds} rounds: {:.2} s without, {:.2} s with; wall {:+.2} % ({:+.2} to {:+.2}); {} spans, {} lost",
        without[rounds / 2],
        with[rounds / 2],
        overhead[rounds / 2],
        overhead[0],
        overhead[rounds - 1],
        stats.records.get("span").copied().unwrap_or_default(),
        stats.dropped_count,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let edges = arguments
        .next()
        .map_or(Ok(10_000_000), |text| text.parse())?;
    let workers = arguments.next().map_or(Ok(2), |text| text.parse())?;
    if let Some(rounds) = arguments.next() {
        return compare(edges, workers, rounds.parse()?);
    }
    let nodes = edges / 10;
    let manager = Manager::open(Config::create_memory())?;
    let (reached, rounds) = search(Some(&manager), edges, nodes, workers);
    println!("{edges} edges among {nodes} nodes: {reached} reached in {rounds} rounds");

    let mut traces = manager.query_traces(&Filter::new())?;
    traces.sort_by(|a, b| a.name.cmp(&b.name));
    let told = traces
        .iter()
        .map(|trace| format!("{}: {}", trace.name, trace.status));
    println!("{}", told.collect::<Vec<_>>().join("; "));
    let spans = manager.query_spans(&Filter::new().all())?;
    let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    println!(
        "operators: {}",
        names.into_iter().collect::<Vec<_>>().join(", ")
    );
    let edges = manager.query_events(&Filter::new().all().event_type("edge.taken"))?;
    let text = |event: &emberlog::Event, key: &str| {
        let value = event.attributes.get(key).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    let edges: BTreeSet<_> = edges
        .iter()
        .map(|edge| format!("{} -> {}", text(edge, "edge.from"), text(edge, "edge.to")))
        .collect();
    println!(
        "edges: {}",
        edges.into_iter().collect::<Vec<_>>().join(", ")
    );
    let moved = |kind: &str| -> Result<i64, emberlog::backend::ScanError> {
        let events = manager.query_events(&Filter::new().all().event_type(kind))?;
        let records = events
            .iter()
            .filter_map(|event| event.attributes.get("records"));
        Ok(records.filter_map(|value| value.as_i64()).sum())
    };
    let (sent, received) = (moved("message.sent")?, moved("message.received")?);
    let told = if sent == received && sent > 0 {
        "all received"
    } else {
        "not all received"
    };
    println!("messages that were sent: {told}");
    Ok(())
}
