//! Why a database is not used, and what follows from it for the batch.

use std::{error::Error, time::Duration};

use super::options::OptionsError;
use crate::backend::SinkError;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The options contradict themselves.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Certificates or keys cannot be used.
    #[error("{what}: {source}")]
    Tls {
        /// Which file, or what of it.
        what: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("{place}: no answer to {what} within {within:?}")]
    Timeout {
        /// Server and database.
        place: String,
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// The tables are not ours and cannot become ours.
    #[error("{place}: {problem}")]
    Schema {
        /// Server and database.
        place: String,
        /// What is wrong, with which table and column.
        problem: String,
    },
    /// A row that no row of a table can be made of.
    #[error("{0}")]
    Content(String),
    /// A trace was deleted between two statements.
    #[error("{place}: a trace was deleted meanwhile")]
    Changed {
        /// Server and database.
        place: String,
    },
    /// All connections were in use, or none could be made.
    #[error("{place}: {problem}")]
    Pool {
        /// Server and database.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// What the server or the network says.
    #[error("{place}: {}", describe(source))]
    Server {
        /// Server and database.
        place: String,
        /// What was said.
        source: tokio_postgres::Error,
    },
}

/// The server's own words with its code; else what went wrong on the way, each thing once.
fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
        for (what, name) in [("table", db.table()), ("column", db.column())] {
            if let Some(name) = name {
                text.push_str(&format!(", {what} {name}"));
            }
        }
        return text;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// What becomes of what was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry,
    Content,
    Refused,
}

/// Whose fault a code of the server is. The first two characters are its class.
fn verdict_of(code: &str) -> Verdict {
    match (&code[..code.len().min(2)], code) {
        // A trace that retention deleted between two statements: its row comes again.
        (_, "23503") => Verdict::Retry,
        // The table changed under a prepared statement, or a standby became what it is.
        (_, "25006" | "0A000") => Verdict::Retry,
        ("21" | "22" | "23" | "54", _) => Verdict::Content,
        // Credentials, rights, names of databases, schemas, tables and columns.
        ("28" | "3D" | "3F" | "42", _) => Verdict::Refused,
        // Everything else passes: connections, locks, resources, shutdowns, disks.
        _ => Verdict::Retry,
    }
}

/// Whether a certificate was the reason that there is no connection.
fn is_about_trust(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            use rustls::{AlertDescription as Alert, Error as E};
            return matches!(
                tls,
                E::InvalidCertificate(_)
                    | E::NoCertificatesPresented
                    | E::AlertReceived(
                        Alert::BadCertificate
                            | Alert::CertificateExpired
                            | Alert::CertificateRequired
                            | Alert::CertificateRevoked
                            | Alert::CertificateUnknown
                            | Alert::UnknownCA
                            | Alert::UnsupportedCertificate
                    )
            );
        }
        if error.to_string().contains("server does not support TLS") {
            return true;
        }
        // An input error of its own type hides what it wraps from `source`.
        let inner = error.downcast_ref::<std::io::Error>();
        source = match inner.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

impl PostgresError {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Options(_) | Self::Schema { .. } | Self::Tls { .. } => Verdict::Refused,
            Self::Timeout { .. } | Self::Pool { .. } | Self::Changed { .. } => Verdict::Retry,
            Self::Content(_) => Verdict::Content,
            Self::Server { source, .. } => match source.code() {
                Some(code) => verdict_of(code.code()),
                None if is_about_trust(source) => Verdict::Refused,
                // A method of authentication that there is not, or no password to give.
                None if source.to_string().starts_with("authentication error") => Verdict::Refused,
                None if source.to_string().starts_with("invalid configuration") => Verdict::Refused,
                None => Verdict::Retry,
            },
        }
    }

    /// Whether the server said one of these codes.
    pub(super) fn is_code(&self, codes: &[&str]) -> bool {
        match self {
            Self::Server { source, .. } => source
                .code()
                .is_some_and(|code| codes.contains(&code.code())),
            _ => false,
        }
    }
}

impl From<PostgresError> for SinkError {
    fn from(error: PostgresError) -> Self {
        match error.verdict() {
            Verdict::Retry => Self::Retry(error.into()),
            Verdict::Content => Self::Content(error.into()),
            Verdict::Refused => Self::Refused(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_code_has_its_verdict() {
        use Verdict::{Content, Refused, Retry};
        for (code, wanted) in [
            ("08006", Retry),
            ("22021", Content),
            ("22P02", Content),
            ("23502", Content),
            ("23503", Retry),
            ("23505", Content),
            ("25006", Retry),
            ("25P03", Retry),
            ("28P01", Refused),
            ("28000", Refused),
            ("3D000", Refused),
            ("3F000", Refused),
            ("40001", Retry),
            ("40P01", Retry),
            ("42501", Refused),
            ("42P01", Refused),
            ("53100", Retry),
            ("53300", Retry),
            ("54000", Content),
            ("55P03", Retry),
            ("57014", Retry),
            ("57P01", Retry),
            ("57P03", Retry),
            ("58030", Retry),
            ("XX001", Retry),
            ("", Retry),
        ] {
            assert_eq!(verdict_of(code), wanted, "{code}");
        }
    }
}
