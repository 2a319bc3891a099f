//! Roll-ups: hours from minutes, days from hours. There are no special cases.
//!
//! A roll-up records up to which version of its source it has come. What a run does is the same whatever has happened
//! there, late panes, a backfill, a promotion or a crash: each folder that changed since is a window that is summed
//! again, and takes the place of what was there in one commit. Of two that do so at once, the second is fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltalake::kernel::Add;
use lake_schemas::commit::{Changed, Commit, Move, Outcome, TableLog, Version};
use lake_schemas::files::{DataFile, discard};
use lake_schemas::minute::Parameters;
use lake_schemas::stand::{cut_of, rolled_up_from, source_version};
use lake_schemas::{Folder, Statistics};
use tokio::time::Instant;

use crate::error::CompactError;
use crate::report::Done;
use crate::summing::{Counts, Input, Summing, Wanted};

/// The job, as `history` names it.
const JOB: &str = "roll-up";

/// How many windows of a folder get a file each, where so many changed. As a rule one is open and one still takes late
/// clicks, and who writes them again leaves the rest of the folder alone. More of them come from a backfill or a new
/// table, and share a file.
const FILES_OWN_MAX: usize = 4;

/// Versions of the source in which nothing changed before that is recorded too: what is put together there are commits,
/// and readers look through those that came since.
const VERSIONS_IDLE_MAX: Version = 100;

/// A source, and what is rolled up from it.
pub(crate) struct RollUp<'a> {
    pub source: &'a mut TableLog,
    pub target: &'a mut TableLog,
    /// How much memory it may take, in bytes.
    pub memory: usize,
}

/// What is to be done.
struct Plan {
    from: Option<i64>,
    to: Version,
    /// Windows to be summed again, by folder of the target, by their starts in milliseconds.
    windows: BTreeMap<Folder, BTreeSet<i64>>,
    /// Files of the target that hold rows of them.
    removes: Vec<Add>,
    /// The files of the source, by when their folders begin.
    sources: BTreeMap<i64, Vec<Add>>,
    /// Whether files of the target may hold rows that stay.
    is_partial: bool,
    /// Whether the target becomes a table with other columns or properties.
    is_altering: bool,
}

impl RollUp<'_> {
    /// Brings the target up to where the source stands; what was done, if anything.
    pub async fn run(&mut self) -> Result<Option<Done>, CompactError> {
        loop {
            let began = Instant::now();
            let Some(plan) = self.plan().await? else { return Ok(None) };
            let (parameters, target) = (self.source.parameters()?, self.target.table());
            let files = self.files(&plan, &parameters).await?;
            let store = self.target.object_store();
            for file in &files {
                file.put(store.as_ref()).await?;
            }
            let moved = Move { app_id: source_version(target), from: plan.from, to: Some(plan.to.cast_signed()) };
            let commit = Commit {
                moves: vec![moved],
                adds: files.iter().map(|file| file.add.clone()).collect(),
                removes: plan.removes.clone(),
                definition: plan.is_altering.then(|| parameters.definition(target)),
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
                // Its files were put together meanwhile.
                Outcome::InputGone { .. } => discard(store.as_ref(), &commit.id, &commit.adds).await,
                Outcome::Overtaken { .. } => unreachable!("a roll-up goes onto any version"),
            }
        }
    }

    /// How many windows are to be summed again, without doing it.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.plan().await?.map_or(0, |plan| plan.windows.values().map(BTreeSet::len).sum()))
    }

    async fn plan(&mut self) -> Result<Option<Plan>, CompactError> {
        self.source.refresh().await?;
        self.target.refresh().await?;
        let (target, to) = (self.target.table(), self.source.version());
        let from = self.target.txn(&source_version(target));
        let known = rolled_up_from(target, |app_id| self.target.txn(app_id)).filter(|from| *from <= to);
        let is_altering = self.target.parameters()? != self.source.parameters()?;
        let changed = match known {
            Some(from) if !is_altering => self.source.changed(from, to).await?,
            _ => Changed::Anything,
        };
        let mut sources: BTreeMap<i64, Vec<Add>> = BTreeMap::new();
        for file in self.source.live_files().await? {
            if let Some(folder) = Folder::of(self.source.table(), &file) {
                sources.entry(folder.start_ms()).or_default().push(file);
            }
        }
        let live = self.target.live_files().await?;
        let starts: BTreeSet<i64> = match &changed {
            Changed::Folders(folders) => folders.clone(),
            Changed::Anything => sources.keys().copied().collect(),
        };
        let is_idle = starts.is_empty() && known.is_some_and(|from| to - from < VERSIONS_IDLE_MAX);
        if is_idle && changed != Changed::Anything {
            return Ok(None);
        }
        let is_touched = |file: &Add| match Statistics::of(file).window_starts() {
            _ if changed == Changed::Anything => true,
            Some((first, last)) => starts.range(first..=last).next().is_some(),
            None => true,
        };
        let removes = live.into_iter().filter(is_touched).collect();
        let mut windows: BTreeMap<Folder, BTreeSet<i64>> = BTreeMap::new();
        for start in starts {
            windows.entry(Folder::at(target, start)).or_default().insert(start);
        }
        sources.retain(|start, _| windows.values().any(|windows| windows.contains(start)));
        let is_partial = changed != Changed::Anything;
        Ok(Some(Plan { from, to, windows, removes, sources, is_partial, is_altering }))
    }

    /// The new files: of the windows that are summed again, and of what else is in the files that they were in.
    async fn files(&self, plan: &Plan, parameters: &Parameters) -> Result<Vec<DataFile>, CompactError> {
        let (source, target) = (counts(self.source), counts(self.target));
        let summing = Summing::new(target.table, parameters.clone(), self.memory)?;
        let mut files = Vec::new();
        for (&folder, windows) in &plan.windows {
            let inputs = |windows: &BTreeSet<i64>| -> Vec<Input> {
                let sources = windows.iter().filter_map(|window| plan.sources.get(window)).flatten();
                sources.map(|file| Input { of: source.clone(), file: file.clone(), wanted: Wanted::All }).collect()
            };
            let groups: Vec<BTreeSet<i64>> = if windows.len() <= FILES_OWN_MAX {
                windows.iter().map(|window| [*window].into()).collect()
            } else {
                vec![windows.clone()]
            };
            for group in groups {
                let inputs = inputs(&group);
                if !inputs.is_empty() {
                    files.extend(summing.sum(folder, inputs).await?);
                }
            }
        }
        let others = plan.removes.iter().filter(|_| plan.is_partial).filter_map(|file| {
            let folder = Folder::of(target.table, file)?;
            let windows = plan.windows.get(&folder)?;
            let starts = Statistics::of(file).window_starts();
            let is_summed = starts.is_some_and(|(first, last)| first == last && windows.contains(&first));
            let wanted = Wanted::Besides(Arc::new(windows.clone()));
            (!is_summed).then(|| (folder, Input { of: target.clone(), file: file.clone(), wanted }))
        });
        for (folder, input) in others {
            files.extend(summing.sum(folder, vec![input]).await?);
        }
        Ok(files)
    }
}

fn counts(log: &TableLog) -> Counts {
    Counts { table: log.table(), store: log.object_store() }
}
