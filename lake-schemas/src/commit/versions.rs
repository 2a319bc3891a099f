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
    /// When the first one was written that is there, if that had to be looked at.
    first_ms: Option<i64>,
}

/// The latest version that is not younger than a time; to say what there is otherwise is for the caller.
///
/// A version's time is what its commit says, at most [`AHEAD_MAX_MS`] after the store took it, and never before that of
/// one of the [`DISORDER_MAX`] versions before it: clocks of several writers differ. Of a log of any length so many
/// entries are read, and one for each halving of it: those alone that the store has not had for long at that time.
async fn not_after(table: Table, log_store: &LogStoreRef, newest: Version, time: DateTime<Utc>) -> Result<Found> {
    let log = LogFiles::list(table, log_store).await?;
    let Some(first) = log.entries.iter().copied().find(|version| *version >= log.first()) else {
        return Ok(Found { version: None, first_ms: None });
    };
    let mut times = Times { table, log_store, log: &log, time_ms: time.timestamp_millis(), known: BTreeMap::new() };
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
        return Ok(Found { version: None, first_ms: times.known.get(&first).copied() });
    }
    // What came before one that is later was later too.
    let before = found.saturating_sub(DISORDER_MAX - 1).max(first)..=found;
    times.read(before.clone()).await?;
    for version in before {
        if times.is_later(version).await? {
            if version == first {
                return Ok(Found { version: None, first_ms: times.known.get(&first).copied() });
            }
            found = version - 1;
            break;
        }
    }
    // A version whose entry is gone from between others cannot be read.
    let there = log.entries.iter().rev().copied().find(|version| (first..=found).contains(version));
    Ok(Found { version: there, first_ms: times.known.get(&first).copied() })
}

/// When versions were written, as far as that has to be known to tell those that are later than a time.
struct Times<'a> {
    table: Table,
    log_store: &'a LogStoreRef,
    log: &'a LogFiles,
    time_ms: i64,
    /// What was read, in milliseconds since 1970.
    known: BTreeMap<Version, i64>,
}

impl Times<'_> {
    /// Whether a version is later than the time that is asked for.
    async fn is_later(&mut self, version: Version) -> Result<bool> {
        if self.is_told(version) {
            return Ok(false);
        }
        if !self.known.contains_key(&version) {
            let written_ms = self.written_ms(version).await?;
            self.known.insert(version, written_ms);
        }
        Ok(self.known[&version] > self.time_ms)
    }

    /// Reads what is needed of some versions at once.
    async fn read(&mut self, versions: RangeInclusive<Version>) -> Result<()> {
        let unknown: Vec<_> =
            versions.filter(|version| !self.is_told(*version) && !self.known.contains_key(version)).collect();
        let this = &*self;
        let read = stream::iter(unknown)
            .map(|version| async move { Ok::<_, LakeError>((version, this.written_ms(version).await?)) })
            .buffered(READS_MAX);
        let read: Vec<_> = read.try_collect().await?;
        self.known.extend(read);
        Ok(())
    }

    /// Whether it is known without reading its entry that a version is not later: the store has had that for too long,
    /// or has not got it.
    fn is_told(&self, version: Version) -> bool {
        let stored_ms = self.log.stored_ms.get(&version);
        stored_ms.is_none_or(|stored_ms| stored_ms + AHEAD_MAX_MS <= self.time_ms)
    }

    /// When a version was written. One that is damaged was when the store took it.
    async fn written_ms(&self, version: Version) -> Result<i64> {
        let stored_ms = self.log.stored_ms.get(&version).copied();
        let written_ms = written_ms(self.table, self.log_store, version).await?;
        let latest_ms = stored_ms.map_or(i64::MAX, |stored_ms| stored_ms + AHEAD_MAX_MS);
        Ok(written_ms.or(stored_ms).unwrap_or(i64::MIN).min(latest_ms))
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

/// When a version was written; `None` if its entry is gone, or damaged.
async fn written_ms(table: Table, log_store: &LogStoreRef, version: Version) -> Result<Option<i64>> {
    let Some(lines) = entry::read_if_whole(table, log_store.as_ref(), version).await? else { return Ok(None) };
    Ok(lines.actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.timestamp,
        _ => None,
    }))
}
