//! The newest versions of the tables of counts, followed from question to question, so that no version is read twice.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, join3, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::table::Version;
use lake_store::commit::{Changed, Partitions, TableLog, VersionFiles};
use lake_store::{Lake, LakeError, Result};

use super::files::LiveFiles;
use super::level::Level;
use super::sources::{Reader, Sources};

/// Number of entries of a log that are read concurrently.
const READS_MAX: usize = 64;

/// How often in a row a table may turn out to be another one before the question fails.
const TRIES_MAX: usize = 3;

/// Tables of counts that are kept open, as far as the lake has them.
#[derive(Default)]
pub(crate) struct Followed {
    minutes: Option<FollowedTable>,
    hourly: Option<FollowedTable>,
    daily: Option<FollowedTable>,
}

impl Followed {
    /// Follows the tables to their newest versions, and returns these.
    pub fn sources<'a>(&'a mut self, lake: &'a Lake) -> BoxFuture<'a, Result<Sources>> {
        Box::pin(async move {
            for _ in 0..TRIES_MAX {
                if self.look(lake).await? == Known::Holds
                    && let Some(sources) = self.of_one_lake(lake).await?
                {
                    return Ok(sources);
                }
                // Begin anew with all tables: what one of them records of another holds in one lake only.
                *self = Self::default();
            }
            Err(LakeError::Altered(format!(
                "{}: its tables are replaced by others again and again; ask again later",
                lake.url()
            )))
        })
    }

    /// Follows all tables to their newest versions, and opens those that are not open.
    async fn look(&mut self, lake: &Lake) -> Result<Known> {
        let Self { minutes, hourly, daily } = self;
        // Wait for all of them even if one fails: loading a table panics if nobody waits for it and the process ends.
        let looked = join3(
            refresh(minutes, lake, Table::ClicksMinute),
            refresh(hourly, lake, Table::ClicksHourly),
            refresh(daily, lake, Table::ClicksDaily),
        );
        let (of_minutes, of_hours, of_days) = looked.await;
        // Follow each as far as it has come. Otherwise the entries that were read would be kept until the next success,
        // which may take days.
        [minutes.as_mut(), hourly.as_mut(), daily.as_mut()].into_iter().flatten().for_each(FollowedTable::follow);
        let mut known = vec![of_minutes?, of_hours?, of_days?];
        // The tables were refreshed concurrently, so a roll-up may name a version of its source that is newer than the
        // one seen. That version is there by now, so refresh the source again.
        if is_ahead(daily.as_ref(), hourly.as_ref()) {
            known.push(refresh(hourly, lake, Table::ClicksHourly).await?);
        }
        if is_ahead(hourly.as_ref(), minutes.as_ref()) {
            known.push(refresh(minutes, lake, Table::ClicksMinute).await?);
        }
        Ok(if known.contains(&Known::IsGone) { Known::IsGone } else { Known::Holds })
    }

    /// Returns the tables to answer from; `None` if one of them was replaced meanwhile, so that they may not be of one
    /// lake. Entries are confirmed while they are followed; what was opened, listed or read by its version is confirmed
    /// here.
    async fn of_one_lake(&mut self, lake: &Lake) -> Result<Option<Sources>> {
        let Self { minutes, hourly, daily } = self;
        [minutes.as_mut(), hourly.as_mut(), daily.as_mut()].into_iter().flatten().for_each(FollowedTable::follow);
        let source = minutes.as_mut().ok_or_else(|| lake.lacks(Table::ClicksMinute))?;
        let sources = Sources::of(source, hourly.as_mut(), daily.as_mut()).await?;
        let tables = || [minutes.as_ref(), hourly.as_ref(), daily.as_ref()].into_iter().flatten();
        if tables().any(|table| table.is_unseen) {
            let are_there = try_join_all(tables().map(|table| table.log.is_still_there())).await?;
            if are_there.contains(&false) {
                return Ok(None);
            }
            let tables = [minutes.as_mut(), hourly.as_mut(), daily.as_mut()];
            tables.into_iter().flatten().for_each(|table| table.is_unseen = false);
        }
        Ok(Some(sources))
    }
}

/// Whether what is known of a table still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The table is the one that is known, or nothing was known of it.
    Holds,
    /// Another table has taken its place.
    IsGone,
}

/// Returns whether a roll-up was made of a newer version of its source than the known one.
fn is_ahead(roll_up: Option<&FollowedTable>, source: Option<&FollowedTable>) -> bool {
    let of = roll_up.and_then(|roll_up| rolled_up_from(roll_up.log.table(), |app_id| roll_up.log.txn(app_id)));
    of > source.map(|source| source.log.version())
}

/// Follows a table, and opens it if it is not open. A table that was refused is opened again, because its fault may be
/// mended; nothing that was known of it is used any more.
async fn refresh(followed: &mut Option<FollowedTable>, lake: &Lake, table: Table) -> Result<Known> {
    if let Some(known) = followed {
        let looked = known.log.refresh().await;
        // Even if following failed, report the foreign changes that were found before.
        known.log.warn_of_foreign();
        match looked {
            Ok(()) => return Ok(Known::Holds),
            Err(LakeError::Altered(_)) => return Ok(Known::IsGone),
            Err(LakeError::Refused(_)) => *followed = None,
            Err(error) => return Err(error),
        }
    }
    let log = TableLog::find_to_read(lake, table).await?;
    *followed = log.map(|log| FollowedTable { log, live: None, changes: BTreeMap::new(), is_unseen: true });
    Ok(Known::Holds)
}

/// A table, with what was read of its log.
struct FollowedTable {
    log: TableLog,
    live: Option<LiveFiles>,
    /// Folders that each version changed.
    changes: BTreeMap<Version, Changed>,
    /// Whether anything was read since the table was last confirmed to be the one that was opened.
    is_unseen: bool,
}

impl FollowedTable {
    /// Brings the live files to the newest version, by the log entries that were followed since. If these do not
    /// suffice, the files are forgotten and must be listed again: an entry on the way that cannot be used may not
    /// matter in the newest version any more.
    fn follow(&mut self) {
        let (met, newest) = (self.log.take_met(), self.log.version());
        let follow = |live: &mut LiveFiles, met: &[VersionFiles]| {
            let mut versions = (live.version() + 1..=newest).zip(met);
            versions.all(|(version, met)| live.follow(version, &met.adds, &met.removes).is_ok())
                && live.version() == newest
        };
        let is_told = self.live.as_mut().zip(met).is_some_and(|(live, met)| follow(live, &met));
        if !is_told {
            // Until the files are listed again, nothing is known of them.
            self.live = None;
            self.changes.clear();
        }
    }
}

impl Reader for FollowedTable {
    fn level(&mut self) -> BoxFuture<'_, Result<Level>> {
        Box::pin(async move {
            let (table, version) = (self.log.table(), self.log.version());
            if self.live.is_none() {
                self.is_unseen = true;
                let live = self.log.live_files().await?;
                self.live = Some(LiveFiles::new(table, version, &live)?);
            }
            let files = self.live.as_ref().expect("they were followed, or listed").files();
            let source = rolled_up_from(table, |app_id| self.log.txn(app_id));
            Ok(Level { version, source, dimensions: self.parameters()?.dimensions, files })
        })
    }

    fn changed_since(&mut self, since: Version) -> BoxFuture<'_, Result<Changed>> {
        Box::pin(async move {
            let Self { log, changes, is_unseen, .. } = self;
            // Roll-ups advance, and so does `since`: changes before it are never needed again.
            changes.retain(|version, _| *version > since);
            let unknown = (since + 1..=log.version()).filter(|version| !changes.contains_key(version));
            let unknown: Vec<_> = unknown.collect();
            *is_unseen |= !unknown.is_empty();
            let read = |version: Version| {
                let changed = log.changed(version - 1, version);
                async move { Ok::<_, LakeError>((version, changed.await?)) }
            };
            let read: Vec<_> =
                stream::iter(unknown.into_iter().map(read)).buffer_unordered(READS_MAX).try_collect().await?;
            changes.extend(read);
            Ok(changes.values().fold(Changed::Folders(BTreeSet::new()), |so_far, changed| match (so_far, changed) {
                (Changed::Folders(mut all), Changed::Folders(more)) => {
                    all.extend(more);
                    Changed::Folders(all)
                }
                _ => Changed::Anything,
            }))
        })
    }

    fn parameters(&self) -> Result<Parameters> {
        self.log.parameters()
    }

    fn partitions(&self) -> Partitions {
        self.log.partitions()
    }

    fn id(&self) -> &str {
        self.log.id()
    }
}
