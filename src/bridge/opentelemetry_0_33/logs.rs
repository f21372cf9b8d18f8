//! Log records of OpenTelemetry.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use opentelemetry::{logs::AnyValue, InstrumentationScope};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    logs::{LogBatch, SdkLogRecord},
    Resource,
};

use super::{
    spans::{span_id, trace_id},
    values::{self, Source},
};
use crate::{
    api::{driven::Position, told::Teller},
    record::names::{Name, StaticName, MAX_NAME},
    Manager,
};

static LOG: StaticName = StaticName::new("log");

/// Records the log records that the SDK hands on, as events: the type is the event's name, or `log`,
/// the name its body.
#[derive(Debug)]
pub struct LogExporter {
    manager: Manager,
    source: Source,
}

impl LogExporter {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
            source: Source::default(),
        }
    }

    fn write(&self, batch: &LogBatch<'_>) -> OTelSdkResult {
        let Some(engine) = self.manager.engine() else {
            return Ok(());
        };
        let teller = Teller::new(engine).ok_or(OTelSdkError::AlreadyShutdown)?;
        for (record, scope) in batch.iter() {
            self.write_one(&teller, record, scope);
        }
        Ok(())
    }

    fn write_one(&self, teller: &Teller<'_>, record: &SdkLogRecord, scope: &InstrumentationScope) {
        let mut list = teller.list();
        let severity = record.severity_number();
        if let Some(level) = record
            .severity_text()
            .or(severity.map(|level| level.name()))
        {
            list.push_named(Name::from("level"), level);
        }
        if let Some(target) = record.target() {
            list.push_named(Name::from("target"), &**target);
        }
        for (key, value) in record.attributes_iter() {
            list.push_named(Name::from(key.as_str()), &values::any(value));
        }
        values::push_scope(&mut list, scope);
        self.source.push_short(&mut list);
        let (text, structured) = match record.body() {
            Some(AnyValue::String(text)) => (text.as_str().to_owned(), None),
            Some(other) => (String::new(), Some(values::any(other))),
            None => (String::new(), None),
        };
        if text.len() > MAX_NAME {
            // A name is cut where an attribute is not.
            list.push_named(Name::from("message"), &text);
        }
        if let Some(body) = structured {
            list.push_named(Name::from("body"), &body);
        }
        let event_type = record.event_name().map_or((&LOG).into(), Name::from);
        let name = match text.is_empty() {
            true => event_type,
            false => Name::spelled(&text),
        };
        let time = record.timestamp().or(record.observed_timestamp());
        let at = values::unix_ns(time.unwrap_or_else(SystemTime::now));
        let place = record.trace_context().map(|context| {
            Position::elsewhere(trace_id(context.trace_id), span_id(context.span_id))
        });
        teller.event(place, (event_type, name), at, list);
    }
}

impl opentelemetry_sdk::logs::LogExporter for LogExporter {
    fn export(&self, batch: LogBatch<'_>) -> impl Future<Output = OTelSdkResult> + Send {
        std::future::ready(self.write(&batch))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        values::flush(&self.manager, timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.source = Source::of(resource, &self.manager);
    }
}
