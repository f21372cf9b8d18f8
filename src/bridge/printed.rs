//! Text of values that only know how to print themselves.

use std::{cell::Cell, fmt, fmt::Write as _};

/// Largest buffer that a thread keeps.
const KEPT: usize = 1 << 16;

thread_local! {
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// Runs `use_it` with what `value` prints. The value may come back here: it finds another buffer.
pub(super) fn printed<R>(value: fmt::Arguments<'_>, use_it: impl FnOnce(&str) -> R) -> R {
    let mut text = SCRATCH.try_with(Cell::take).unwrap_or_default();
    text.clear();
    // What a value cannot print is left out.
    let _ = text.write_fmt(value);
    let result = use_it(&text);
    if text.capacity() <= KEPT {
        let _ = SCRATCH.try_with(|scratch| scratch.set(text));
    }
    result
}
