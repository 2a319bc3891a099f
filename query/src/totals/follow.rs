//! The newest versions of the tables, followed from question to question: what is known of a version is not read again.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, try_join3};
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::commit::{Changed, TableLog, Version};
use lake_schemas::minute::Parameters;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{Lake, LakeError, Result, Stand, Table, TopicPartition};

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
            try_join3(
                refresh(minutes, lake, Table::ClicksMinute),
                refresh(hourly, lake, Table::ClicksHourly),
                refresh(daily, lake, Table::ClicksDaily),
            )
            .await?;
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
/// what was wrong with it may be right again.
async fn refresh(followed: &mut Option<FollowedTable>, lake: &Lake, table: Table) -> Result<()> {
    if let Some(table) = followed {
        match table.log.refresh().await {
            Err(LakeError::Altered(_) | LakeError::Refused(_)) => {}
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
    /// The files that are live, if they can be told from those that were.
    async fn follow(&mut self) -> Result<Option<&LiveFiles>> {
        let newest = self.log.version();
        let Some(live) = self.live.as_mut().filter(|live| live.version() <= newest) else { return Ok(None) };
        let versions = live.version() + 1..=newest;
        let entries = versions.clone().map(|version| self.log.files_of(version));
        let entries: Vec<_> = stream::iter(entries).buffered(READS_MAX).try_collect().await?;
        for (version, entry) in versions.zip(entries) {
            let Some(entry) = entry else { return Ok(None) };
            live.follow(version, &entry.adds, &entry.removes)?;
        }
        Ok(Some(live))
    }
}

impl Reader for FollowedTable {
    fn level(&mut self) -> BoxFuture<'_, Result<Level>> {
        Box::pin(async move {
            let (table, version) = (self.log.table(), self.log.version());
            let files = match self.follow().await? {
                Some(live) => live.files(),
                None => {
                    self.changes.clear();
                    let live = self.log.live_files().await?;
                    self.live.insert(LiveFiles::new(table, version, &live)?).files()
                }
            };
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

    fn stands(&self) -> BTreeMap<TopicPartition, Stand> {
        self.log.stands()
    }
}
