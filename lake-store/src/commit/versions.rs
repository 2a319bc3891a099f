//! Finds which versions of a table are still there, and when each was written.
//!
//! A log may be a week long: 120,960 entries, if one comes every five seconds, and a store lists a thousand at a time.
//! Only clean-up lists all of them. The first page of a listing tells what a log begins with. The version of a time is
//! found by reading single entries, and the store gives the time of its own clock with each.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use deltalake::kernel::Action;
use deltalake::logstore::{LogStoreRef, commit_uri_from_version};
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::{Code, Table};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use serde_json::Value;

use super::Version;
use super::entry::READS_MAX;
use super::lines::Lines;
use crate::error::{Context, LakeError, Result};

/// Folder of a table's log.
pub(super) const FOLDER: &str = "_delta_log";

/// How far a version's own time may be ahead of when the store took its entry, in milliseconds. It comes from the clock
/// of whoever wrote it, and a clock that is wrong by more must not hide the versions after it. Stores with signed
/// requests refuse clocks that are wrong by as much.
const AHEAD_MAX_MS: i64 = 15 * 60 * 1_000;

/// How many versions before one are searched for a later time. Writers whose clocks differ take turns with a commit
/// every few seconds each, so that their times are in order again after some of them.
const DISORDER_MAX: Version = 64;

/// Files of a table's log.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// Versions that have an entry, in order.
    pub entries: Vec<Version>,
    /// When the store took each of these entries, in milliseconds since 1970, by the store's clock.
    stored_ms: BTreeMap<Version, i64>,
    /// Versions that have a checkpoint, in order.
    pub checkpoints: Vec<Version>,
    /// Version that `_last_checkpoint` tells readers to begin at.
    hint: Option<Version>,
    /// All files that belong to a version, in the order of the versions.
    files: Vec<(Version, Path)>,
}

impl LogFiles {
    pub async fn list(table: Table, log_store: &LogStoreRef) -> Result<Self> {
        let what = || format!("{table}: listing its log");
        let store = log_store.object_store(None);
        let folder = Path::from(FOLDER);
        let mut log = Self::default();
        let mut files = store.list(Some(&folder));
        while let Some(file) = files.try_next().await.while_doing(what)? {
            let Some((version, kind)) = named(&file.location) else { continue };
            match kind {
                Kind::Entry => {
                    log.entries.push(version);
                    log.stored_ms.insert(version, file.last_modified.timestamp_millis());
                }
                Kind::Checkpoint => log.checkpoints.push(version),
                Kind::Other => {}
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

    /// Returns the first version that can be read.
    pub fn first(&self) -> Version {
        readable_from(self.entries.first().copied(), self.checkpoints.first().copied())
    }

    /// Returns the checkpoint to keep so that a version can be read: the last one at or before it, and not after the
    /// one that readers are told to begin at. If there is none, the first version that can be read.
    pub fn retained_from(&self, wanted: Version) -> Version {
        let limit = wanted.min(self.hint.unwrap_or(0));
        let usable = self.checkpoints.iter().rev().find(|checkpoint| **checkpoint <= limit);
        usable.copied().unwrap_or_else(|| self.first())
    }

    /// Returns the first version that has a file.
    pub fn first_file(&self) -> Option<Version> {
        self.files.first().map(|(version, _)| *version)
    }

    /// Returns the latest version that the store had, with all before it, at a time of its own clock; `None` if it had
    /// none. The times that writers give do not count: a writer whose clock is behind would make its versions old at
    /// once.
    pub fn stored_by(&self, time: DateTime<Utc>) -> Option<Version> {
        self.leading(|stored_ms| stored_ms <= time.timestamp_millis())
    }

    /// Returns the last version up to which the times of all entries pass the test.
    fn leading(&self, holds: impl Fn(i64) -> bool) -> Option<Version> {
        self.stored_ms.iter().take_while(|(_, stored_ms)| holds(**stored_ms)).last().map(|(version, _)| *version)
    }

    /// Returns the files of versions before one.
    pub fn before(&self, from: Version) -> Vec<Path> {
        self.files.iter().filter(|(version, _)| *version < from).map(|(_, path)| path.clone()).collect()
    }
}

/// Kinds of files that belong to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Log entry that makes the version.
    Entry,
    /// Checkpoint of the version, or a part of one.
    Checkpoint,
    /// File of the log that is neither an entry nor a checkpoint.
    Other,
}

/// Returns the version and the kind of a file by its name; `None` if it belongs to no version.
fn named(location: &Path) -> Option<(Version, Kind)> {
    let (version, kind) = location.filename()?.split_once('.')?;
    let kind = match kind {
        "json" => Kind::Entry,
        _ if kind.starts_with("checkpoint") => Kind::Checkpoint,
        _ => Kind::Other,
    };
    Some((version.parse().ok()?, kind))
}

/// Returns the first version that can be read, given the first that has an entry and the first that has a checkpoint: a
/// log is readable from version 0, or from a checkpoint.
fn readable_from(entry: Option<Version>, checkpoint: Option<Version>) -> Version {
    match entry {
        Some(0) => 0,
        entry => checkpoint.or(entry).unwrap_or(0),
    }
}

/// The first versions of a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beginning {
    /// First version that has an entry.
    entry: Option<Version>,
    /// First version that has a checkpoint.
    checkpoint: Option<Version>,
    /// First version that can be read and has an entry.
    whole: Option<Version>,
}

impl Beginning {
    /// Lists as much of a log as is needed: if it begins with a checkpoint, up to the entry of that version.
    async fn list(table: Table, log_store: &LogStoreRef) -> Result<Self> {
        let what = || format!("{table}: listing the beginning of its log");
        let (store, folder) = (log_store.object_store(None), Path::from(FOLDER));
        let mut begins = Self::default();
        let mut files = store.list_with_offset(Some(&folder), &folder.clone().join("0"));
        while let Some(file) = files.try_next().await.while_doing(what)? {
            if !is_of_versions(&file.location) || begins.is_known_by(&file.location) {
                break;
            }
        }
        begins.whole = begins.whole.or(begins.entry.filter(|entry| *entry >= begins.first()));
        Ok(begins)
    }

    /// Takes the next file in the order of names. Returns whether no later file matters any more.
    fn is_known_by(&mut self, location: &Path) -> bool {
        match named(location) {
            Some((version, Kind::Entry)) => {
                self.entry = self.entry.or(Some(version));
                let is_whole = version == 0 || self.checkpoint.is_some_and(|checkpoint| version >= checkpoint);
                self.whole = self.whole.or(is_whole.then_some(version));
            }
            Some((version, Kind::Checkpoint)) => self.checkpoint = self.checkpoint.or(Some(version)),
            Some((_, Kind::Other)) | None => {}
        }
        self.whole.is_some()
    }

    /// Returns the first version that can be read.
    fn first(&self) -> Version {
        readable_from(self.entry, self.checkpoint)
    }
}

/// Returns whether a file may belong to a version, or come before one that does in the order of names.
fn is_of_versions(location: &Path) -> bool {
    location.parts().nth(1).is_some_and(|name| name.as_ref().starts_with(|first: char| first.is_ascii_digit()))
}

/// Returns the first version that can be read.
pub(super) async fn first(table: Table, log_store: &LogStoreRef) -> Result<Version> {
    Ok(Beginning::list(table, log_store).await?.first())
}

/// Returns the error for the first of these versions being gone; `None` if it is still there.
pub(super) async fn gone(
    table: Table,
    log_store: &LogStoreRef,
    wanted: RangeInclusive<Version>,
) -> Result<Option<LakeError>> {
    let first = first(table, log_store).await?;
    let (version, newest) = wanted.into_inner();
    let why = || format!("version {version} of {table} is gone; versions {first} to {newest} are still there");
    Ok((version < first).then(|| LakeError::Refused(Code::VersionGone.because(why()))))
}

/// Result of a search for a version by time.
struct VersionFound {
    /// The version, if there is one.
    version: Option<Version>,
    /// When the first version that is still there was written, in milliseconds since 1970, if the search had to look at
    /// it.
    first_ms: Option<i64>,
}

/// Searches for the latest version written at or before a time. The caller says what to do if there is none.
///
/// A version's time is what its commit says, at most [`AHEAD_MAX_MS`] after the store took it, and never before the
/// time of one of the [`DISORDER_MAX`] versions before it, because clocks of several writers differ. So a binary search
/// over version numbers finds the place, and the versions before it are then checked one by one.
///
/// The search reads [`DISORDER_MAX`] entries and one for each halving of the log: 81 in a week of commits every five
/// seconds; and it lists one page. All names are listed only if entries are missing between others.
async fn not_after(
    table: Table,
    log_store: &LogStoreRef,
    newest: Version,
    time: DateTime<Utc>,
) -> Result<VersionFound> {
    let Some(first) = Beginning::list(table, log_store).await?.whole else {
        return Ok(VersionFound { version: None, first_ms: None });
    };
    let mut times = Times { table, log_store, time_ms: time.timestamp_millis(), known: BTreeMap::new() };
    // The numbers that are tried depend on version numbers alone, not on where the log begins or ends by now, so that
    // the answer stays the same as the log grows and old versions expire.
    let mut found = 0;
    for bit in (0..Version::BITS).rev() {
        let next = found | (1 << bit);
        if next <= newest && (next < first || !times.is_later(next).await?) {
            found = next;
        }
    }
    if found <= first && times.is_later(first).await? {
        return Ok(VersionFound { version: None, first_ms: times.of(first).await? });
    }
    // A version after one that is too late is too late as well, even if its own clock says otherwise.
    let before = found.saturating_sub(DISORDER_MAX - 1).max(first)..=found;
    times.read(before.clone()).await?;
    for version in before {
        if times.is_later(version).await? {
            if version == first {
                return Ok(VersionFound { version: None, first_ms: times.of(first).await? });
            }
            found = version - 1;
            break;
        }
    }
    if times.of(found).await?.is_some() {
        return Ok(VersionFound { version: Some(found), first_ms: None });
    }
    // The entry of this version is missing between others: take the last one before it that is there.
    let log = LogFiles::list(table, log_store).await?;
    let there = log.entries.iter().rev().copied().find(|version| (first..=found).contains(version));
    Ok(VersionFound { version: there, first_ms: times.of(first).await? })
}

/// Times of versions, read as far as needed to compare them with the time searched for.
struct Times<'a> {
    table: Table,
    log_store: &'a LogStoreRef,
    time_ms: i64,
    /// Times that were read, in milliseconds since 1970; `None` for a version that has no entry.
    known: BTreeMap<Version, Option<i64>>,
}

impl Times<'_> {
    /// Returns whether a version was written after the time searched for. A version without an entry was not.
    async fn is_later(&mut self, version: Version) -> Result<bool> {
        Ok(self.of(version).await?.is_some_and(|written_ms| written_ms > self.time_ms))
    }

    /// Returns when a version was written; `None` if it has no entry.
    async fn of(&mut self, version: Version) -> Result<Option<i64>> {
        if let Some(known) = self.known.get(&version) {
            return Ok(*known);
        }
        let written_ms = self.written_ms(version).await?;
        self.known.insert(version, written_ms);
        Ok(written_ms)
    }

    /// Reads the times of some versions concurrently.
    async fn read(&mut self, versions: RangeInclusive<Version>) -> Result<()> {
        let unknown: Vec<_> = versions.filter(|version| !self.known.contains_key(version)).collect();
        let this = &*self;
        let read = stream::iter(unknown)
            .map(|version| async move { Ok::<_, LakeError>((version, this.written_ms(version).await?)) })
            .buffered(READS_MAX);
        let read: Vec<_> = read.try_collect().await?;
        self.known.extend(read);
        Ok(())
    }

    /// Reads when a version was written; `None` if it has no entry. If the entry is damaged, or gives no time, the
    /// store's time counts.
    async fn written_ms(&self, version: Version) -> Result<Option<i64>> {
        let what = || format!("{}: reading version {version}", self.table);
        let found = self.log_store.object_store(None).get(&commit_uri_from_version(Some(version))).await;
        if matches!(found, Err(StoreError::NotFound { .. })) {
            return Ok(None);
        }
        let found = found.while_doing(what)?;
        let stored_ms = found.meta.last_modified.timestamp_millis();
        let written_ms = said_ms(&found.bytes().await.while_doing(what)?);
        Ok(Some(written_ms.unwrap_or(stored_ms).min(stored_ms + AHEAD_MAX_MS)))
    }
}

/// Returns the latest version written at or before a time, or an error that says when the log begins.
pub(super) async fn at(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Version> {
    let VersionFound { version, first_ms } = not_after(table, log_store, newest, time).await?;
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let begins = first_ms.and_then(DateTime::from_timestamp_millis).map(text).unwrap_or_default();
    let why = || format!("{table} had no version yet at {}; the first that is there is of {begins}", text(time));
    version.ok_or_else(|| LakeError::Refused(Code::VersionUnknown.because(why())))
}

/// Returns when a version was written, by its own entry.
fn said_ms(entry: &[u8]) -> Option<i64> {
    Lines::parse(entry).ok()?.actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.timestamp,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds these names, in order, to [`Beginning`]. Returns its first version, its first whole one, and how many
    /// names it took.
    fn begins(names: &[&str]) -> (Version, Option<Version>, usize) {
        let mut begins = Beginning::default();
        let is_known = |name: &&str| begins.is_known_by(&Path::from(FOLDER).join(*name));
        let taken = names.iter().position(is_known).map_or(names.len(), |last| last + 1);
        (begins.first(), begins.whole, taken)
    }

    #[test]
    fn the_first_names_of_a_log_tell_where_it_begins() {
        let [json, checkpoint] =
            ["json", "checkpoint.parquet"].map(|kind| move |version: Version| format!("{version:020}.{kind}"));
        let of = |names: &[String]| begins(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of(&[json(0), json(1), json(2)]), (0, Some(0), 1));
        // The state that clean-up leaves behind.
        assert_eq!(of(&[checkpoint(100), json(100), json(101)]), (100, Some(100), 2));
        // Entries before the first checkpoint do not count.
        assert_eq!(of(&[json(98), json(99), checkpoint(100), json(100), json(101)]), (100, Some(100), 4));
        // A checkpoint without its entry is not whole, so the next entry counts.
        assert_eq!(of(&[checkpoint(100), json(101), json(102)]), (100, Some(101), 2));
        assert_eq!(of(&[]), (0, None, 0));
    }
}
