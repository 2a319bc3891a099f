//! Tells a lost file, which the newest version of a table names and its store does not have, from one that a newer
//! version has replaced meanwhile: the first needs somebody to act, the second only another try.

use std::error::Error;

use futures::future::BoxFuture;
use lake_schemas::Table;

use crate::commit::TableLog;
use crate::error::LakeError;
use crate::stored_file::way_out;

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
}

/// Returns the file whose absence is the cause of an error, if that is the cause.
pub fn gone(error: &LakeError) -> Option<&Gone> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// Explains why a file could not be read: refuses a file that is gone although the newest version of its table names
/// it. Any other error is returned as it is.
pub fn or_lost(log: &mut TableLog, error: LakeError) -> BoxFuture<'_, LakeError> {
    Box::pin(async move {
        let Some(path) = gone(&error).map(|gone| gone.path.clone()) else { return error };
        // If the log cannot be read either, it is the store that fails.
        if log.refresh().await.is_err() {
            return error;
        }
        match log.live_files().await {
            Ok(live) if live.iter().any(|file| file.path == path) => {
                let (table, version) = (log.table(), log.version());
                let names = format!("its file {path}, which its newest version {version} names, is not there");
                LakeError::Refused(format!("{table}: {names}; {}", way_out(table)))
            }
            _ => error,
        }
    })
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
        assert_eq!(gone(&lost).map(|gone| gone.path.as_str()), Some("a.parquet"));
        assert!(gone(&lost).expect("it is").to_string().contains("backfill --into"));
        assert!(lost.is_retryable(), "a newer version may have replaced it");
        assert!(gone(&reading("<Code>NoSuchBucket</Code>")).is_none(), "its advice is another");
        assert!(gone(&LakeError::store("clicks_minute: reading a.parquet", "it is down")).is_none());
    }
}
