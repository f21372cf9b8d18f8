//! What a manager hands out besides runs: the run that is open on a thread, and series.

use std::sync::Arc;

use super::Manager;
use crate::api::{engine::Engine, Meter, Run};

impl Manager {
    /// The run whose span is open on this thread, for code that was not handed it: a native one, or
    /// a trace that a bridge began. One that records nothing if none is open.
    ///
    /// What is recorded with it belongs to that run. It does not end with this handle, and
    /// attributes that are set with [`Run::set`] are ignored.
    ///
    /// ```
    /// # use emberlog::{Config, Filter, Manager};
    /// # let dir = tempfile::tempdir()?;
    /// # let manager = Manager::open(Config::new(dir.path()))?;
    /// let run = manager.start_trace("serve");
    /// let outer = run.span("outer");
    /// manager.current_run().span("inner").ok();
    /// let id = outer.id();
    /// outer.ok();
    /// run.ok();
    /// assert_eq!(manager.query_spans(&Filter::new().name("inner"))?[0].parent_span_id, id);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_run(&self) -> Run {
        self.engine().map_or_else(Run::disabled, Run::current)
    }

    /// A series of measurements that add up in memory: one record per
    /// [`metric_interval`](crate::Config::metric_interval), at [`Manager::flush`] and at the end.
    /// [`Manager::metric`] makes a record of each measurement instead.
    ///
    /// ```
    /// # use emberlog::{Config, Filter, Manager};
    /// # let dir = tempfile::tempdir()?;
    /// # let manager = Manager::open(Config::new(dir.path()))?;
    /// let requests = manager.meter("requests").with("route", "/orders").counter();
    /// for _ in 0..1000 {
    ///     requests.add(1);
    /// }
    /// manager.flush()?;
    /// let rows = manager.query_metrics(&Filter::new().name("requests"))?;
    /// assert_eq!((rows.len(), rows[0].value), (1, 1000.0));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn meter(&self, name: &str) -> Meter {
        Meter::new(self.engine(), name)
    }

    /// The recording side.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.inner().map(|inner| &inner.engine)
    }
}
