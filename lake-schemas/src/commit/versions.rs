//! Which versions of a table are still there, and when each was written.

use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use deltalake::kernel::Action;
use deltalake::logstore::{LogStoreRef, get_actions};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::Version;
use crate::error::{Context, LakeError, Result};
use crate::table::Table;

/// Entries that are read at once.
const READS_MAX: usize = 64;

/// That the first of these versions is gone, if it is.
pub(super) async fn gone(
    table: Table,
    log_store: &LogStoreRef,
    wanted: RangeInclusive<Version>,
) -> Result<Option<LakeError>> {
    let first = first(table, log_store).await?;
    let (version, newest) = wanted.into_inner();
    let why = || format!("version {version} of {table} is gone; versions {first} to {newest} are still there");
    Ok((version < first).then(|| LakeError::Refused(why())))
}

/// The latest version that is not younger than a time. A version's time is what its commit says, but never before that
/// of the version before it: clocks of several writers differ.
pub(super) async fn at(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Version> {
    let first = first(table, log_store).await?;
    let mut times = stream::iter(first..=newest)
        .map(|version| async move { Ok::<_, LakeError>((version, written_ms(table, log_store, version).await?)) })
        .buffered(READS_MAX);
    let (mut found, mut first_ms) = (None, None);
    while let Some((version, written_ms)) = times.try_next().await? {
        // What a checkpoint has replaced may be gone; the version after it is a moment younger.
        let Some(written_ms) = written_ms else { continue };
        first_ms.get_or_insert(written_ms);
        if written_ms > time.timestamp_millis() {
            break;
        }
        found = Some(version);
    }
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let begins = first_ms.and_then(DateTime::from_timestamp_millis).map(text).unwrap_or_default();
    let why = || format!("{table} had no version yet at {}; the first that is there is of {begins}", text(time));
    found.ok_or_else(|| LakeError::Refused(why()))
}

/// When a version was written; `None` if its entry is gone.
async fn written_ms(table: Table, log_store: &LogStoreRef, version: Version) -> Result<Option<i64>> {
    let what = || format!("{table}: reading version {version}");
    let Some(bytes) = log_store.read_commit_entry(version).await.while_doing(what)? else { return Ok(None) };
    let actions = get_actions(version, &bytes).while_doing(what)?;
    Ok(actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.timestamp,
        _ => None,
    }))
}

/// The first version that can be read: from its beginning, or from a checkpoint.
async fn first(table: Table, log_store: &LogStoreRef) -> Result<Version> {
    let what = || format!("{table}: listing its log");
    let (mut entry, mut checkpoint) = (None, None);
    let store = log_store.object_store(None);
    let mut files = store.list(Some(&Path::from("_delta_log")));
    while let Some(file) = files.try_next().await.while_doing(what)? {
        let name = file.location.filename().unwrap_or_default();
        let Some((version, kind)) = name.split_once('.') else { continue };
        let Ok(version) = version.parse::<Version>() else { continue };
        let first: &mut Option<Version> = match kind {
            "json" => &mut entry,
            _ if kind.starts_with("checkpoint") => &mut checkpoint,
            _ => continue,
        };
        *first = Some(first.map_or(version, |first| first.min(version)));
    }
    Ok(if entry == Some(0) { 0 } else { checkpoint.or(entry).unwrap_or(0) })
}
