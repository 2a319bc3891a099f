//! Tells a lost file, which the newest version of a table names and its store does not have, from one that a newer
//! version has replaced meanwhile: the first needs somebody to act, the second only another try.

use futures::future::BoxFuture;

use crate::commit::TableLog;
use crate::error::LakeError;
use crate::gone::{Gone, lost};

/// Explains why a file could not be read: refuses a file that is gone although the newest version of its table names
/// it. Any other error is returned as it is.
pub fn or_lost(log: &mut TableLog, error: LakeError) -> BoxFuture<'_, LakeError> {
    Box::pin(async move {
        let Some(path) = Gone::cause_of(&error).map(|gone| gone.path.clone()) else { return error };
        // If the log cannot be read either, it is the store that fails.
        if log.refresh().await.is_err() {
            return error;
        }
        match log.live_files().await {
            Ok(live) if live.iter().any(|file| file.path == path) => {
                let more = format!("though its newest version {} names it", log.version());
                lost(log.table(), path, more)
            }
            _ => error,
        }
    })
}
