//! A build in dagrs, observed through its hooks and events: fetch, compile, link and test a program
//! of a small language, where a fetch fails once and is tried again, and a module does not compile at
//! first.
//!
//! It prints:
//!
//! ```text
//! build 1: error
//!   compile main: error, line 1: unknown word `sqare`
//!   compile square: ok
//!   compile twice: ok
//!   fetch main: ok
//!   fetch square: ok, 1 retry
//!   fetch twice: ok
//!   link: error, compile main has no result
//!   test: error, link has no result
//! build 2: ok
//!   compile main: ok
//!   compile square: ok
//!   compile twice: ok
//!   fetch main: ok
//!   fetch square: ok
//!   fetch twice: ok
//!   link: ok
//!   test: ok
//! 42
//! ```

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
};

use dagrs::{
    graph::event::GraphEvent,
    node::{NodeId, NodeName},
    utils::hook::{ExecutionHook, RetryDecision},
    Content, DagrsError, EnvVar, Graph, InChannels, Node, NodeTable, OutChannels, Output,
};
use emberlog::{
    instrument::{self, DetachedNode, GraphRun, Observer},
    Config, Filter, Manager, SpanKind,
};

/// What a task makes: lines of text.
type Lines = Vec<String>;
type Work = Box<dyn Fn(&[Lines]) -> Result<Lines, String> + Send + Sync>;

/// What has to be done for a build.
struct Task {
    name: String,
    after: Vec<String>,
    work: Work,
}

/// A task as dagrs sees it.
struct TaskNode {
    task: Task,
    id: NodeId,
    after: Vec<(NodeId, String)>,
    takes: InChannels,
    gives: OutChannels,
}

#[async_trait::async_trait]
impl Node for TaskNode {
    fn id(&self) -> NodeId {
        self.id
    }

    fn name(&self) -> NodeName {
        self.task.name.clone()
    }

    fn input_channels(&mut self) -> &mut InChannels {
        &mut self.takes
    }

    fn output_channels(&mut self) -> &mut OutChannels {
        &mut self.gives
    }

    async fn run(&mut self, _: Arc<EnvVar>) -> Output {
        let mut inputs = Vec::new();
        for (id, name) in &self.after {
            let content = self.takes.recv_from(id).await.ok();
            match content.and_then(|content| content.into_inner::<Lines>()) {
                Some(lines) => inputs.push(lines.to_vec()),
                None => return Output::execution_failed(format!("{name} has no result")),
            }
        }
        match (self.task.work)(&inputs) {
            Ok(lines) => {
                self.gives.broadcast(Content::new(lines.clone())).await;
                Output::new(lines)
            }
            Err(message) => Output::execution_failed(message),
        }
    }

    fn max_retries(&self) -> u32 {
        u32::from(self.after.is_empty())
    }

    fn retry_delay_ms(&self, _: u32) -> u64 {
        1
    }
}

/// All that observing needs: what dagrs says of its nodes.
struct Watch {
    run: GraphRun,
    nodes: HashMap<String, instrument::Node>,
    open: Mutex<HashMap<NodeId, DetachedNode>>,
}

impl Watch {
    fn end(&self, id: NodeId) -> Option<DetachedNode> {
        self.open.lock().unwrap().remove(&id)
    }
}

struct Hook(Arc<Watch>);

#[async_trait::async_trait]
impl ExecutionHook for Hook {
    async fn before_node_run(&self, node: &dyn Node, _: &Arc<EnvVar>) {
        let begun = self.0.run.start_node(&self.0.nodes[&node.name()]);
        self.0.open.lock().unwrap().insert(node.id(), begun);
    }

    async fn after_node_run(&self, node: &dyn Node, _: &Output, _: &Arc<EnvVar>) {
        if let Some(node) = self.0.end(node.id()) {
            node.ok();
        }
    }

    async fn on_retry(
        &self,
        node: &dyn Node,
        error: &DagrsError,
        _: u32,
        _: u32,
        _: &Arc<EnvVar>,
    ) -> RetryDecision {
        if let Some(node) = self.0.open.lock().unwrap().get_mut(&node.id()) {
            node.retry(error);
        }
        RetryDecision::Retry
    }
}

/// Runs the tasks, observed; what the last one made.
async fn build(observer: &Observer, tasks: Vec<Task>) -> Option<Lines> {
    let mut table = NodeTable::new();
    let ids: HashMap<String, NodeId> = tasks
        .iter()
        .map(|task| (task.name.clone(), table.alloc_id_for(&task.name)))
        .collect();
    let describe = |task: &Task| {
        let node = observer.node(&task.name).after(task.after.iter());
        (task.name.clone(), node)
    };
    let watch = Arc::new(Watch {
        run: observer.start(),
        nodes: tasks.iter().map(describe).collect(),
        open: Mutex::default(),
    });
    let mut graph = Graph::new();
    graph.add_hook(Box::new(Hook(Arc::clone(&watch)))).await;
    let mut events = graph.subscribe();
    let failures = {
        let watch = Arc::clone(&watch);
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                match event {
                    GraphEvent::NodeFailed { id, error } => {
                        if let Some(node) = watch.end(id) {
                            node.fail(&error);
                        }
                    }
                    GraphEvent::ExecutionTerminated { .. } => break,
                    _ => {}
                }
            }
        })
    };
    let last = ids[&tasks.last()?.name];
    let edges: Vec<_> = tasks
        .iter()
        .flat_map(|task| task.after.iter().map(|from| (ids[from], ids[&task.name])))
        .collect();
    for task in tasks {
        let after = task
            .after
            .iter()
            .map(|name| (ids[name], name.clone()))
            .collect();
        let node = TaskNode {
            id: ids[&task.name],
            after,
            task,
            takes: InChannels::default(),
            gives: OutChannels::default(),
        };
        graph.add_node(node).expect("names are different");
    }
    for (from, to) in edges {
        graph.add_edge(from, vec![to]).expect("it is no cycle");
    }
    let result = graph.async_start().await.map(|_| ());
    failures.await.expect("it does not panic");
    let made = graph.get_results::<Lines>().remove(&last).flatten();
    drop(graph);
    if let Some(watch) = Arc::into_inner(watch) {
        watch.run.end_with(&result);
    }
    made.map(|lines| lines.to_vec())
}

const BUILT_IN: [&str; 3] = ["dup", "mul", "add"];

fn compile(source: &Lines, modules: &[&str]) -> Result<Lines, String> {
    let mut code = Vec::new();
    for (at, line) in source.iter().enumerate() {
        for word in line.split(' ') {
            let known = BUILT_IN.contains(&word) || modules.contains(&word);
            if !known && word.parse::<i64>().is_err() {
                return Err(format!("line {}: unknown word `{word}`", at + 1));
            }
            code.push(word.to_owned());
        }
    }
    Ok(code)
}

/// Puts the code of modules in the place of their names.
fn link(modules: &[&str], codes: &[Lines]) -> Lines {
    let main = codes.last().cloned().unwrap_or_default();
    let expand = |word: String| match modules.iter().position(|module| *module == word) {
        Some(at) => codes[at].clone(),
        None => vec![word],
    };
    main.into_iter().flat_map(expand).collect()
}

fn test(program: &Lines) -> Result<Lines, String> {
    let mut stack = Vec::<i64>::new();
    let pop = |stack: &mut Vec<i64>| stack.pop().ok_or("the stack is empty");
    for word in program {
        match word.as_str() {
            "dup" => {
                let top = pop(&mut stack)?;
                stack.extend([top, top]);
            }
            "mul" | "add" => {
                let (b, a) = (pop(&mut stack)?, pop(&mut stack)?);
                stack.push(if word == "mul" { a * b } else { a + b });
            }
            number => stack.push(number.parse().map_err(|_| "no number")?),
        }
    }
    Ok(stack.iter().map(i64::to_string).collect())
}

const MODULES: [&str; 3] = ["square", "twice", "main"];

fn tasks(main: &'static str, flaky: &Arc<AtomicBool>) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (name, source) in MODULES.into_iter().zip(["dup mul", "dup add", main]) {
        let flaky = Arc::clone(flaky);
        tasks.push(Task {
            name: format!("fetch {name}"),
            after: Vec::new(),
            work: Box::new(move |_| {
                if name == "square" && flaky.swap(false, Ordering::Relaxed) {
                    return Err("connection reset".to_owned());
                }
                Ok(source.lines().map(str::to_owned).collect())
            }),
        });
        tasks.push(Task {
            name: format!("compile {name}"),
            after: vec![format!("fetch {name}")],
            work: Box::new(|inputs| compile(&inputs[0], &MODULES[..2])),
        });
    }
    tasks.push(Task {
        name: "link".to_owned(),
        after: MODULES.map(|name| format!("compile {name}")).to_vec(),
        work: Box::new(|codes| Ok(link(&MODULES[..2], codes))),
    });
    tasks.push(Task {
        name: "test".to_owned(),
        after: vec!["link".to_owned()],
        work: Box::new(|program| test(&program[0])),
    });
    tasks
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    let observer = Observer::new(&manager, "build");
    let flaky = Arc::new(AtomicBool::new(true));
    build(&observer, tasks("3 sqare twice 24 add", &flaky)).await;
    let made = build(&observer, tasks("3 square twice 24 add", &flaky)).await;

    let mut traces = manager.query_traces(&Filter::new())?;
    traces.sort_by_key(|trace| trace.start_ns);
    for (at, trace) in traces.iter().enumerate() {
        println!("build {}: {}", at + 1, trace.status);
        let mut spans = manager.query_spans(&Filter::new().all().trace_id(trace.trace_id))?;
        spans.retain(|span| span.kind == SpanKind::NodeExecution);
        spans.sort_by(|a, b| a.name.cmp(&b.name));
        for span in spans {
            let mut told = format!("  {}: {}", span.name, span.status);
            if let Some(error) = &span.error {
                // What dagrs puts around a message is its own affair.
                let message = error.message.split("] ").last().unwrap_or_default();
                let message = message.split(" (").next().unwrap_or_default();
                told += &format!(", {message}");
            }
            let retries = span.attributes.get("retry_count");
            if let Some(retries) = retries.and_then(|value| value.as_i64()) {
                told += &format!(", {retries} retry");
            }
            println!("{told}");
        }
    }
    println!("{}", made.unwrap_or_default().join(" "));
    Ok(())
}
