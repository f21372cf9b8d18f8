//! Inputs and outputs of nodes, as far as the configuration wants them: their `Debug` form, cut to
//! a length, or only how long it is.

use std::fmt::{self, Debug, Write};

use crate::{
    api::{ActiveSpan, Capture, DetachedSpan},
    record::{names::Name, wellknown},
};

/// Input or output.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Input,
    Output,
}

/// A span that takes attributes.
pub(super) trait Takes {
    fn text(&mut self, key: Name<'_>, text: &str);
    fn number(&mut self, key: Name<'_>, number: u64);
}

macro_rules! takes {
    ($($ty:ty),*) => {$(
        impl Takes for $ty {
            fn text(&mut self, key: Name<'_>, text: &str) {
                self.set(key, text);
            }

            fn number(&mut self, key: Name<'_>, number: u64) {
                self.set(key, number);
            }
        }
    )*};
}
takes!(ActiveSpan<'_>, DetachedSpan);

impl Capture {
    /// Whether anything is to be done for this side.
    #[inline]
    pub(super) fn wants(self, side: Side) -> bool {
        self.sizes
            || match side {
                Side::Input => self.inputs,
                Side::Output => self.outputs,
            }
    }

    /// Writes what is wanted of `value` into `span`.
    #[cold]
    pub(super) fn write(self, side: Side, value: &(impl Debug + ?Sized), span: &mut impl Takes) {
        let (keep, key, size) = match side {
            Side::Input => (self.inputs, wellknown::INPUTS, wellknown::INPUT_SIZE),
            Side::Output => (self.outputs, wellknown::OUTPUTS, wellknown::OUTPUT_SIZE),
        };
        let mut text = Cut {
            kept: String::new(),
            room: if keep { self.bytes } else { 0 },
            length: 0,
            whole: self.sizes,
        };
        // An error says that there is no room left, or comes from the value itself.
        let _ = write!(text, "{value:?}");
        if keep {
            span.text(Name::of_id(key), &text.kept);
        }
        if self.sizes {
            span.number(Name::of_id(size), text.length);
        }
    }
}

/// The beginning of a text, and how long all of it is.
struct Cut {
    kept: String,
    room: usize,
    length: u64,
    /// Whether all of it is to be measured.
    whole: bool,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.length += text.len() as u64;
        let kept = crate::record::names::cut(text, self.room);
        self.kept.push_str(kept);
        self.room = if kept.len() < text.len() {
            0
        } else {
            self.room - kept.len()
        };
        if self.room == 0 && !self.whole {
            return Err(fmt::Error);
        }
        Ok(())
    }
}
