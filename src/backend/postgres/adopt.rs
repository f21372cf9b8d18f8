//! Making the tables what they must be: created where there are none, completed where somebody
//! created the documented ones, refused where they are something else.
//!
//! Always true:
//! - nothing is changed before everything that is there was found acceptable
//! - columns are added or widened, never removed, narrowed or given another meaning
//! - several processes may do this at once; a user without the right to create anything may use
//!   tables that are complete

use std::collections::HashMap;

use super::{
    error::PostgresError,
    link::Link,
    options::{Options, Partitions},
    schema::{quoted, Names, Table, SCHEMA, SPANS, TABLES, VERSION},
};

/// Whoever changes tables holds this lock of the database.
const LOCK: i64 = 0x454d_4252_4c4f_4731;

/// A column that is there.
struct Found {
    sql: String,
    required: bool,
    filled: bool,
}

/// A table that is there.
#[derive(Default)]
struct There {
    kind: String,
    columns: HashMap<String, Found>,
    /// Columns of its unique keys.
    keys: Vec<Vec<String>>,
}

/// Makes sure that all tables are there and can be written to.
pub(super) fn for_writing(link: &mut Link, options: &Options) -> Result<Names, PostgresError> {
    let mut names = find(link, options)?;
    if missing(link, &names)?.is_empty() {
        return Ok(names);
    }
    link.batch("BEGIN")?;
    let done = (|| {
        link.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        // Another process may have been faster.
        names = find(link, options)?;
        let statements = missing(link, &names)?;
        for statement in statements {
            link.batch(&statement)?;
        }
        link.batch("COMMIT")
    })();
    if let Err(error) = done {
        if !link.is_broken() {
            link.batch("ROLLBACK")?;
        }
        return Err(error);
    }
    Ok(names)
}

/// What the tables are called; changes nothing. They must be complete.
pub(super) fn for_reading(link: &mut Link, options: &Options) -> Result<Names, PostgresError> {
    let names = find(link, options)?;
    match missing(link, &names)?.is_empty() {
        true => Ok(names),
        false => Err(refused(
            link,
            format!(
                "the tables in schema {:?} are not there or lack columns; a backend that writes \
                 creates them",
                names.schema
            ),
        )),
    }
}

fn refused(link: &Link, problem: String) -> PostgresError {
    PostgresError::Schema {
        place: link.place().to_owned(),
        problem,
    }
}

fn find(link: &mut Link, options: &Options) -> Result<Names, PostgresError> {
    let sql = "SELECT current_schema()::text, current_setting('server_encoding')";
    let rows = link.query(sql, &[])?;
    let schema = rows.first().and_then(|row| row.get::<_, Option<String>>(0));
    let Some(schema) = schema else {
        let wanted = options.schema.as_deref().unwrap_or("of the search_path");
        return Err(refused(link, format!("there is no schema {wanted}")));
    };
    let encoding: String = rows[0].get(1);
    if encoding != "UTF8" {
        let problem = format!("the database has encoding {encoding}, UTF8 is needed");
        return Err(refused(link, problem));
    }
    let mut names = Names {
        schema,
        prefix: options.table_prefix.clone(),
        partitions: options.partitions,
    };
    // Tables that exist stay as they are.
    if let Some(spans) = there(link, &names)?.get(&names.bare(&SPANS)) {
        names.partitions = layout(spans);
    }
    Ok(names)
}

fn layout(spans: &There) -> Partitions {
    match spans.kind.as_str() {
        "p" => Partitions::Daily,
        _ => Partitions::None,
    }
}

/// The statements that are needed.
fn missing(link: &mut Link, names: &Names) -> Result<Vec<String>, PostgresError> {
    let tables = there(link, names)?;
    if tables.contains_key(&names.bare(&SCHEMA)) {
        let sql = format!("SELECT max(version) FROM {}", names.table(&SCHEMA));
        let rows = link.query(&sql, &[])?;
        let found: Option<i32> = rows.first().and_then(|row| row.get(0));
        if let Some(found) = found.filter(|found| *found > VERSION) {
            let problem = format!("schema {found}, this build knows up to {VERSION}");
            return Err(refused(link, problem));
        }
    }
    let mut statements = Vec::new();
    for table in TABLES {
        match tables.get(&names.bare(table)) {
            None => statements.push(names.create(table)),
            Some(there) => {
                let complete = complete(names, table, there);
                statements.extend(complete.map_err(|problem| refused(link, problem))?);
            }
        }
    }
    let indexes = indexes(link, names)?;
    for table in TABLES {
        for (name, on) in table.indexes {
            let name = names.index(name);
            if !indexes.contains(&name) {
                let (name, table) = (quoted(&name), names.table(table));
                statements.push(format!("CREATE INDEX {name} ON {table} {on}"));
            }
        }
    }
    if !tables.contains_key(&names.bare(&SCHEMA)) {
        let table = names.table(&SCHEMA);
        statements.push(format!("INSERT INTO {table} VALUES ({VERSION})"));
    }
    Ok(statements)
}

fn there(link: &mut Link, names: &Names) -> Result<HashMap<String, There>, PostgresError> {
    let wanted: Vec<String> = TABLES.iter().map(|table| names.bare(table)).collect();
    let columns = link.query(
        "SELECT c.relname::text, c.relkind::text, a.attname::text, \
            format_type(a.atttypid, a.atttypmod), a.attnotnull, \
            a.atthasdef OR a.attidentity <> '' \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE n.nspname::text = $1 AND c.relname::text = ANY($2)",
        &[&names.schema, &wanted],
    )?;
    let mut tables: HashMap<String, There> = HashMap::new();
    for row in columns {
        let table = tables.entry(row.get(0)).or_default();
        table.kind = row.get(1);
        if let Some(name) = row.get::<_, Option<String>>(2) {
            let found = Found {
                sql: row.get(3),
                required: row.get(4),
                filled: row.get(5),
            };
            table.columns.insert(name, found);
        }
    }
    let keys = link.query(
        "SELECT c.relname::text, array_agg(a.attname::text) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) \
         WHERE n.nspname::text = $1 AND c.relname::text = ANY($2) AND i.indisunique \
            AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
         GROUP BY c.relname, i.indexrelid",
        &[&names.schema, &wanted],
    )?;
    for row in keys {
        if let Some(table) = tables.get_mut(&row.get::<_, String>(0)) {
            table.keys.push(row.get(1));
        }
    }
    Ok(tables)
}

fn indexes(link: &mut Link, names: &Names) -> Result<Vec<String>, PostgresError> {
    let rows = link.query(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname::text = $1 AND c.relkind IN ('i', 'I')",
        &[&names.schema],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether a column can be made one of another type without losing anything, and how.
fn widening(name: &str, from: &str, to: &str) -> Option<String> {
    let name = quoted(name);
    let fits = match to {
        "character varying" => from.starts_with("character varying("),
        "timestamp with time zone" => {
            from.starts_with("timestamp(") && from.ends_with("with time zone")
        }
        "double precision" => from == "real",
        "bigint" => matches!(from, "integer" | "smallint"),
        "integer" => from == "smallint",
        "jsonb" => from == "json",
        "numeric" => from.starts_with("numeric("),
        _ => false,
    };
    fits.then(|| format!("ALTER COLUMN {name} TYPE {to} USING {name}::{to}"))
}

/// What a table that is there needs; the problem if it cannot be ours.
fn complete(names: &Names, table: &Table, there: &There) -> Result<Option<String>, String> {
    let bare = names.bare(table);
    if !matches!(there.kind.as_str(), "r" | "p") {
        return Err(format!("{bare:?} is no table"));
    }
    let mut changes = Vec::new();
    let names = Names {
        partitions: layout(there),
        ..names.clone()
    };
    let key = names.key(table);
    for column in table.columns {
        // An identity is more than a type.
        let sql = column.sql.split(" GENERATED").next().unwrap_or(column.sql);
        let Some(found) = there.columns.get(column.name) else {
            if key.contains(&column.name) {
                return Err(format!("table {bare:?} has no column {:?}", column.name));
            }
            changes.push(format!("ADD COLUMN {} {}", quoted(column.name), column.sql));
            continue;
        };
        let same = found.sql == sql || sql == "character varying" && found.sql == "text";
        if !same {
            let Some(change) = widening(column.name, &found.sql, sql) else {
                return Err(format!(
                    "column {:?} of table {bare:?} is {}, it must be {sql}; give telemetry a \
                     schema or a table_prefix of its own",
                    column.name, found.sql
                ));
            };
            changes.push(change);
        }
        if found.required && !found.filled && !key.contains(&column.name) {
            changes.push(format!(
                "ALTER COLUMN {} DROP NOT NULL",
                quoted(column.name)
            ));
        }
    }
    for (name, found) in &there.columns {
        let ours = table.columns.iter().any(|column| column.name == name);
        if !ours && found.required && !found.filled {
            return Err(format!(
                "column {name:?} of table {bare:?} is not ours and must not be null"
            ));
        }
    }
    let has_key = |columns: &Vec<String>| {
        columns.len() == key.len() && key.iter().all(|name| columns.iter().any(|c| c == name))
    };
    if !there.keys.iter().any(has_key) {
        return Err(format!(
            "table {bare:?} has no unique key on ({})",
            key.join(", ")
        ));
    }
    let alter = format!("ALTER TABLE {} {}", names.table(table), changes.join(", "));
    Ok((!changes.is_empty()).then_some(alter))
}
