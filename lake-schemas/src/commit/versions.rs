//! Which versions of a table are still there, and when each was written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use super::Version;
use super::entry::{self, READS_MAX};
use crate::error::{Context, LakeError, Result};
use crate::table::Table;

/// How far a version's own time may be ahead of when the store took its entry, in milliseconds. It is the clock of
/// whoever wrote it; one that is wrong by more must not hide the versions after it, and those that the store has had
/// for longer need not be read to know that they are not younger than a time. Stores with signed requests refuse clocks
/// that are wrong by as much.
const AHEAD_MAX_MS: i64 = 15 * 60 * 1_000;

/// What a table's log consists of.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// Versions that have an entry, in order.
    pub entries: Vec<Version>,
    /// When the store took each of these entries, in milliseconds since 1970, by the store's clock.
    stored_ms: BTreeMap<Version, i64>,
    /// Versions that have a checkpoint, in order.
    pub checkpoints: Vec<Version>,
    /// The version that readers begin at.
    hint: Option<Version>,
    /// All files that are of a version, in the order of the versions.
    files: Vec<(Version, Path)>,
}

impl LogFiles {
    pub async fn list(table: Table, log_store: &LogStoreRef) -> Result<Self> {
        let what = || format!("{table}: listing its log");
        let store = log_store.object_store(None);
        let folder = Path::from("_delta_log");
        let mut log = Self::default();
        let mut files = store.list(Some(&folder));
        while let Some(file) = files.try_next().await.while_doing(what)? {
            let name = file.location.filename().unwrap_or_default();
            let Some((version, kind)) = name.split_once('.') else { continue };
            let Ok(version) = version.parse::<Version>() else { continue };
            match kind {
                "json" => {
                    log.entries.push(version);
                    log.stored_ms.insert(version, file.last_modified.timestamp_millis());
                }
                _ if kind.starts_with("checkpoint") => log.checkpoints.push(version),
                _ => {}
            }
            log.files.push((version, file.location));
        }
        log.entries.sort_unstable();
        log.checkpoints.sort_unstable();
        log.files.sort_unstable();
        if let Ok(hint) = store.get(&folder.join("_last_checkpoint")).await {
            let hint: Option<Value> = serde_json::from_slice(&hint.bytes().await.while_doing(what)?).ok();
            log.hint = hint.and_then(|hint| hint["version"].as_u64());
        }
        Ok(log)
    }

    /// The first version that can be read: from its beginning, or from a checkpoint.
    pub fn first(&self) -> Version {
        match self.entries.first() {
            Some(0) => 0,
            entry => self.checkpoints.first().or(entry).copied().unwrap_or(0),
        }
    }

    /// The checkpoint from which on a version can be read, and which no reader is told to begin before; the first
    /// version, if there is none.
    pub fn kept_from(&self, wanted: Version) -> Version {
        let limit = wanted.min(self.hint.unwrap_or(0));
        let usable = self.checkpoints.iter().rev().find(|checkpoint| **checkpoint <= limit);
        usable.copied().unwrap_or_else(|| self.first())
    }

    /// The first version that has a file.
    pub fn first_file(&self) -> Option<Version> {
        self.files.first().map(|(version, _)| *version)
    }

    /// The latest version that the store had, with all before it, at a time of its own clock; `None` if it had none.
    /// What writers say of the time does not count: one whose clock is behind would make its versions old at once.
    pub fn stored_by(&self, time: DateTime<Utc>) -> Option<Version> {
        self.leading(|stored_ms| stored_ms <= time.timestamp_millis())
    }

    /// The last of the leading versions of which that holds for when the store took them.
    fn leading(&self, holds: impl Fn(i64) -> bool) -> Option<Version> {
        self.stored_ms.iter().take_while(|(_, stored_ms)| holds(**stored_ms)).last().map(|(version, _)| *version)
    }

    /// The files of versions before one.
    pub fn before(&self, from: Version) -> Vec<Path> {
        self.files.iter().filter(|(version, _)| *version < from).map(|(_, path)| path.clone()).collect()
    }
}

/// That the first of these versions is gone, if it is.
pub(super) async fn gone(
    table: Table,
    log_store: &LogStoreRef,
    wanted: RangeInclusive<Version>,
) -> Result<Option<LakeError>> {
    let first = LogFiles::list(table, log_store).await?.first();
    let (version, newest) = wanted.into_inner();
    let why = || format!("version {version} of {table} is gone; versions {first} to {newest} are still there");
    Ok((version < first).then(|| LakeError::Refused(why())))
}

/// A version that was looked for by its time.
struct Found {
    /// Which one it is, if there is one.
    version: Option<Version>,
    /// When the first one was written that is there.
    first_ms: Option<i64>,
}

/// The latest version that is not younger than a time; to say what there is otherwise is for the caller.
///
/// A version's time is what its commit says, at most [`AHEAD_MAX_MS`] after the store took it, and never before that of
/// the version before it: clocks of several writers differ. Entries that the store has had for that long before the
/// time asked for are not read; what is read is a few minutes of commits.
async fn not_after(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Found> {
    let (log, time_ms) = (LogFiles::list(table, log_store).await?, time.timestamp_millis());
    let passed = log.leading(|stored_ms| stored_ms + AHEAD_MAX_MS <= time_ms).map(|version| version.min(newest));
    let begin = passed.map_or(log.first(), |version| version + 1);
    let mut times = stream::iter(begin..=newest)
        .map(|version| async move { Ok::<_, LakeError>((version, written_ms(table, log_store, version).await?)) })
        .buffered(READS_MAX);
    let mut found = Found { version: passed, first_ms: None };
    while let Some((version, written_ms)) = times.try_next().await? {
        // What a checkpoint has replaced may be gone; the version after it is a moment younger.
        let Some(written_ms) = written_ms else { continue };
        let latest_ms = log.stored_ms.get(&version).map_or(i64::MAX, |stored_ms| stored_ms + AHEAD_MAX_MS);
        let written_ms = written_ms.min(latest_ms);
        found.first_ms.get_or_insert(written_ms);
        if written_ms > time_ms {
            break;
        }
        found.version = Some(version);
    }
    Ok(found)
}

/// The latest version that is not younger than a time, or what there is instead.
pub(super) async fn at(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Version> {
    let Found { version, first_ms } = not_after(table, log_store, newest, time).await?;
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let begins = first_ms.and_then(DateTime::from_timestamp_millis).map(text).unwrap_or_default();
    let why = || format!("{table} had no version yet at {}; the first that is there is of {begins}", text(time));
    version.ok_or_else(|| LakeError::Refused(why()))
}

/// When a version was written; `None` if its entry is gone, or damaged.
async fn written_ms(table: Table, log_store: &LogStoreRef, version: Version) -> Result<Option<i64>> {
    let Some(lines) = entry::read_if_whole(table, log_store.as_ref(), version).await? else { return Ok(None) };
    Ok(lines.actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.timestamp,
        _ => None,
    }))
}
