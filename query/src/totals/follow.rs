//! The newest versions of the tables, followed from question to question: what is known of a version is not read again.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, join3};
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::commit::{Changed, Partitions, TableLog, Version, VersionFiles};
use lake_schemas::minute::Parameters;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{Lake, LakeError, Result, Table};

use super::files::LiveFiles;
use super::level::Level;
use super::sources::{Reader, Sources};

/// Entries of a log that are read at once.
const READS_MAX: usize = 64;

/// The tables of a lake, as far as it has them.
#[derive(Default)]
pub(crate) struct Followed {
    minutes: Option<FollowedTable>,
    hourly: Option<FollowedTable>,
    daily: Option<FollowedTable>,
}

impl Followed {
    /// The newest versions.
    pub fn sources<'a>(&'a mut self, lake: &'a Lake) -> BoxFuture<'a, Result<Sources>> {
        Box::pin(async move {
            let Self { minutes, hourly, daily } = self;
            // All of them to their ends: loading a table that nobody waits for any more panics if the process ends.
            let refreshed = join3(
                refresh(minutes, lake, Table::ClicksMinute),
                refresh(hourly, lake, Table::ClicksHourly),
                refresh(daily, lake, Table::ClicksDaily),
            );
            let (of_minutes, of_hours, of_days) = refreshed.await;
            of_minutes.and(of_hours).and(of_days)?;
            // All were looked at at once, so what a roll-up was made of may be newer than what was found of its source:
            // it is there by now.
            if is_ahead(daily.as_ref(), hourly.as_ref()) {
                refresh(hourly, lake, Table::ClicksHourly).await?;
            }
            if is_ahead(hourly.as_ref(), minutes.as_ref()) {
                refresh(minutes, lake, Table::ClicksMinute).await?;
            }
            let minutes = minutes.as_mut().ok_or_else(|| lake.lacks(Table::ClicksMinute))?;
            Sources::of(minutes, hourly.as_mut(), daily.as_mut()).await
        })
    }
}

/// Whether a roll-up was made of a version of its source that is not known yet.
fn is_ahead(roll_up: Option<&FollowedTable>, source: Option<&FollowedTable>) -> bool {
    let of = roll_up.and_then(|roll_up| rolled_up_from(roll_up.log.table(), |app_id| roll_up.log.txn(app_id)));
    of > source.map(|source| source.log.version())
}

/// Looks at a table; opens it, if it is not open, or has become another one. One that was refused is opened too, for
/// what was wrong with it may be right again; what was known of it until then is not believed any more.
async fn refresh(followed: &mut Option<FollowedTable>, lake: &Lake, table: Table) -> Result<()> {
    if let Some(known) = followed {
        let looked = known.log.refresh().await;
        // Whatever came behind it, what was met on the way was done.
        known.log.warn_of_foreign();
        match looked {
            Err(LakeError::Altered(_) | LakeError::Refused(_)) => *followed = None,
            other => return other,
        }
    }
    let log = TableLog::find_to_read(lake, table).await?;
    *followed = log.map(|log| FollowedTable { log, live: None, changes: BTreeMap::new() });
    Ok(())
}

/// A table, and what was read of its log.
struct FollowedTable {
    log: TableLog,
    live: Option<LiveFiles>,
    /// What each version changed.
    changes: BTreeMap<Version, Changed>,
}

impl FollowedTable {
    /// Goes on to the files that are live in the newest version; whether they can be told from those that were. What a
    /// version on the way had that cannot be read may be gone again in the newest: that is for a new list to say.
    async fn follow(&mut self) -> Result<bool> {
        let newest = self.log.version();
        let Some(live) = self.live.as_mut().filter(|live| live.version() <= newest) else { return Ok(false) };
        let versions = live.version() + 1..=newest;
        let entries = versions.clone().map(|version| self.log.files_of(version));
        let entries: Vec<Option<VersionFiles>> = stream::iter(entries).buffered(READS_MAX).try_collect().await?;
        let mut entries = versions.zip(entries);
        Ok(entries.all(|(version, entry)| {
            entry.is_some_and(|entry| live.follow(version, &entry.adds, &entry.removes).is_ok())
        }))
    }
}

impl Reader for FollowedTable {
    fn level(&mut self) -> BoxFuture<'_, Result<Level>> {
        Box::pin(async move {
            let (table, version) = (self.log.table(), self.log.version());
            if !self.follow().await? {
                // As long as they cannot be listed, nothing is known of them.
                self.live = None;
                self.changes.clear();
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
            let Self { log, changes, .. } = self;
            // Roll-ups advance, and so does what is asked for.
            changes.retain(|version, _| *version > since);
            let unknown = (since + 1..=log.version()).filter(|version| !changes.contains_key(version));
            let read = |version: Version| {
                let changed = log.changed(version - 1, version);
                async move { Ok::<_, LakeError>((version, changed.await?)) }
            };
            let read: Vec<_> = stream::iter(unknown.collect::<Vec<_>>().into_iter().map(read))
                .buffer_unordered(READS_MAX)
                .try_collect()
                .await?;
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
