//! A partition for each day, made before the first row of that day comes.

use ahash::AHashSet;

use super::{
    error::PostgresError,
    link::Link,
    schema::{Names, Table, TABLES},
};
use crate::{backend::Row, clock::unix_now};

/// Nanoseconds of a day.
pub(super) const DAY_NS: i64 = 86_400_000_000_000;
/// Days before and after today that get a partition; the rest of time shares one.
const AROUND: std::ops::RangeInclusive<i64> = -400..=2;

/// Days that have their partitions.
#[derive(Debug, Default)]
pub(super) struct Days(AHashSet<i64>);

/// `20260131` of days since 1970.
pub(super) fn date(day: i64) -> String {
    // Days of eras of 400 years that begin in March: leap days come last.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}{month:02}{of_month:02}", era * 400 + year + carry)
}

/// The name of the partition of a day.
pub(super) fn name(names: &Names, table: &Table, day: i64) -> String {
    format!("{}_{}", names.bare(table), date(day))
}

impl Days {
    /// Makes the partitions that these rows need.
    pub(super) fn make(
        &mut self,
        link: &mut Link,
        names: &Names,
        rows: &[Row],
    ) -> Result<(), PostgresError> {
        let tables: Vec<_> = TABLES.iter().filter(|t| names.is_partitioned(t)).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let today = unix_now().div_euclid(DAY_NS);
        for row in rows {
            let ns = match row {
                Row::Span(span) => span.start_ns,
                Row::Event(event) => event.timestamp_ns,
                Row::Metric(metric) => metric.timestamp_ns,
                Row::Link(link) => link.timestamp_ns,
                Row::TraceBegan(_) | Row::TraceEnded(_) => continue,
            };
            let day = ns.div_euclid(DAY_NS);
            if !AROUND.contains(&(day - today)) || self.0.contains(&day) {
                continue;
            }
            // What is derived from a span comes at its end, which may be the next day.
            for day in [day, day + 1] {
                for table in &tables {
                    create(link, names, table, day)?;
                }
                self.0.insert(day);
            }
        }
        Ok(())
    }
}

fn create(link: &mut Link, names: &Names, table: &Table, day: i64) -> Result<(), PostgresError> {
    let partition = names.named(&name(names, table, day));
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {partition} PARTITION OF {} FOR VALUES FROM ('{}') TO ('{}')",
        names.table(table),
        date(day),
        date(day + 1)
    );
    match link.batch(&sql) {
        // Another process was faster, or rows of that day are in the partition of the rest already.
        Err(error) if error.is_code(&["42P07", "23514", "42P17", "23505"]) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_of_days() {
        for (day, wanted) in [
            (0, "19700101"),
            (-1, "19691231"),
            (11_016, "20000229"),
            (11_017, "20000301"),
            (20_454, "20260101"),
            (-25_567, "19000101"),
            (84_006, "22000101"),
        ] {
            assert_eq!(date(day), wanted, "{day}");
        }
    }
}
