//! `docs/configuration.md` is made from the code: from the table of names, from the defaults, and
//! from what stands above each field. `UPDATE=1` writes it; otherwise it must be as it is made.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use emberlog::{
    config::{BackendKind, Setting},
    Config, Preset, Value,
};

/// What stands above the fields of a public struct, by field.
fn fields(source: &str, name: &str) -> BTreeMap<String, String> {
    let begin = format!("pub struct {name} {{");
    let body = source.split_once(&begin).expect("the struct").1;
    let body = body.split_once("\n}").expect("its end").0;
    let (mut found, mut text) = (BTreeMap::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            text.push_str(comment);
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().unwrap().to_owned();
            found.insert(name, plain(std::mem::take(&mut text).trim()));
        } else {
            text.clear();
        }
    }
    found
}

/// Links of the API documentation lead nowhere in a file: their text stays.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        out.push_str(before);
        let (name, after) = link.split_once("`]").expect("the end of a link");
        write!(out, "`{name}`").unwrap();
        let target = after.strip_prefix('(').and_then(|t| t.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    out + rest
}

fn code(values: &[&str]) -> String {
    let all: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    all.join(", ")
}

/// A default as a person would write it.
fn shown(setting: &Setting, value: &Value) -> String {
    match value {
        Value::F64(number) if setting.takes() == "a number" => format!("`{number}`"),
        Value::Null => "none".to_owned(),
        Value::Map(entries) if entries.is_empty() => "none".to_owned(),
        Value::Str(text) if text.is_empty() => "none".to_owned(),
        Value::Str(text) => format!("`{text}`"),
        Value::I64(bytes) if *bytes >= 1 << 16 && bytes % (1 << 10) == 0 => match bytes % (1 << 20)
        {
            0 => format!("`{} MiB`", bytes >> 20),
            _ => format!("`{} KiB`", bytes >> 10),
        },
        // All others are lengths of time.
        Value::F64(seconds) if *seconds >= 86_400.0 => format!("`{}d`", seconds / 86_400.0),
        Value::F64(seconds) => format!("`{seconds}s`"),
        other => format!("`{}`", other.to_json()),
    }
}

/// What the rules for all options are; the rest follows from the code.
const HEAD: &str = "\
# Configuration

Made from the code by `UPDATE=1 cargo test --test config_reference`; do not edit.

An option has one name. `buffer_size` is

- in code, `Config::new(dir).buffer_size(50)` or the field `config.buffer_size`;
- in a file of any format that serde reads (feature `serde`), the key `buffer_size`;
- in the environment, `EMBERLOG_BUFFER_SIZE`, which `Config::env` and `Config::from_env` read.

What is set later counts: `Config::new(dir).env()?.buffer_size(50)` has 50, whatever the environment
says, and `Config::new(dir).buffer_size(50).env()?` what the environment says, if it does. Attributes
of the environment are added to those that are there. `ring.total_bytes` is `total_bytes` in a
section `ring`. Names that do not exist are refused in files, and ignored in the environment, which
belongs to other versions too.

Lengths of time are seconds, or texts such as `100ms`, `10s`, `5m`, `12h`, `30d`; sizes are bytes, or
texts such as `64 MiB`. Everything that is wrong is reported at once, with name, range and value:
by `Config::from_value` and `Config::env` where it is read, and by `Manager::open` before it touches
anything.

## Off, whatever the code says

`EMBERLOG_DISABLED=1` (also `true`, `yes`, `on`) or `OTEL_SDK_DISABLED=true` turns everything off
without a rebuild: no file, no thread, every call an empty one. Nothing else in the environment
counts more than code.

`enabled` is false unless a configuration names a place in code (`Config::new`,
`Config::create_sqlite`, `Config::create_postgresql` and so on). A file or an environment that names backends and
leaves `enabled` out records nothing, and says so once on the error output.

## Secrets

A configuration can be written (`Config::to_value`, serde) and read again, and is the same then, but
for its secrets: they are never written or shown. They come from code, or from the variables of a
backend's parameters below. A backend that was made in code by `BackendConfig::new` is written by
name only, and cannot be read.

";

/// What OpenTelemetry defines and no stage acts on yet.
const TAIL: &str = "
## Variables of OpenTelemetry

| variable | here |
|---|---|
| `OTEL_SDK_DISABLED` | turns everything off |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | `resource_attributes` |
| `OTEL_EXPORTER_OTLP_…` | what the backend `otlp` is not told otherwise, see [otlp.md](otlp.md) |
| `OTEL_SPAN_EVENT_COUNT_LIMIT` | `max_events_per_span`; the newest events stay |
| `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_QUEUE_SIZE` | `buffer_size`, `export_interval`, `ring.ring_bytes` |
| `OTEL_TRACES_SAMPLER` | `sampling_rate` and `parent_based_sampling`: `always_on`, `always_off`, `traceidratio`, each also with `parentbased_` |
| `OTEL_TRACES_SAMPLER_ARG` | `sampling_rate`, beside a sampler with `traceidratio` |
| `OTEL_PROPAGATORS` | `propagate_context`: on with `tracecontext` or `baggage` in the list |
| other `OTEL_*_LIMIT` | not read: a record is bounded as a whole, by `ring.max_record_bytes` |
";

fn reference() -> String {
    let sections = [
        ("", "Config", include_str!("../src/config/mod.rs")),
        ("ring", "Options", include_str!("../src/ring/options.rs")),
        ("log", "Options", include_str!("../src/log/options.rs")),
    ];
    let default = Config::default();
    let mut out = HEAD.to_owned();
    for (section, name, source) in sections {
        let about = fields(source, name);
        match section {
            "" => out.push_str("## Options\n"),
            _ => writeln!(out, "\n## Section `{section}`\n").unwrap(),
        }
        out.push_str(
            "\n| option | default | takes | what it does | variable |\n|---|---|---|---|---|\n",
        );
        for setting in Setting::all() {
            let (of, field) = setting.name.split_once('.').unwrap_or(("", setting.name));
            let Some(value) = setting.get(&default).filter(|_| of == section) else {
                continue;
            };
            let about = about
                .get(field)
                .unwrap_or_else(|| panic!("no text above {field}"));
            writeln!(
                out,
                "| `{}` | {} | {} | {about} | {} |",
                setting.name,
                shown(setting, &value),
                setting.takes(),
                code(setting.env),
            )
            .unwrap();
        }
        if section.is_empty() {
            let about = &about["backends"];
            writeln!(
                out,
                "| `backends` | none | see [backends](#backends) | {about} | `EMBERLOG_BACKEND` |"
            )
            .unwrap();
        }
    }
    out = out.replace("\n\n\n", "\n\n");

    out.push_str(
        "\n## Other spellings\n\n| name | takes | the same as | variable |\n|---|---|---|---|\n",
    );
    for setting in Setting::all().iter().filter(|s| s.get(&default).is_none()) {
        let same = match (setting.name, setting.stands_for) {
            (_, Some(option)) => format!("`{option}`"),
            ("traces_sampler", None) => "`sampling_rate` and `parent_based_sampling`".to_owned(),
            ("preset", None) => "several, see [presets](#presets)".to_owned(),
            (_, None) => "what is always so".to_owned(),
        };
        writeln!(
            out,
            "| `{}` | {} | {same} | {} |",
            setting.name,
            setting.takes(),
            code(setting.env)
        )
        .unwrap();
    }

    out.push_str(
        "\n## Backends\n\nIn a file `backend` names one and `backend_config` has its parameters, or \
         `backends` is a list of\nboth, where each may also have a `name` of its own (two of a kind \
         need two), its own\n`buffer_size`, `export_interval` and `retention_age` instead of what \
         holds for all, and `begin`: `start`,\nor `end` for one that gets nothing that was logged \
         before its first start. What a backend is to get\n(`Select`) is said in code. In the \
         environment `EMBERLOG_BACKEND` names one or several\n(`sqlite,otlp`).\n",
    );
    for kind in BackendKind::all() {
        writeln!(out, "\n**`{}`**: {}", kind.name, kind.about).unwrap();
        if !kind.aliases.is_empty() {
            writeln!(out, "Also {}.", code(kind.aliases)).unwrap();
        }
        if kind.parameters.is_empty() {
            continue;
        }
        out.push_str("\n| parameter | also | what it is | variable |\n|---|---|---|---|\n");
        for parameter in kind.parameters {
            let secret = if parameter.secret { " Secret." } else { "" };
            writeln!(
                out,
                "| `{}` | {} | {}{secret} | `{}` |",
                parameter.name,
                code(parameter.aliases),
                parameter.about,
                kind.variable(parameter)
            )
            .unwrap();
        }
    }

    out.push_str("\n## Presets\n\nWhat is set beside a preset counts more than the preset.\n\n| preset | what it sets |\n|---|---|\n");
    for preset in Preset::ALL {
        let config = Config::default().preset(*preset);
        let changed = Setting::all().iter().filter_map(|setting| {
            let value = setting.get(&config)?;
            let before = setting.get(&default)?;
            (value != before).then(|| format!("`{}` {}", setting.name, shown(setting, &value)))
        });
        let changed: Vec<_> = changed.collect();
        writeln!(out, "| `{}` | {} |", preset.as_str(), changed.join(", ")).unwrap();
    }
    out + TAIL
}

#[test]
fn the_configuration_reference_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let made = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/configuration.md is not what the code says: UPDATE=1 cargo test --test config_reference"
    );
}

/// The variables that the text names are those that the table has.
#[test]
fn variables_of_opentelemetry_are_all_told() {
    let read = Setting::all().iter().flat_map(|setting| setting.env);
    for variable in read.filter(|name| name.starts_with("OTEL_")) {
        assert!(TAIL.contains(&format!("`{variable}`")), "{variable}");
    }
}
