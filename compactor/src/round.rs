//! One round: what has changed is rolled up, what is small put together, what is old given up.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use lake_schemas::commit::{Deletes, TableLog, Version};
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{Folder, Lake, LakeError, Table};
use tracing::info;

use crate::error::CompactError;
use crate::history::Keep;
use crate::merge::Merge;
use crate::report::Done;
use crate::roll_up::RollUp;
use crate::sort_out::SortOut;

/// What a round does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// What becomes of history; `None`: nothing.
    pub keep: Option<Keep>,
    /// Whether it only tells what it would do.
    pub is_dry: bool,
}

/// Keeps a lake cheap, round by round. Between them it knows the tables' heads, so that a round reads what is new.
pub struct Compactor {
    lake: Lake,
    /// How much memory queries may take, in bytes.
    memory: usize,
    logs: BTreeMap<Table, TableLog>,
    /// The last version of each table that was told of because another program wrote it.
    told: BTreeMap<Table, Version>,
}

impl Compactor {
    /// A compactor of a lake. Nothing is read yet.
    pub fn new(lake: Lake, memory: usize) -> Self {
        Self { lake, memory, logs: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Does a round, and tells of each thing when it is done.
    pub fn round<'a>(
        &'a mut self,
        plan: &'a Plan,
        tell: &'a mut (dyn FnMut(Done) + Send),
    ) -> BoxFuture<'a, Result<(), CompactError>> {
        Box::pin(async move {
            loop {
                let done = self.pass(plan, tell).await;
                self.tell_of_others(tell);
                match done {
                    Err(CompactError::Lake(LakeError::Altered(why))) => {
                        info!(why, "opening the tables again");
                        self.logs.clear();
                    }
                    Err(error) => {
                        // What it knows of the tables may be what was wrong.
                        self.logs.clear();
                        return Err(error);
                    }
                    Ok(()) => return Ok(()),
                }
            }
        })
    }

    async fn pass(&mut self, plan: &Plan, tell: &mut (dyn FnMut(Done) + Send)) -> Result<(), CompactError> {
        let mut windows = BTreeMap::new();
        for target in Table::ROLLED_UP {
            if plan.is_dry {
                windows.insert(target, self.windows_changed(target).await?);
            } else if let Some(done) = self.roll_up(target).await? {
                tell(done);
            }
        }
        let (settled_ms, memory) = (self.settled_ms().await?, self.memory);
        for table in Table::ALL {
            let Some(log) = self.open(table).await? else { continue };
            let mut sort_out = SortOut { log, memory };
            let odd = if plan.is_dry { sort_out.look().await? } else { 0 };
            if !plan.is_dry
                && let Some(done) = sort_out.run().await?
            {
                tell(done);
            }
            let mut merge = Merge { log, settled_ms, memory };
            if plan.is_dry {
                let (windows, files) = (windows.get(&table).copied().unwrap_or(0), odd + merge.look().await?);
                if windows + files > 0 {
                    tell(Done::Would { table, windows, files });
                }
            } else if let Some(done) = merge.run().await? {
                tell(done);
            }
            write_checkpoint(log).await;
        }
        if let Some(keep) = plan.keep {
            for table in Table::ALL {
                let (lake, stands) = (self.lake.clone(), self.stands_on(table).await?);
                let Some(log) = self.open(table).await? else { continue };
                let deletes = if plan.is_dry { Deletes::No } else { Deletes::Yes };
                keep.apply(&lake, log, &stands, deletes).await?.into_iter().for_each(&mut *tell);
            }
        }
        Ok(())
    }

    /// Tells once of each change of rows by other programs.
    fn tell_of_others(&mut self, tell: &mut (dyn FnMut(Done) + Send)) {
        for (table, log) in &mut self.logs {
            for change in log.take_foreign() {
                if self.told.get(table).is_none_or(|told| *told < change.version) {
                    self.told.insert(*table, change.version);
                    tell(Done::Foreign(change));
                }
            }
        }
    }

    async fn roll_up(&mut self, target: Table) -> Result<Option<Done>, CompactError> {
        let Some((mut source, log)) = self.take_source_of(target).await? else { return Ok(None) };
        let made = match log {
            Some(log) => Ok(log),
            None => match source.parameters() {
                Ok(parameters) => TableLog::open_or_make(&self.lake, &parameters.definition(target)).await,
                Err(error) => Err(error),
            },
        };
        let mut log = made?;
        let done = RollUp { source: &mut source, target: &mut log, memory: self.memory }.run().await;
        write_checkpoint(&mut log).await;
        self.logs.insert(source.table(), source);
        self.logs.insert(target, log);
        done
    }

    /// How many windows of a roll-up are to be summed again.
    async fn windows_changed(&mut self, target: Table) -> Result<usize, CompactError> {
        let Some((mut source, log)) = self.take_source_of(target).await? else { return Ok(0) };
        let windows = match log {
            Some(mut log) => {
                let looked = RollUp { source: &mut source, target: &mut log, memory: self.memory }.look().await?;
                self.logs.insert(target, log);
                looked
            }
            None => {
                let live = source.live_files().await?;
                let folders: BTreeSet<_> = live.iter().filter_map(|file| Folder::of(source.table(), file)).collect();
                folders.len()
            }
        };
        self.logs.insert(source.table(), source);
        Ok(windows)
    }

    /// The source of a roll-up, and the roll-up, if they are there.
    async fn take_source_of(&mut self, target: Table) -> Result<Option<(TableLog, Option<TableLog>)>, CompactError> {
        let Some(source) = target.source() else { return Ok(None) };
        self.open(target).await?;
        if self.open(source).await?.is_none() {
            return Ok(None);
        }
        Ok(self.logs.remove(&source).map(|source| (source, self.logs.remove(&target))))
    }

    /// A table, if the lake has it.
    async fn open(&mut self, table: Table) -> Result<Option<&mut TableLog>, CompactError> {
        if !self.logs.contains_key(&table)
            && let Some(mut log) = TableLog::find(&self.lake, table).await?
        {
            log.look_back().await?;
            self.logs.insert(table, log);
        }
        Ok(self.logs.get_mut(&table))
    }

    /// Up to when hardly anything will come any more, by the partition that is ahead. It decides what is put together,
    /// and nothing else.
    async fn settled_ms(&mut self) -> Result<Option<i64>, CompactError> {
        let Some(minutes) = self.open(Table::ClicksMinute).await? else { return Ok(None) };
        let lateness_ms = minutes.parameters()?.allowed_lateness_ms;
        let ahead = minutes.stands().values().filter_map(|stand| stand.emitted_ms).max();
        Ok(ahead.map(|emitted_ms| emitted_ms - lateness_ms))
    }

    /// The versions of a table that its roll-up stands on.
    async fn stands_on(&mut self, table: Table) -> Result<Vec<Version>, CompactError> {
        let mut stands = Vec::new();
        for target in Table::ROLLED_UP.into_iter().filter(|target| target.source() == Some(table)) {
            if let Some(log) = self.open(target).await? {
                log.refresh().await?;
                stands.push(rolled_up_from(target, |app_id| log.txn(app_id)).unwrap_or(0));
            }
        }
        Ok(stands)
    }
}

async fn write_checkpoint(log: &mut TableLog) {
    if let Some(checkpoint) = log.take_checkpoint_owed() {
        checkpoint.write_or_warn().await;
    }
}
