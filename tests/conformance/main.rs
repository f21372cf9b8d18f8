//! What every backend must do, checked for each of them.
//!
//! A backend passes by adding a file here with a [`Backend`](backend::Backend) and a line below:
//! `conformance!` for one that answers queries, `conformance_of_writes!` for one that only takes
//! rows, whose `contents` then are what a decoder of its output finds.
//!
//! | file | what |
//! |---|---|
//! | `backend` | what a backend gives the suite, and what a store holds |
//! | `make` | rows to write: of all kinds, awkward ones, traces in pieces |
//! | `writes` | content, restarts, duplicates, pieces |
//! | `answers` | queries against the log's own answers |

// Stores of other processes would be needed on others.
#![cfg(unix)]

mod answers;
mod backend;
mod make;
mod memory;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod writes;

/// One test per promise about what is written.
macro_rules! conformance_of_writes {
    ($fresh:path) => {
        conformance_of_writes!($fresh, writes:
            everything_comes_back_as_it_was
            nothing_is_asked_of_an_empty_batch
            a_restart_anywhere_loses_and_repeats_nothing
            a_batch_given_again_changes_nothing
            a_trace_merges_in_any_order
            a_batch_in_pieces_is_the_batch
            logs_and_instances_stay_apart
        );
    };
    ($fresh:path, $file:ident: $($check:ident)*) => {
        $(#[test]
        fn $check() {
            crate::$file::$check(&|| Box::new($fresh()));
        })*
    };
}

/// The same, and one test per promise about answers.
macro_rules! conformance {
    ($fresh:path) => {
        conformance_of_writes!($fresh);
        conformance_of_writes!($fresh, answers:
            the_log_and_the_store_answer_alike
            rows_of_one_moment_come_in_order
            hostile_filters_find_what_they_say
            times_far_away_are_found
        );
    };
}
use {conformance, conformance_of_writes};
