//! Which versions of a table are still there, and when each was written.
//!
//! A log may be a week long: 120,960 entries, if one comes every five seconds, of which a store lists a thousand at a
//! time. Only who cleans up lists all of them. What a log begins with is in its first page; the version of a time is
//! looked up by entries that are read one by one, and each is told by the store together with when it took it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use deltalake::kernel::Action;
use deltalake::logstore::{LogStoreRef, commit_uri_from_version};
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::Table;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use serde_json::Value;

use super::Version;
use super::entry::READS_MAX;
use super::lines::Lines;
use crate::error::{Context, LakeError, Result};

/// The folder of a table's log.
pub(super) const FOLDER: &str = "_delta_log";

/// How far a version's own time may be ahead of when the store took its entry, in milliseconds. It is the clock of
/// whoever wrote it; one that is wrong by more must not hide the versions after it. Stores with signed requests refuse
/// clocks that are wrong by as much.
const AHEAD_MAX_MS: i64 = 15 * 60 * 1_000;

/// How many versions before one are looked at for a later one: writers whose clocks differ take turns with a commit
/// every few seconds each, so that their times are in order again after some of them.
const DISORDER_MAX: Version = 64;

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

    /// The first version that can be read.
    pub fn first(&self) -> Version {
        readable_from(self.entries.first().copied(), self.checkpoints.first().copied())
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

/// What a file of a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The log entry that makes the version.
    Entry,
    /// A checkpoint of it, or a part of one.
    Checkpoint,
    /// A file of the log that is neither an entry nor a checkpoint.
    Other,
}

/// Which version a file of a log is of, and what it is of it; `None` if it is of none.
fn named(location: &Path) -> Option<(Version, Kind)> {
    let (version, kind) = location.filename()?.split_once('.')?;
    let kind = match kind {
        "json" => Kind::Entry,
        _ if kind.starts_with("checkpoint") => Kind::Checkpoint,
        _ => Kind::Other,
    };
    Some((version.parse().ok()?, kind))
}

/// The first version that can be read, by the first that has an entry and the first that has a checkpoint: from the
/// beginning of a log, or from a checkpoint.
fn readable_from(entry: Option<Version>, checkpoint: Option<Version>) -> Version {
    match entry {
        Some(0) => 0,
        entry => checkpoint.or(entry).unwrap_or(0),
    }
}

/// What a log begins with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beginning {
    /// The first version that has an entry.
    entry: Option<Version>,
    /// The first version that has a checkpoint.
    checkpoint: Option<Version>,
    /// The first version that can be read and has an entry.
    whole: Option<Version>,
}

impl Beginning {
    /// Lists as much of a log as it takes: of one with a checkpoint, up to the entry of that.
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

    /// Takes the next file in the order of names; whether nothing behind it matters any more.
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

    /// The first version that can be read.
    fn first(&self) -> Version {
        readable_from(self.entry, self.checkpoint)
    }
}

/// Whether a file of a log may be of a version, or one that is may be behind it in the order of names.
fn is_of_versions(location: &Path) -> bool {
    location.parts().nth(1).is_some_and(|name| name.as_ref().starts_with(|first: char| first.is_ascii_digit()))
}

/// The first version that can be read.
pub(super) async fn first(table: Table, log_store: &LogStoreRef) -> Result<Version> {
    Ok(Beginning::list(table, log_store).await?.first())
}

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

/// A version that was looked for by its time.
struct Found {
    /// Which one it is, if there is one.
    version: Option<Version>,
    /// When the first one was written that is there, if that had to be looked at.
    first_ms: Option<i64>,
}

/// The latest version that is not younger than a time; to say what there is otherwise is for the caller.
///
/// A version's time is what its commit says, at most [`AHEAD_MAX_MS`] after the store took it, and never before that of
/// one of the [`DISORDER_MAX`] versions before it: clocks of several writers differ. Of a log of any length so many
/// entries are read, and one for each halving of it: 81 of a week of commits every five seconds, and one page is
/// listed. Of a log from which entries are gone between others, all names are listed.
async fn not_after(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Found> {
    let Some(first) = Beginning::list(table, log_store).await?.whole else {
        return Ok(Found { version: None, first_ms: None });
    };
    let mut times = Times { table, log_store, time_ms: time.timestamp_millis(), known: BTreeMap::new() };
    // Which versions are looked at hangs on their numbers alone, so that the answer is the same however long the log
    // has become, and wherever it begins by now.
    let mut found = 0;
    for bit in (0..Version::BITS).rev() {
        let next = found | (1 << bit);
        if next <= newest && (next < first || !times.is_later(next).await?) {
            found = next;
        }
    }
    if found <= first && times.is_later(first).await? {
        return Ok(Found { version: None, first_ms: times.of(first).await? });
    }
    // What came before one that is later was later too.
    let before = found.saturating_sub(DISORDER_MAX - 1).max(first)..=found;
    times.read(before.clone()).await?;
    for version in before {
        if times.is_later(version).await? {
            if version == first {
                return Ok(Found { version: None, first_ms: times.of(first).await? });
            }
            found = version - 1;
            break;
        }
    }
    if times.of(found).await?.is_some() {
        return Ok(Found { version: Some(found), first_ms: None });
    }
    // A version whose entry is gone from between others cannot be read.
    let log = LogFiles::list(table, log_store).await?;
    let there = log.entries.iter().rev().copied().find(|version| (first..=found).contains(version));
    Ok(Found { version: there, first_ms: times.of(first).await? })
}

/// When versions were written, as far as that has to be known to tell those that are later than a time.
struct Times<'a> {
    table: Table,
    log_store: &'a LogStoreRef,
    time_ms: i64,
    /// What was read, in milliseconds since 1970; `None` of a version that has no entry.
    known: BTreeMap<Version, Option<i64>>,
}

impl Times<'_> {
    /// Whether a version is later than the time that is asked for. One that has no entry is not.
    async fn is_later(&mut self, version: Version) -> Result<bool> {
        Ok(self.of(version).await?.is_some_and(|written_ms| written_ms > self.time_ms))
    }

    /// When a version was written; `None` if it has no entry.
    async fn of(&mut self, version: Version) -> Result<Option<i64>> {
        if let Some(known) = self.known.get(&version) {
            return Ok(*known);
        }
        let written_ms = self.written_ms(version).await?;
        self.known.insert(version, written_ms);
        Ok(written_ms)
    }

    /// Reads what is needed of some versions at once.
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

    /// When a version was written; `None` if it has no entry. One that is damaged, or does not say, was when the store
    /// took it.
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

/// The latest version that is not younger than a time, or what there is instead.
pub(super) async fn at(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Version> {
    let Found { version, first_ms } = not_after(table, log_store, newest, time).await?;
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let begins = first_ms.and_then(DateTime::from_timestamp_millis).map(text).unwrap_or_default();
    let why = || format!("{table} had no version yet at {}; the first that is there is of {begins}", text(time));
    version.ok_or_else(|| LakeError::Refused(why()))
}

/// When an entry says that it was written.
fn said_ms(entry: &[u8]) -> Option<i64> {
    Lines::parse(entry).ok()?.actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.timestamp,
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a log of such files begins with, in the order of their names, and how many of them it took to know.
    fn begins(names: &[&str]) -> (Version, Option<Version>, usize) {
        let mut begins = Beginning::default();
        let is_known = |name: &&str| begins.is_known_by(&Path::from(FOLDER).join(*name));
        let taken = names.iter().position(is_known).map_or(names.len(), |last| last + 1);
        (begins.first(), begins.whole, taken)
    }

    #[test]
    fn what_a_log_begins_with_is_known_by_its_first_names() {
        let [json, checkpoint] =
            ["json", "checkpoint.parquet"].map(|kind| move |version: Version| format!("{version:020}.{kind}"));
        let of = |names: &[String]| begins(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of(&[json(0), json(1), json(2)]), (0, Some(0), 1));
        // As clean-up leaves it.
        assert_eq!(of(&[checkpoint(100), json(100), json(101)]), (100, Some(100), 2));
        // Entries before the first checkpoint are of no use any more.
        assert_eq!(of(&[json(98), json(99), checkpoint(100), json(100), json(101)]), (100, Some(100), 4));
        // Nor is a checkpoint without its entry: the next one is.
        assert_eq!(of(&[checkpoint(100), json(101), json(102)]), (100, Some(101), 2));
        assert_eq!(of(&[]), (0, None, 0));
    }
}
