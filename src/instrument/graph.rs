//! What is known of a graph and its nodes before they run.

use super::{run::GraphRun, ENVIRONMENT, NODE_AFTER};
use crate::{
    api::{Run, TraceOptions},
    manager::Manager,
    record::{
        attributes::{AttributeBuffer, AttributeValue, ValueWriter},
        id::SpanId,
        names::{self, Name},
        wellknown,
    },
};

/// A name and what it was interned as.
#[derive(Clone, Debug)]
pub(super) struct Label {
    id: u32,
    text: Box<str>,
}

impl Label {
    fn new(text: &str) -> Self {
        Self {
            id: names::intern(text).id(),
            text: text.into(),
        }
    }

    #[inline(always)]
    pub(super) fn name(&self) -> Name<'_> {
        Name::known(self.id, &self.text)
    }
}

/// Texts as the value of an attribute: one as it is, several as an array.
pub(super) struct Texts<'a, T>(pub(super) &'a [T]);

impl<T: AsRef<str>> AttributeValue for Texts<'_, T> {
    fn write(&self, writer: &mut ValueWriter<'_>) {
        match self.0 {
            [one] => writer.str(one.as_ref()),
            several => {
                let several: Vec<&str> = several.iter().map(AsRef::as_ref).collect();
                writer.array(&several);
            }
        }
    }
}

/// Observes the runs of one graph, for any runtime.
///
/// An observer is what is known of a graph before it runs: build it once and share it. Each
/// [`start`](Self::start) is a trace of its own, with a span of kind `graph_run` on top and the
/// executions of nodes below.
///
/// ```
/// use emberlog::{instrument::Observer, Config, Filter, Manager};
/// let manager = Manager::open(Config::create_memory())?;
/// let graph = Observer::new(&manager, "indexer").version("3");
/// let (read, parse) = (graph.node("read"), graph.node("parse").after(["read"]));
///
/// let run = graph.start();
/// let text = run.call(&read, |_| Ok::<_, std::io::Error>("a b c"))?;
/// let node = run.node(&parse);
/// let words = text.split(' ').count();
/// node.ok();
/// run.ok();
/// # assert_eq!(words, 3);
///
/// let spans = manager.query_spans(&Filter::new().node("parse"))?;
/// assert_eq!(spans[0].attributes.get("graph_id").unwrap().as_str(), Some("indexer"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Observer {
    manager: Manager,
    name: Label,
    id: String,
    version: Option<String>,
    graph_type: Option<String>,
    environment: Option<String>,
    /// With which a trace of this graph begins: what stands above, encoded.
    pub(super) options: TraceOptions,
    graphs: bool,
    nodes: bool,
    /// The nodes that are instrumented; none = all.
    only: Vec<String>,
}

impl Observer {
    /// Observes the graph called `name`, which is also its id; "" is the documents' `graph_run`.
    ///
    /// What is recorded of it is what the configuration of `manager` says now:
    /// `auto_instrument_graphs`, `auto_instrument_nodes`, `instrument_nodes`.
    pub fn new(manager: &Manager, name: &str) -> Self {
        let name = if name.is_empty() { "graph_run" } else { name };
        let config = manager.config();
        let on = |of: fn(&crate::Config) -> bool| config.is_some_and(of);
        Self {
            manager: manager.clone(),
            name: Label::new(name),
            id: name.to_owned(),
            version: None,
            graph_type: None,
            environment: None,
            options: TraceOptions::new(),
            graphs: on(|config| config.auto_instrument_graphs),
            nodes: on(|config| config.auto_instrument_nodes),
            only: config.map_or_else(Vec::new, |config| config.instrument_nodes.clone()),
        }
        .encoded()
    }

    /// Sets the graph's id, `graph_id`, if it is not the name.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self.encoded()
    }

    /// Sets the graph's version, `graph_version`, by which the analysis compares.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self.encoded()
    }

    /// Sets what kind of graph it is, `graph_type`.
    #[must_use]
    pub fn graph_type(mut self, graph_type: &str) -> Self {
        self.graph_type = Some(graph_type.to_owned());
        self.encoded()
    }

    /// Sets where it runs, `environment`: "production" and the like.
    #[must_use]
    pub fn environment(mut self, environment: &str) -> Self {
        self.environment = Some(environment.to_owned());
        self.encoded()
    }

    fn encoded(mut self) -> Self {
        let mut list = AttributeBuffer::default();
        list.push(Name::of_id(wellknown::GRAPH_ID), self.id.as_str());
        let others = [
            (Name::of_id(wellknown::GRAPH_VERSION), &self.version),
            (Name::of_id(wellknown::GRAPH_TYPE), &self.graph_type),
            (Name::from(&ENVIRONMENT), &self.environment),
        ];
        for (key, value) in others {
            if let Some(value) = value {
                list.push(key, value.as_str());
            }
        }
        self.options.attributes = list;
        self
    }

    /// Describes a node of this graph. `id` is what the analysis counts it under; the name of its
    /// spans is the same unless [`Node::name`] says something else.
    pub fn node(&self, id: &str) -> Node {
        Node {
            on: self.instruments(id),
            observed: self.nodes,
            only: self.only.clone(),
            name: Label::new(id),
            id: id.into(),
            graph: self.id.as_str().into(),
            node_type: None,
            after: Vec::new(),
            list: AttributeBuffer::default(),
        }
        .encoded()
    }

    fn instruments(&self, name: &str) -> bool {
        self.nodes && (self.only.is_empty() || self.only.iter().any(|only| only == name))
    }

    /// Begins a run: a trace with a fresh id.
    pub fn start(&self) -> GraphRun {
        self.begin(&self.options)
    }

    /// Begins a run whose trace has a given id or a caller in another process.
    pub fn start_with(&self, options: &TraceOptions) -> GraphRun {
        let mut options = options.clone();
        options.attributes.extend(&self.options.attributes);
        self.begin(&options)
    }

    fn begin(&self, options: &TraceOptions) -> GraphRun {
        if !self.graphs {
            return GraphRun::disabled();
        }
        let run = self.manager.start_trace_with(self.name(), options);
        GraphRun::new(run, None, true, self)
    }

    /// Begins a run inside a trace that somebody else began, below one of its spans: a graph inside
    /// a node of another one, or inside a trace of one's own.
    ///
    /// It ends without ending the trace. With `auto_instrument_graphs = false` it has no span of its
    /// own, and its nodes are children of `parent`.
    pub fn start_in(&self, run: &Run, parent: Option<SpanId>) -> GraphRun {
        GraphRun::new(run.clone(), parent, false, self)
    }

    #[inline]
    pub(super) fn name(&self) -> Name<'_> {
        self.name.name()
    }

    pub(super) fn instruments_graphs(&self) -> bool {
        self.graphs
    }
}

/// A node as it is known before it runs; made by [`Observer::node`].
///
/// Its attributes are encoded here, once: an execution copies them as they are.
#[derive(Clone, Debug)]
pub struct Node {
    on: bool,
    observed: bool,
    only: Vec<String>,
    name: Label,
    id: Box<str>,
    graph: Box<str>,
    node_type: Option<Box<str>>,
    after: Vec<String>,
    list: AttributeBuffer,
}

impl Node {
    /// Sets the name of its spans, `node.name`: in the documents, that of the node's class.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Label::new(name);
        self.on |= self.observed && self.only.iter().any(|only| only == name);
        self.encoded()
    }

    /// Sets what kind of node it is, `node.type`.
    #[must_use]
    pub fn node_type(mut self, node_type: &str) -> Self {
        self.node_type = Some(node_type.into());
        self.encoded()
    }

    /// Sets the nodes that it runs after, `node.after`: edges of the graph, between which the
    /// analysis finds waits.
    #[must_use]
    pub fn after<T: Into<String>>(mut self, nodes: impl IntoIterator<Item = T>) -> Self {
        self.after = nodes.into_iter().map(Into::into).collect();
        self.encoded()
    }

    fn encoded(mut self) -> Self {
        let mut list = AttributeBuffer::default();
        list.push(Name::of_id(wellknown::NODE_ID), &*self.id);
        list.push(Name::of_id(wellknown::NODE_NAME), &*self.name.text);
        if let Some(node_type) = &self.node_type {
            list.push(Name::of_id(wellknown::NODE_TYPE), &**node_type);
        }
        list.push(Name::of_id(wellknown::GRAPH_ID), &*self.graph);
        if !self.after.is_empty() {
            list.push(&NODE_AFTER, Texts(&self.after));
        }
        self.list = list;
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether its executions are recorded: `auto_instrument_nodes`, `instrument_nodes`.
    #[inline]
    pub fn is_observed(&self) -> bool {
        self.on
    }

    #[inline]
    pub(super) fn label(&self) -> Name<'_> {
        self.name.name()
    }

    #[inline]
    pub(super) fn list(&self) -> &AttributeBuffer {
        &self.list
    }
}

impl AsRef<str> for Node {
    fn as_ref(&self) -> &str {
        &self.id
    }
}
