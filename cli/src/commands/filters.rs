//! Filters as typed, as the library wants them.

use emberlog::{Filter, Pattern, Status};
use jiff::Timestamp;

use crate::{
    args::FilterArgs,
    failure::Failure,
    output::Output,
    time::{parse_time, TimeRange},
};

/// The filter, but for the trace, which is looked for in a log.
pub fn filter(args: &FilterArgs, out: &Output) -> Result<Filter, Failure> {
    let now = Timestamp::now();
    let time = |flag: &str, text: &Option<String>| -> Result<Option<TimeRange>, Failure> {
        let range = text
            .as_deref()
            .map(|text| parse_time(text, now, out.zone()));
        range
            .transpose()
            .map_err(|e| Failure::new(format!("{flag}: {e}")))
    };
    let mut filter = Filter::new();
    filter.name = args.name.clone().map(Pattern::new);
    match args.status.as_deref() {
        Some(text)
            if ["active", "running"]
                .iter()
                .any(|w| text.eq_ignore_ascii_case(w)) =>
        {
            filter.active = true
        }
        Some(text) => {
            let unknown = "expected ok, error, unset, active, orphaned or cancelled";
            let status = text.parse::<Status>();
            filter.status =
                Some(status.map_err(|_| Failure::new(format!("--status {text:?}: {unknown}")))?);
        }
        None => {}
    }
    filter.kind = args.kind;
    filter.event_type = args.r#type.clone();
    filter.span_id = args.span_id;
    filter.since_ns = time("--since", &args.since)?.map(|range| range.from_ns);
    filter.until_ns = time("--until", &args.until)?.map(|range| range.to_ns);
    filter.min_duration = args.min_duration;
    filter.attributes = args.attr.clone();
    filter.graph = args.graph.clone();
    filter.graph_version = args.graph_version.clone();
    filter.node = args.node.clone();
    filter.error_type = args.error_type.clone();
    Ok(filter)
}

/// The filters as they were typed, always in the same words: they tell streams apart. Empty without
/// any.
pub fn typed(args: &FilterArgs) -> String {
    let text = |value: &Option<String>| value.clone();
    let fields = [
        ("name", text(&args.name)),
        ("status", text(&args.status)),
        ("kind", args.kind.map(|kind| kind.to_string())),
        ("type", text(&args.r#type)),
        ("trace-id", text(&args.trace_id)),
        ("span-id", args.span_id.map(|id| id.to_string())),
        ("since", text(&args.since)),
        ("until", text(&args.until)),
        (
            "min-duration",
            args.min_duration.map(|length| format!("{length:?}")),
        ),
        ("graph", text(&args.graph)),
        ("graph-version", text(&args.graph_version)),
        ("node", text(&args.node)),
        ("error-type", text(&args.error_type)),
    ];
    let mut words: Vec<String> = fields
        .into_iter()
        .filter_map(|(name, value)| Some(format!("--{name}={:?}", value?)))
        .collect();
    let mut attributes: Vec<String> = args
        .attr
        .iter()
        .map(|(key, value)| format!("--attr={key:?}={value:?}"))
        .collect();
    attributes.sort();
    words.extend(attributes);
    words.join(" ")
}
