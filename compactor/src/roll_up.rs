//! Roll-ups: hours from minutes, days from hours, with no special cases.
//!
//! A roll-up records the version of its source that it was made from. A run does the same whatever has happened there
//! since, be it late panes, a backfill, a promotion or a crash: each folder of the source that changed is a window that
//! is summed again, and replaces its rows in one commit. Of two roll-ups that run at once, the second is fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltalake::kernel::Add;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::{cut_of, rolled_up_from, source_version};
use lake_schemas::table::Version;
use lake_schemas::{Cut, Folder, Table};
use lake_store::Statistics;
use lake_store::commit::{Changed, Commit, Move, Outcome, TableLog};
use lake_store::files::discard;
use tokio::time::Instant;

use crate::aggregation::{Aggregation, CountsTable, Input, WindowSelection};
use crate::error::CompactError;
use crate::merge::carries_nothing_else;
use crate::report::Done;
use crate::uncommitted::Uncommitted;

/// Name of the job in `history`.
const JOB: &str = "roll-up";

/// Number of changed windows of a folder up to which each gets a file of its own. Usually one window is open and one
/// still takes late clicks, and rewriting these leaves the rest of the folder alone. More changed windows come from a
/// backfill or a new table, and share a file.
const FILES_OWN_MAX: usize = 4;

/// Number of source versions without a change after which the roll-up records its progress anyway. Such versions come
/// from compaction, and readers look through all that came since the recorded one.
const VERSIONS_IDLE_MAX: Version = 100;

/// A source, and the roll-up that is made from it.
pub(crate) struct RollUp<'a> {
    pub source: &'a mut TableLog,
    pub target: &'a mut TableLog,
    /// Memory that sums may take, in bytes.
    pub memory: usize,
}

/// Work of one run.
struct RollUpPlan {
    from: Option<i64>,
    to: Version,
    /// Windows to be summed again, by folder of the target, as their starts in milliseconds.
    windows: BTreeMap<Folder, BTreeSet<i64>>,
    /// Files of the target that hold rows of these windows.
    removes: Vec<Add>,
    /// Files of the source, by the starts of their folders in milliseconds.
    sources: BTreeMap<i64, Vec<Add>>,
    /// Whether the removed files of the target may hold rows that stay.
    is_partial: bool,
    /// Parameters that the target has from then on.
    parameters: Parameters,
}

impl RollUp<'_> {
    /// Brings the roll-up up to its source; returns the report, if there was anything to do.
    pub async fn run(&mut self) -> Result<Option<Done>, CompactError> {
        loop {
            let began = Instant::now();
            let Some(plan) = self.plan().await? else { return Ok(None) };
            carries_nothing_else(self.target)?;
            let target = self.target.table();
            let is_altering = self.target.parameters()? != plan.parameters;
            let adds = self.files(&plan).await?;
            let store = self.target.object_store();
            let moved = Move { app_id: source_version(target), from: plan.from, to: Some(plan.to.cast_signed()) };
            let commit = Commit {
                moves: vec![moved],
                adds,
                removes: plan.removes.clone(),
                definition: is_altering.then(|| plan.parameters.definition(target)),
                cut: cut_of(&self.source.stands()),
                ..Commit::new(JOB)
            };
            match self.target.commit(&commit).await? {
                Outcome::Committed(version) => {
                    return Ok(Some(Done::RolledUp {
                        table: target,
                        version,
                        source: (self.source.table(), plan.to),
                        windows: plan.windows.values().map(BTreeSet::len).sum(),
                        files: commit.adds.len(),
                        bytes: commit.adds.iter().map(|add| add.size.unsigned_abs()).sum(),
                        took: began.elapsed(),
                    }));
                }
                Outcome::Fenced { .. } => {
                    discard(store.as_ref(), &commit.id, &commit.adds).await;
                    return Err(CompactError::Fenced(target));
                }
                // Compaction replaced the files to be removed meanwhile: plan again.
                Outcome::InputGone { .. } => discard(store.as_ref(), &commit.id, &commit.adds).await,
                Outcome::Overtaken { .. } => unreachable!("a roll-up goes onto any version"),
            }
        }
    }

    /// Returns how many windows are to be summed again, without summing them.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.plan().await?.map_or(0, |plan| plan.windows.values().map(BTreeSet::len).sum()))
    }

    async fn plan(&mut self) -> Result<Option<RollUpPlan>, CompactError> {
        self.source.refresh().await?;
        self.target.refresh().await?;
        let (target, to) = (self.target.table(), self.source.version());
        let from = self.target.txn(&source_version(target));
        let known = rolled_up_from(target, |app_id| self.target.txn(app_id)).filter(|from| *from <= to);
        let own = self.target.parameters()?;
        let parameters = carried_over(&self.source.parameters()?, &own, target);
        let is_altering = own != parameters;
        let live = self.target.live_files().await?;
        // A file in no known folder does not say which windows it holds, so all windows are summed again.
        let is_whole = live.iter().all(|file| Folder::named(target, &file.partition_values).is_some());
        let changed = match known {
            Some(from) if is_whole && !is_altering => self.source.changed(from, to).await?,
            _ => Changed::Anything,
        };
        let mut sources: BTreeMap<i64, Vec<Add>> = BTreeMap::new();
        for file in self.source.live_files().await? {
            if let Some(folder) = Folder::named(self.source.table(), &file.partition_values) {
                sources.entry(folder.start_ms()).or_default().push(file);
            }
        }
        let starts: BTreeSet<i64> = match &changed {
            Changed::Folders(folders) => folders.clone(),
            Changed::Anything => sources.keys().copied().collect(),
        };
        let is_idle = starts.is_empty() && known.is_some_and(|from| to - from < VERSIONS_IDLE_MAX);
        if is_idle && changed != Changed::Anything {
            return Ok(None);
        }
        let is_partial = changed != Changed::Anything;
        let mut windows: BTreeMap<Folder, BTreeSet<i64>> = BTreeMap::new();
        for start in starts {
            windows.entry(Folder::at(target, start)).or_default().insert(start);
        }
        let removes = live.into_iter().filter(|file| !is_partial || holds_any(&windows, target, file)).collect();
        sources.retain(|start, _| windows.values().any(|windows| windows.contains(start)));
        Ok(Some(RollUpPlan { from, to, windows, removes, sources, is_partial, parameters }))
    }

    /// Writes the new files, each as soon as it is full, and returns their `Add`s, which are all that is held in
    /// memory.
    async fn files(&self, plan: &RollUpPlan) -> Result<Vec<Add>, CompactError> {
        let mut files = Uncommitted::new(self.target.object_store());
        let done = self.put_files(plan, &mut files).await;
        files.after(done).await
    }

    /// Writes files with the windows that are summed again, and with the other rows of files that are replaced.
    async fn put_files(&self, plan: &RollUpPlan, files: &mut Uncommitted) -> Result<(), CompactError> {
        let (source, target) = (counts(self.source), counts(self.target));
        let aggregation = Aggregation::new(target.table, plan.parameters.clone(), self.memory)?;
        for (&folder, windows) in &plan.windows {
            let inputs = |windows: &BTreeSet<i64>| -> Vec<Input> {
                let sources = windows.iter().filter_map(|window| plan.sources.get(window)).flatten();
                sources
                    .map(|file| Input { of: source.clone(), file: file.clone(), wanted: WindowSelection::All })
                    .collect()
            };
            let groups: Vec<BTreeSet<i64>> = if windows.len() <= FILES_OWN_MAX {
                windows.iter().map(|window| [*window].into()).collect()
            } else {
                vec![windows.clone()]
            };
            for group in groups {
                let inputs = inputs(&group);
                if !inputs.is_empty() {
                    aggregation.sum(folder, inputs, files).await?;
                }
            }
        }
        let others = plan.removes.iter().filter(|_| plan.is_partial).filter_map(|file| {
            let folder = Folder::named(target.table, &file.partition_values)?;
            let windows = plan.windows.get(&folder)?;
            let starts = Statistics::of(file).window_starts();
            let is_summed = starts.is_some_and(|(first, last)| first == last && windows.contains(&first));
            let wanted = WindowSelection::Besides(Arc::new(windows.clone()));
            (!is_summed).then(|| (folder, Input { of: target.clone(), file: file.clone(), wanted }))
        });
        for (folder, input) in others {
            aggregation.sum(folder, vec![input], files).await?;
        }
        Ok(())
    }
}

/// Returns the parameters of a roll-up, with these of its own, once it is made from its source: those of the source. A
/// measure that only the roll-up has stays, because columns are never taken out, and sums up to nothing: an upgrade
/// gives it to the roll-up before the source, and another program may have restored the source to a version before.
fn carried_over(source: &Parameters, own: &Parameters, target: Table) -> Parameters {
    let of_source = source.recorded_by(target);
    let measures = of_source.measures.completed(&own.measures, &Cut::new());
    Parameters { measures, ..of_source }
}

/// Returns whether a file of a table may hold any of these windows. A file without statistics may hold all windows of
/// its folder.
fn holds_any(windows: &BTreeMap<Folder, BTreeSet<i64>>, table: Table, file: &Add) -> bool {
    let Some(windows) = Folder::named(table, &file.partition_values).and_then(|folder| windows.get(&folder)) else {
        return false;
    };
    let stated = Statistics::of(file).window_starts();
    stated.is_none_or(|(first, last)| windows.range(first..=last).next().is_some())
}

fn counts(log: &TableLog) -> CountsTable {
    CountsTable { table: log.table(), store: log.object_store() }
}

#[cfg(test)]
mod tests {
    use lake_schemas::minute::Dimension;
    use lake_schemas::{Field, Measure, Measures, TopicPartition};

    use super::*;

    #[test]
    fn a_measure_that_only_the_roll_up_has_stays_and_all_else_is_of_the_source() {
        let of = |measures: Measures| Parameters { measures, ..Parameters::default() };
        let (first, all) = (of(Measures::of_format_1()), of(Measures::default()));
        for target in Table::ROLLED_UP {
            assert_eq!(carried_over(&first, &all, target), all, "it was upgraded, and the source was not");
            assert_eq!(carried_over(&all, &first, target), all, "the source was promoted");
            let mut upgraded = Measures::default();
            let cut = [(TopicPartition::new("clicks", 0), 7)].into();
            assert!(upgraded.begin(Measure::ALL[0], cut));
            assert_eq!(carried_over(&of(upgraded), &all, target), all, "it sums up what its source has");
            let by_device = Parameters { dimensions: vec![Dimension::of(Field::Device)], ..first.clone() };
            let expected = Parameters { measures: Measures::default(), ..by_device.clone() };
            assert_eq!(carried_over(&by_device, &all, target), expected);
        }
    }
}
