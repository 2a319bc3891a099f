//! The cause of an error for a data file that is not in its store, the refusal of one that is lost, and how the table
//! of a damaged or lost file is repaired. Whether a file that is gone is lost, [`crate::lost`] tells.

use std::error::Error;
use std::fmt::Display;

use lake_schemas::{Code, Table};

use crate::error::LakeError;

/// A data file that is not in its store.
#[derive(Debug, thiserror::Error)]
#[error("it is not there; unless a newer version has replaced it, {way_out}")]
pub struct Gone {
    /// Path of the file, as the log of its table writes it.
    pub path: String,
    /// How the table of the file is repaired.
    way_out: &'static str,
    /// Error of the store.
    source: Box<dyn Error + Send + Sync>,
}

impl Gone {
    /// Makes the cause of an error for a file of a table, from the error of its store.
    pub fn new(table: Table, path: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { path: path.to_owned(), way_out: way_out(table), source: source.into() }
    }

    /// Returns the file whose absence is the cause of an error, if that is the cause.
    pub fn cause_of(error: &LakeError) -> Option<&Self> {
        let first: &(dyn Error + 'static) = error;
        std::iter::successors(Some(first), |&error| error.source()).find_map(|error| error.downcast_ref())
    }
}

/// Refuses a file that is lost: the table needs it, and its store does not have it. `more` says why it is needed, or
/// what comes of it.
pub fn lost(table: Table, path: impl Display, more: impl Display) -> LakeError {
    let why = format!("{table}: its file {path} is not there, {more}; {}", way_out(table));
    LakeError::Refused(Code::FileDamaged.because(why))
}

/// Returns how a table with a damaged or lost file is repaired.
pub fn way_out(table: Table) -> &'static str {
    match table {
        Table::Clicks | Table::ClicksRejected => "put back a copy of it, which a bucket with versions has",
        Table::ClicksMinute | Table::Staging(_) => {
            "put back a copy of it, or count again: `clicklake backfill --into` another table, then `clicklake \
             promote` it"
        }
        Table::ClicksHourly | Table::ClicksDaily => {
            "put back a copy of it, or remove the folder of the table: `clicklake compact` makes it again"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_is_found_behind_its_error_and_a_bucket_that_is_gone_is_not_one() {
        let reading = |said: &'static str| {
            let source = object_store::Error::NotFound { path: "a.parquet".to_owned(), source: said.into() };
            let gone = Gone::new(Table::ClicksMinute, "a.parquet", source);
            LakeError::store("clicks_minute: reading a.parquet", gone)
        };
        let lost = reading("No such file or directory");
        assert_eq!(Gone::cause_of(&lost).map(|gone| gone.path.as_str()), Some("a.parquet"));
        assert!(Gone::cause_of(&lost).expect("it is").to_string().contains("backfill --into"));
        assert!(lost.is_retryable(), "a newer version may have replaced it");
        assert!(Gone::cause_of(&reading("<Code>NoSuchBucket</Code>")).is_none(), "its advice is another");
        assert!(Gone::cause_of(&LakeError::store("clicks_minute: reading a.parquet", "it is down")).is_none());
    }

    #[test]
    fn a_file_that_is_lost_is_named_with_what_comes_of_it_and_what_to_do() {
        for table in Table::ALL {
            let said = lost(table, "a.parquet", "so nothing was promoted");
            assert_eq!(said.code(), Some(Code::FileDamaged));
            let way_out = way_out(table);
            let whole = format!("{table}: its file a.parquet is not there, so nothing was promoted; {way_out}");
            assert_eq!(said.to_string(), whole);
        }
    }
}
