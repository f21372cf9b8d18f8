//! The thread of a tail: fills a batch from the log, sends it when it is time, waits.

use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backoff::Backoff,
    cursor::{Cursor, CursorError, Place},
    delivery::{Delivery, Failure, Stands},
    handle::{Control, MakeSink, Options, Shared, TailState},
    latency::Latencies,
    quarantine::Quarantine,
    source::{FrameSource, Pulled},
    upkeep::Chores,
};
use crate::{
    backend::{BatchRange, Row, Selector},
    log::Position,
    model::Origin,
    record::id::InstanceId,
    sync::fault::moment,
};

/// What was read and is not delivered.
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    origins: Vec<Arc<Origin>>,
    /// Where the cursor will be when it is delivered.
    next: Place,
    /// When its first row was read.
    since: Option<Instant>,
}

/// What an attempt achieved.
enum Done {
    /// Nothing is left to be tried.
    All,
    /// The sink answers; what to send was not tried yet.
    Asked,
}

pub(super) struct Runner {
    pub(super) source: Box<dyn FrameSource>,
    pub(super) delivery: Delivery,
    cursor: Cursor,
    pub(super) options: Options,
    selector: Selector,
    latencies: Latencies,
    pub(super) shared: Arc<Shared>,
    pub(super) batch: Batch,
    /// Rows that were delivered, on their way back to the source.
    used: Vec<Row>,
    /// Where the tail is; the cursor file may say less.
    pub(super) place: Place,
    pub(super) backoff: Backoff,
    /// Whether the sink must be asked where it stands before anything is sent.
    unsure: bool,
    /// Whether what it says counts.
    trusted: bool,
    /// Whether it says something: then the cursor file may be written later.
    remembers: bool,
    /// End of the log, when everything before it was read.
    pub(super) seen: Position,
    /// Whether reading ended because the batch was full.
    more: bool,
    /// What is before it is sent without waiting for a full batch or the interval.
    flush: Position,
    /// Where the log ended when the tail was told to stop.
    last: Option<Position>,
    pub(super) chores: Chores,
}

impl Runner {
    pub(super) fn new(
        dir: &Path,
        mut source: Box<dyn FrameSource>,
        make: MakeSink,
        cursor: Cursor,
        options: Options,
        shared: Arc<Shared>,
    ) -> Self {
        let place = *cursor.place();
        Self {
            delivery: Delivery::new(
                make,
                Quarantine::new(dir, &options.name),
                options.secrets.clone(),
            ),
            selector: Selector::new(options.select.clone()),
            latencies: Latencies::default(),
            backoff: Backoff::new(options.retry_min, options.retry_max),
            batch: Batch {
                rows: Vec::new(),
                origins: Vec::new(),
                next: place,
                since: None,
            },
            used: Vec::new(),
            seen: Position::START,
            more: false,
            flush: Position::START,
            last: None,
            unsure: true,
            trusted: true,
            remembers: false,
            chores: Chores::new(Instant::now()),
            source: {
                source.only(options.needs.and(options.select.needs()));
                source
            },
            cursor,
            options,
            shared,
            place,
        }
    }

    /// Until it is stopped. A panic of our own ends the tail visibly.
    pub(super) fn run(mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        self.delivery.abandon();
        let shared = self.shared.clone();
        // The cursor is free before anybody learns that this ended.
        drop(self);
        let mut control = shared.control();
        control.stats.state = match result {
            Ok(()) => TailState::Stopped,
            Err(_) => {
                let text = "the tail itself panicked; this is a bug in emberlog";
                control.stats.last_error = Some(text.to_owned());
                TailState::Failed
            }
        };
        control.ended = true;
        shared.progress.notify_all();
    }

    fn work(&mut self) {
        loop {
            let stop = self.listen();
            if stop.is_some_and(|stop| Instant::now() >= stop) {
                break;
            }
            self.fill();
            if self.is_due() {
                self.attempt();
                continue;
            }
            if self.batch.rows.is_empty() {
                self.pass();
                let last = self.last.unwrap_or(Position {
                    epoch: u64::MAX,
                    offset: 0,
                });
                if self.seen.max(self.place.position) >= last {
                    break;
                }
            }
            self.upkeep();
            self.wait();
        }
        self.save_cursor();
        self.count_lag();
    }

    /// Takes note of what the handles ask for; says until when, if that is to stop.
    fn listen(&mut self) -> Option<Instant> {
        let (nudged, wanted, stop) = {
            let mut control = self.shared.control();
            (
                std::mem::take(&mut control.nudged),
                control.wanted,
                control.stop,
            )
        };
        if nudged {
            let end = self.source.end();
            self.flush = self.flush.max(wanted).max(end);
            if stop.is_some() {
                self.last.get_or_insert(end);
            }
        }
        stop
    }

    /// Reads until the batch is full or the log ends.
    fn fill(&mut self) {
        // Where the batch before was full there is more, as a rule; asking may mean to look at files.
        let mut end = (!std::mem::take(&mut self.more)).then(|| self.source.end());
        if end == Some(self.seen) {
            return;
        }
        while self.batch.rows.len() < self.options.buffer_size.max(1) {
            let had = self.batch.rows.len();
            let next = &mut self.batch.next;
            match self.source.pull(next.position, &mut self.batch.rows) {
                Ok(Pulled::Frame {
                    next: position,
                    origin,
                    records,
                    damaged,
                }) => {
                    next.position = position;
                    next.instance = origin.instance;
                    next.passed += records;
                    self.selector.apply(&mut self.batch.rows, had);
                    if self.batch.rows.len() > had {
                        self.batch.since.get_or_insert_with(Instant::now);
                        let known = &mut self.batch.origins;
                        if !known.iter().any(|o| Arc::ptr_eq(o, &origin)) {
                            known.push(origin);
                        }
                    }
                    if damaged {
                        self.shared.control().stats.damaged += 1;
                    }
                }
                Ok(Pulled::Gap { to }) => {
                    next.position = to;
                    let passed = self.source.records_before(to);
                    next.lost += passed.saturating_sub(next.passed);
                    next.passed = passed.max(next.passed);
                    let lost = next.lost;
                    let mut control = self.shared.control();
                    control.stats.lost_to_retention = lost;
                    control.stats.last_error =
                        Some(format!("retention removed records before {to} unsent"));
                }
                Ok(Pulled::Damaged { to }) => {
                    next.position = to;
                    self.shared.control().stats.damaged += 1;
                }
                Ok(Pulled::End { at }) => {
                    next.position = next.position.max(at);
                    match end {
                        Some(end) => {
                            self.seen = end;
                            return;
                        }
                        // The end that counts is from before there was nothing to read.
                        None => end = Some(self.source.end()),
                    }
                }
                Err(error) => {
                    self.note(format!("cannot read the log: {error}"));
                    return;
                }
            }
        }
        self.more = true;
    }

    /// Whether somebody waits for what is not delivered.
    fn is_urgent(&self, control: &Control) -> bool {
        control.wanted > control.stats.position || control.stop.is_some()
    }

    /// Whether an attempt is to be made now.
    fn is_due(&self) -> bool {
        let (urgent, reached) = {
            let control = self.shared.control();
            (self.is_urgent(&control), control.stats.position)
        };
        if self
            .backoff
            .due(urgent)
            .is_some_and(|due| Instant::now() < due)
        {
            return false;
        }
        // A backend is reached for as soon as there is a tail, so that what is wrong shows early.
        if self.unsure || !self.delivery.is_open() {
            return true;
        }
        let rows = self.batch.rows.len();
        let full = rows >= self.options.buffer_size.max(1);
        let asked = reached < self.flush;
        rows > 0 && (full || asked || self.interval_is_over())
    }

    fn interval_is_over(&self) -> bool {
        let interval = self.options.export_interval;
        let since = self.batch.since;
        !interval.is_zero() && since.is_some_and(|since| since.elapsed() >= interval)
    }

    /// One attempt: asks where the sink stands if that is not sure, else sends.
    fn attempt(&mut self) {
        let result = match self.unsure {
            true => self.ask(),
            false => self.send(),
        };
        match result {
            Ok(Done::All) => self.backoff.succeeded(),
            Ok(Done::Asked) => self.backoff.answered(),
            Err(failure) => self.failed(failure),
        }
    }

    /// The sink's own word counts: what it has is not sent again, what it lacks is.
    fn ask(&mut self) -> Result<Done, Failure> {
        if self.backoff.failures() > 0 {
            self.shared.control().stats.retries += 1;
        }
        let stands = self.delivery.stands(self.source.log())?;
        self.unsure = false;
        if let (Stands::At(position, instance), true) = (stands, self.trusted) {
            self.believe(position, instance);
        }
        self.remembers = self.trusted && stands != Stands::Unknown;
        {
            let mut control = self.shared.control();
            control.reached = true;
            if self.batch.rows.is_empty() {
                control.stats.state = TailState::Running;
            }
            self.shared.progress.notify_all();
        }
        Ok(match self.batch.rows.is_empty() {
            true => Done::All,
            false => Done::Asked,
        })
    }

    /// Goes on where the sink stands.
    fn believe(&mut self, position: Position, instance: Option<InstanceId>) {
        // What is before where the tail began was never meant for it.
        let mut position = position.max(self.place.begin);
        let here = self.source.writer_before(position);
        if let (Some(theirs), Some(ours)) = (instance, here) {
            if theirs != ours {
                // Rows are stored by identity, so what the store has already does no harm. Once is
                // enough: from here on this tail knows better than the store where it is.
                self.trusted = false;
                position = self.place.begin;
                self.note(
                    "this log was copied, and the backend has the position of the other copy; \
                     going over everything again"
                        .to_owned(),
                );
            }
        }
        if position == self.place.position {
            return;
        }
        if position == self.batch.next.position {
            // The batch arrived, only its answer did not.
            let rows = self.batch.rows.len() as u64;
            self.delivered(rows);
            return;
        }
        if position > self.source.end() {
            self.trusted = false;
            self.note(format!(
                "the backend says that it has this log up to {position}, which is past its end; \
                 going on from the cursor"
            ));
            return;
        }
        self.place.position = position;
        self.place.passed = self.source.records_before(position);
        self.begin_batch();
        self.seen = Position::START;
        self.shared.control().stats.position = position;
    }

    fn send(&mut self) -> Result<Done, Failure> {
        let begun = Instant::now();
        let range = BatchRange {
            log: self.source.log(),
            instance: self.batch.next.instance,
            from: self.place.position,
            to: self.batch.next.position,
        };
        let before = self.delivery.quarantined;
        let all = self.batch.rows.len() as u64;
        let (origins, rows) = (&self.batch.origins, &mut self.batch.rows);
        moment("tail.send");
        let used = &mut self.used;
        let result = self.delivery.deliver(range, origins, rows, used);
        moment("tail.sent");
        self.source.reuse(used);
        let aside = self.delivery.quarantined - before;
        let refusals = self.delivery.refusals();
        // Pieces that were delivered before a failure are not sent again.
        let done = all - self.batch.rows.len() as u64 - aside;
        {
            let mut control = self.shared.control();
            control.stats.quarantined += aside;
            control.stats.rejected += refusals.rows;
            if let Some(text) = refusals.reason {
                control.stats.last_error = Some(text);
            }
            if aside > 0 {
                let text = format!(
                    "{aside} rows put aside in aside/{}.jsonl",
                    self.options.name
                );
                control.stats.last_error = Some(text);
            }
        }
        self.batch.next.delivered += done;
        result?;
        self.delivered(0);
        let mut control = self.shared.control();
        let stats = &mut control.stats;
        stats.batches += 1;
        let took = begun.elapsed();
        let latencies = &mut self.latencies;
        latencies.add(took);
        stats.export_latency_last = took;
        stats.export_latency_avg = latencies.mean();
        stats.export_latency_p50 = latencies.quantile(0.5);
        stats.export_latency_p99 = latencies.quantile(0.99);
        stats.export_latency_max = latencies.max;
        Ok(Done::All)
    }

    /// The batch is delivered; `rows` of it were not counted yet.
    fn delivered(&mut self, rows: u64) {
        self.batch.next.delivered += rows;
        self.place = self.batch.next;
        // Before the progress that others wait for.
        self.shared.control().stats.state = TailState::Running;
        // Killed, the process finds the place of each batch again; after a power cut, that of a
        // second ago. A sink that remembers its place needs neither.
        if self.chores.cursor_is_due() {
            self.save_cursor();
        } else if !self.remembers {
            self.move_cursor(Cursor::advance_soon);
        }
        self.begin_batch();
        self.show_progress();
    }

    fn begin_batch(&mut self) {
        self.batch.rows.clear();
        self.batch.origins.clear();
        self.batch.since = None;
        self.batch.next = self.place;
    }

    /// Frames without rows count as delivered once they were read.
    fn pass(&mut self) {
        self.place = self.batch.next;
        self.show_progress();
    }

    fn show_progress(&mut self) {
        let mut reached = self.place.position;
        // Behind the last frame there may be the end of a segment, where nothing is.
        if self.batch.rows.is_empty() && self.batch.next.position == reached {
            reached = reached.max(self.seen);
        }
        let mut control = self.shared.control();
        control.stats.delivered = self.place.delivered;
        control.stats.lost_to_retention = self.place.lost;
        if reached != control.stats.position {
            control.stats.position = reached;
            // Who waits for more says so again.
            if control.awaited.is_some_and(|first| first <= reached) {
                control.awaited = None;
                self.shared.progress.notify_all();
            }
        }
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        let now = Instant::now();
        // What became of the batch is not known until the sink was asked.
        self.unsure = true;
        let (state, text) = match failure {
            Failure::Retry(text, wait) => {
                self.backoff.failed(now);
                if let Some(wait) = wait {
                    self.backoff.hold(now, wait);
                }
                let down = self.backoff.failures() >= self.options.breaker_after.max(1);
                let state = if down {
                    TailState::Down
                } else {
                    TailState::Retrying
                };
                (state, text)
            }
            Failure::Refused(text) => {
                self.backoff.refused(now);
                (TailState::Paused, text)
            }
            Failure::Panicked(text) => {
                self.backoff.failed(now);
                (TailState::Failed, format!("the sink panicked: {text}"))
            }
        };
        let mut control = self.shared.control();
        control.stats.state = state;
        control.stats.errors += 1;
        control.stats.last_error = Some(text);
        self.shared.progress.notify_all();
    }

    fn note(&self, text: String) {
        self.shared.control().stats.last_error = Some(text);
    }

    pub(super) fn save_cursor(&mut self) {
        if *self.cursor.place() != self.place {
            self.move_cursor(Cursor::advance);
        } else if let Err(error) = self.cursor.sync() {
            self.note(error.to_string());
        }
    }

    fn move_cursor(&mut self, how: fn(&mut Cursor, Place) -> Result<(), CursorError>) {
        moment("tail.cursor");
        if let Err(error) = how(&mut self.cursor, self.place) {
            // What was delivered is; the file follows with the next batch.
            self.note(error.to_string());
        }
    }

    /// Sleeps until something may have to be done.
    fn wait(&self) {
        let control = self.shared.control();
        if control.nudged {
            return;
        }
        let mut until = Instant::now() + self.options.poll.max(Duration::from_millis(1));
        let interval = self.options.export_interval;
        let interval = self
            .batch
            .since
            .filter(|_| !interval.is_zero())
            .map(|t| t + interval);
        let retry = self.backoff.due(self.is_urgent(&control));
        // What is due and was not done waits for something else.
        let now = Instant::now();
        for due in [interval, retry, control.stop]
            .into_iter()
            .flatten()
            .filter(|due| *due > now)
        {
            until = until.min(due);
        }
        let wait = until.saturating_duration_since(now);
        drop(self.shared.wake.wait_timeout(control, wait));
    }
}
