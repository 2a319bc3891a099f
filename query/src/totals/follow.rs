//! The newest versions of the tables, followed from question to question: what is known of a version is not read again.

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

/// Entries of a log that are read at once.
const READS_MAX: usize = 64;

/// How often in a row it may be found that a table is another one before whoever asks is told so.
const TRIES_MAX: usize = 3;

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
            for _ in 0..TRIES_MAX {
                if self.look(lake).await? == Known::Holds
                    && let Some(sources) = self.of_one_lake(lake).await?
                {
                    return Ok(sources);
                }
                // The tables of a lake go together: what one of them says of another holds in that lake only.
                *self = Self::default();
            }
            Err(LakeError::Altered(format!(
                "{}: its tables are replaced by others again and again; ask again later",
                lake.url()
            )))
        })
    }

    /// Looks at all tables, and opens those that are not open.
    async fn look(&mut self, lake: &Lake) -> Result<Known> {
        let Self { minutes, hourly, daily } = self;
        // All of them to their ends: loading a table that nobody waits for any more panics if the process ends.
        let looked = join3(
            refresh(minutes, lake, Table::ClicksMinute),
            refresh(hourly, lake, Table::ClicksHourly),
            refresh(daily, lake, Table::ClicksDaily),
        );
        let (of_minutes, of_hours, of_days) = looked.await;
        // As far as each has come: what was met is not kept until another one can be looked at, which may take days.
        [minutes.as_mut(), hourly.as_mut(), daily.as_mut()].into_iter().flatten().for_each(FollowedTable::follow);
        let mut known = vec![of_minutes?, of_hours?, of_days?];
        // All were looked at at once, so what a roll-up was made of may be newer than what was found of its source:
        // it is there by now.
        if is_ahead(daily.as_ref(), hourly.as_ref()) {
            known.push(refresh(hourly, lake, Table::ClicksHourly).await?);
        }
        if is_ahead(hourly.as_ref(), minutes.as_ref()) {
            known.push(refresh(minutes, lake, Table::ClicksMinute).await?);
        }
        Ok(if known.contains(&Known::IsGone) { Known::IsGone } else { Known::Holds })
    }

    /// What answers are taken from; `None` if it is not of one lake. What is met on the way to the newest version was
    /// seen to be of the tables that are known; what was opened, listed or read by its version must be seen to be.
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

/// Whether what is known of a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The table is the one that is known, or nothing was known of it.
    Holds,
    /// It is another one.
    IsGone,
}

/// Whether a roll-up was made of a version of its source that is not known yet.
fn is_ahead(roll_up: Option<&FollowedTable>, source: Option<&FollowedTable>) -> bool {
    let of = roll_up.and_then(|roll_up| rolled_up_from(roll_up.log.table(), |app_id| roll_up.log.txn(app_id)));
    of > source.map(|source| source.log.version())
}

/// Looks at a table; opens it, if it is not open. One that was refused is opened too, for what was wrong with it may be
/// right again; what was known of it until then is not believed any more.
async fn refresh(followed: &mut Option<FollowedTable>, lake: &Lake, table: Table) -> Result<Known> {
    if let Some(known) = followed {
        let looked = known.log.refresh().await;
        // Whatever came behind it, what was met on the way was done.
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

/// A table, and what was read of its log.
struct FollowedTable {
    log: TableLog,
    live: Option<LiveFiles>,
    /// What each version changed.
    changes: BTreeMap<Version, Changed>,
    /// Whether something was read since the table was last seen to be the one that was opened.
    is_unseen: bool,
}

impl FollowedTable {
    /// Goes on to the files that are live in the newest version, by what was met on the way to it. If they cannot be
    /// told by that, they are forgotten, and must be listed: what a version on the way had that cannot be read may be
    /// gone again in the newest.
    fn follow(&mut self) {
        let (met, newest) = (self.log.take_met(), self.log.version());
        let follow = |live: &mut LiveFiles, met: &[VersionFiles]| {
            let mut versions = (live.version() + 1..=newest).zip(met);
            versions.all(|(version, met)| live.follow(version, &met.adds, &met.removes).is_ok())
                && live.version() == newest
        };
        let is_told = self.live.as_mut().zip(met).is_some_and(|(live, met)| follow(live, &met));
        if !is_told {
            // As long as they cannot be listed, nothing is known of them.
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
            // Roll-ups advance, and so does what is asked for.
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
