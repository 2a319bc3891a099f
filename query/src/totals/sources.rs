//! The tables that an answer is taken from, each at a version, and which parts of the roll-ups no longer equal the
//! minutes.
//!
//! A roll-up that is missing, counts by other dimensions, or was made of a later version is not used: everything in it
//! is taken from its source instead.

use std::sync::Arc;

use futures::future::BoxFuture;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::table::Version;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::Result;
use lake_store::commit::{Changed, Partitions, TableView};

use super::files::{File, LiveFiles};
use super::interval_set::IntervalSet;
use super::level::Level;
use super::question::StandsAt;
use super::stitch::{Dirty, Parts};

/// Tables that an answer is taken from.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Delta's id of `clicks_minute`.
    pub table: String,
    /// Parameters that decide the counts.
    pub parameters: Parameters,
    /// Partitions that the minutes know.
    pub partitions: Partitions,
    /// The table `clicks_minute`.
    pub minutes: Level,
    /// The table `clicks_hourly`, if it was made of these minutes.
    pub hourly: Option<Level>,
    /// The table `clicks_daily`, if it was made of these hours.
    pub daily: Option<Level>,
    /// Parts that changed since they were rolled up.
    pub dirty: Dirty,
}

impl Sources {
    /// Combines tables, and leaves out roll-ups that cannot be used.
    pub async fn of<R: Reader>(minutes: &mut R, mut hourly: Option<&mut R>, daily: Option<&mut R>) -> Result<Self> {
        let (table, parameters, partitions) = (minutes.id().to_owned(), minutes.parameters()?, minutes.partitions());
        let level = minutes.level().await?;
        let hours = on_top(hourly.as_deref_mut(), minutes, &level).await?;
        let days = match (hourly, &hours) {
            (Some(hourly), Some((level, _))) => on_top(daily, hourly, level).await?,
            _ => None,
        };
        let (hourly, hours) = hours.map_or((None, Changed::Anything), |(level, changed)| (Some(level), changed));
        let (daily, days) = days.map_or((None, Changed::Anything), |(level, changed)| (Some(level), changed));
        Ok(Self { table, parameters, partitions, minutes: level, hourly, daily, dirty: Dirty { hours, days } })
    }

    /// Returns roughly how much memory the descriptions of the tables take, in bytes.
    pub fn bytes(&self) -> usize {
        let levels = [Some(&self.minutes), self.hourly.as_ref(), self.daily.as_ref()];
        let files: usize = levels.into_iter().flatten().map(|level| level.files.bytes()).sum();
        let changed = [&self.dirty.hours, &self.dirty.days].map(|changed| match changed {
            Changed::Folders(folders) => folders.len() * size_of::<i64>(),
            Changed::Anything => 0,
        });
        let of_partition = |partition: &TopicPartition| size_of::<(TopicPartition, Stand)>() + partition.topic.len();
        let Partitions { stands, retired } = &self.partitions;
        let partitions: usize = stands.keys().chain(retired).map(of_partition).sum();
        size_of::<Self>() + files + changed.iter().sum::<usize>() + partitions
    }

    /// Returns each table with the windows that an answer takes from that table.
    pub fn taken<'a>(&'a self, parts: &'a Parts) -> impl Iterator<Item = (&'a Level, &'a IntervalSet)> {
        let levels = [self.daily.as_ref(), self.hourly.as_ref(), Some(&self.minutes)];
        let parts = [&parts.days, &parts.hours, &parts.minutes];
        levels.into_iter().zip(parts).filter_map(|(level, part)| Some((level?, part)))
    }

    /// Returns the files that hold the parts: first those that hold nothing else, then the rest.
    pub fn files(&self, parts: &Parts) -> [Vec<Arc<File>>; 2] {
        let mut files = [Vec::new(), Vec::new()];
        for (level, windows) in self.taken(parts) {
            for (all, these) in files.iter_mut().zip(level.files.holding(windows)) {
                all.extend(these);
            }
        }
        files
    }

    /// Returns the state of the tables behind an answer that is taken from these parts.
    pub fn at(&self, parts: &Parts) -> StandsAt {
        let of = |level: &Option<Level>, part: &IntervalSet| {
            level.as_ref().filter(|_| !part.is_empty()).map(|level| level.version)
        };
        StandsAt {
            table_id: self.table.clone(),
            minutes: self.minutes.version,
            hourly: of(&self.hourly, &parts.hours),
            daily: of(&self.daily, &parts.days),
            partitions: self.partitions.clone(),
            allowed_lateness_ms: self.parameters.allowed_lateness_ms,
        }
    }
}

/// Returns a roll-up, with what changed of its source since; `None` if it cannot be used with this source.
async fn on_top<R: Reader>(
    roll_up: Option<&mut R>,
    source: &mut R,
    source_level: &Level,
) -> Result<Option<(Level, Changed)>> {
    let Some(roll_up) = roll_up else { return Ok(None) };
    let level = roll_up.level().await?;
    let Some(version) = level.stands_on(source_level) else { return Ok(None) };
    let changed = source.changed_since(version).await?;
    Ok(Some((level, changed)))
}

/// A table of counts that is read at a version.
pub(crate) trait Reader: Send {
    /// Returns the table at that version.
    fn level(&mut self) -> BoxFuture<'_, Result<Level>>;

    /// Returns the changes of the table since another version.
    fn changed_since(&mut self, version: Version) -> BoxFuture<'_, Result<Changed>>;

    /// Returns the parameters that decide the counts.
    fn parameters(&self) -> Result<Parameters>;

    /// Returns the partitions that the table records.
    fn partitions(&self) -> Partitions;

    /// Returns Delta's unique id of the table.
    fn id(&self) -> &str;
}

/// A table that is looked at once.
pub(crate) struct Viewed {
    pub table: Table,
    pub view: TableView,
}

impl Reader for Viewed {
    fn level(&mut self) -> BoxFuture<'_, Result<Level>> {
        Box::pin(async move {
            let (table, version) = (self.table, self.view.version());
            let live = self.view.live_files().await?;
            Ok(Level {
                version,
                source: rolled_up_from(table, |app_id| self.view.txn(app_id)),
                dimensions: self.parameters()?.dimensions,
                files: LiveFiles::new(table, version, &live)?.files(),
            })
        })
    }

    fn changed_since(&mut self, version: Version) -> BoxFuture<'_, Result<Changed>> {
        self.view.changed(version, self.view.version())
    }

    fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters::recorded(self.table, self.view.properties())?)
    }

    fn partitions(&self) -> Partitions {
        self.view.partitions()
    }

    fn id(&self) -> &str {
        self.view.id()
    }
}
