//! Memory of rows that were used, for rows to come: what costs most about a row is to allocate and
//! free its texts.

use crate::{backend::Row, model::AttributeMap};

/// Rows of which the memory is kept.
const KEPT: usize = 16_384;
/// Most bytes that the texts of one row may take, or its memory is given back.
const SMALL: usize = 512;

/// What of a row lies in memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) name: String,
    pub(crate) attributes: AttributeMap,
}

/// The memory of rows that were used.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Texts>);

impl Spare {
    /// Memory for a row; what it says is of no meaning.
    #[inline]
    pub(crate) fn take(&mut self) -> Texts {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps the memory of rows.
    pub(crate) fn keep(&mut self, rows: &mut Vec<Row>) {
        for row in rows.drain(..) {
            if self.0.len() >= KEPT {
                continue;
            }
            let (name, attributes) = match row {
                Row::Span(row) => (row.name, row.attributes),
                Row::Event(row) => (row.name, row.attributes),
                Row::Metric(row) => (row.name, row.attributes),
                Row::TraceBegan(_) | Row::TraceEnded(_) | Row::Link(_) => continue,
            };
            if name.capacity().saturating_add(attributes.capacity()) <= SMALL {
                self.0.push(Texts { name, attributes });
            }
        }
    }
}
