//! One round: what has changed is rolled up, what is small put together, what is old given up.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use lake_schemas::commit::{Deletes, TableLog, Version};
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{Folder, Lake, Table};
use tokio::time::Instant;

use crate::error::CompactError;
use crate::failures::Failures;
use crate::history::Keep;
use crate::merge::{Merge, Sum};
use crate::report::Done;
use crate::roll_up::RollUp;
use crate::setbacks::{Setbacks, Work};
use crate::sort_out::SortOut;

/// Passes of a round: it begins again if a table was redefined meanwhile. A table that always is counts as a failure.
const PASSES_MAX: usize = 3;

/// What a round does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// What becomes of history; `None`: nothing.
    pub keep: Option<Keep>,
    /// Whether it only tells what it would do.
    pub is_dry: bool,
    /// The time: no folder is closed before its end. `None`: watermarks alone decide.
    pub now: Option<DateTime<Utc>>,
}

/// Called with each thing that was done.
type Tell<'a> = &'a mut (dyn FnMut(Done) + Send);

/// Keeps a lake cheap, round by round. Between rounds it remembers the tables' heads, so that a round reads only what
/// is new, and what failed.
pub struct Compactor {
    lake: Lake,
    /// How much memory queries may take, in bytes.
    memory: usize,
    logs: BTreeMap<Table, TableLog>,
    setbacks: Setbacks,
    /// The last version of each table that was told of because another program wrote it.
    told: BTreeMap<Table, Version>,
}

impl Compactor {
    /// A compactor of a lake. Nothing is read yet.
    pub fn new(lake: Lake, memory: usize) -> Self {
        Self { lake, memory, logs: BTreeMap::new(), setbacks: Setbacks::default(), told: BTreeMap::new() }
    }

    /// Does a round, and tells of each thing when it is done. Whatever fails is left out and the rest is done; the
    /// round returns the worst error.
    pub fn round<'a>(&'a mut self, plan: &'a Plan, tell: Tell<'a>) -> BoxFuture<'a, Result<(), CompactError>> {
        Box::pin(async move {
            let mut failures = Failures::default();
            for _ in 0..PASSES_MAX {
                failures.begin_again();
                self.pass(plan, tell, &mut failures).await;
                self.tell_of_others(tell);
                if !failures.has_altered() {
                    break;
                }
            }
            failures.worst()
        })
    }

    async fn pass(&mut self, plan: &Plan, tell: Tell<'_>, failures: &mut Failures) {
        let mut windows = BTreeMap::new();
        for target in Table::ROLLED_UP {
            let done = if plan.is_dry {
                self.windows_changed(target).await.map(|changed| {
                    windows.insert(target, changed);
                })
            } else {
                self.roll_up(target).await.map(|done| done.into_iter().for_each(&mut *tell))
            };
            done.unwrap_or_else(|error| failures.add(error));
        }
        let settled_ms = self.settled_ms(plan.now).await.unwrap_or_else(|error| {
            failures.add(error);
            None
        });
        for table in Table::ALL {
            let done = if plan.is_dry {
                self.would_merge(table, settled_ms, windows.get(&table).copied().unwrap_or(0), tell).await
            } else {
                self.merge(table, settled_ms, tell, failures).await
            };
            done.unwrap_or_else(|error| failures.add(error));
        }
        let Some(keep) = plan.keep.filter(|_| !failures.has_altered()) else { return };
        for table in Table::ALL {
            let done = self.keep_history(table, keep, plan.is_dry).await;
            done.map(|done| done.into_iter().for_each(&mut *tell)).unwrap_or_else(|error| failures.add(error));
        }
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
        let work = Work::RollUp(target);
        if self.setbacks.forbid(&work) {
            return Ok(None);
        }
        let done = self.try_roll_up(target).await;
        match &done {
            Ok(_) => self.setbacks.clear(&work),
            Err(error) if error.is_altered() => {}
            Err(_) => self.setbacks.add(work),
        }
        done
    }

    async fn try_roll_up(&mut self, target: Table) -> Result<Option<Done>, CompactError> {
        let Some((mut source, log)) = self.take_source_of(target).await? else { return Ok(None) };
        let mut log = match log {
            Some(log) => log,
            None => TableLog::open_or_make(&self.lake, &source.parameters()?.definition(target)).await?,
        };
        let done = RollUp { source: &mut source, target: &mut log, memory: self.memory }.run().await?;
        write_checkpoint(&mut log).await;
        self.know(source);
        self.know(log);
        Ok(done)
    }

    /// How many windows of a roll-up are to be summed again.
    async fn windows_changed(&mut self, target: Table) -> Result<usize, CompactError> {
        let Some((mut source, log)) = self.take_source_of(target).await? else { return Ok(0) };
        let windows = match log {
            Some(mut log) => {
                let looked = RollUp { source: &mut source, target: &mut log, memory: self.memory }.look().await?;
                self.know(log);
                looked
            }
            None => {
                let live = source.live_files().await?;
                let folders: BTreeSet<_> = live.iter().filter_map(|file| Folder::of(source.table(), file)).collect();
                folders.len()
            }
        };
        self.know(source);
        Ok(windows)
    }

    /// Puts files of a table together.
    async fn merge(
        &mut self,
        table: Table,
        settled_ms: Option<i64>,
        tell: Tell<'_>,
        failures: &mut Failures,
    ) -> Result<(), CompactError> {
        let Some(mut log) = self.take(table).await? else { return Ok(()) };
        let (sorted, memory) = (SortOut { log: &mut log, memory: self.memory }.run().await?, self.memory);
        sorted.into_iter().for_each(&mut *tell);
        let (began, setbacks) = (Instant::now(), &mut self.setbacks);
        let mut merge = Merge { log: &mut log, settled_ms, memory, setbacks, sum: Sum::default() };
        let (merged, sum) = (merge.run(failures).await, merge.sum);
        // Commits before a failure are told of too.
        sum.done(table, log.version(), began.elapsed()).into_iter().for_each(tell);
        merged?;
        write_checkpoint(&mut log).await;
        self.know(log);
        Ok(())
    }

    /// Tells what a round would do to a table.
    async fn would_merge(
        &mut self,
        table: Table,
        settled_ms: Option<i64>,
        windows: usize,
        tell: Tell<'_>,
    ) -> Result<(), CompactError> {
        let Some(mut log) = self.take(table).await? else { return Ok(()) };
        let (memory, setbacks) = (self.memory, &mut self.setbacks);
        let odd = SortOut { log: &mut log, memory }.look().await?;
        let files = odd + Merge { log: &mut log, settled_ms, memory, setbacks, sum: Sum::default() }.look().await?;
        if windows + files > 0 {
            tell(Done::Would { table, windows, files });
        }
        self.know(log);
        Ok(())
    }

    /// Gives up what of a table's history is not kept.
    async fn keep_history(&mut self, table: Table, keep: Keep, is_dry: bool) -> Result<Vec<Done>, CompactError> {
        let stands = self.stands_on(table).await?;
        let Some(mut log) = self.take(table).await? else { return Ok(Vec::new()) };
        let deletes = if is_dry { Deletes::No } else { Deletes::Yes };
        let done = keep.apply(&self.lake, &mut log, &stands, deletes).await?;
        self.know(log);
        Ok(done)
    }

    /// The source of a roll-up, and the roll-up, if they are there.
    async fn take_source_of(&mut self, target: Table) -> Result<Option<(TableLog, Option<TableLog>)>, CompactError> {
        let Some(source) = target.source() else { return Ok(None) };
        let Some(source) = self.take(source).await? else { return Ok(None) };
        Ok(Some((source, self.take(target).await?)))
    }

    /// Takes a table out, or opens it; `None` if the lake lacks it. After a failure it is not given back: what is
    /// remembered of it may be what was wrong.
    async fn take(&mut self, table: Table) -> Result<Option<TableLog>, CompactError> {
        if let Some(log) = self.logs.remove(&table) {
            return Ok(Some(log));
        }
        let Some(mut log) = TableLog::find(&self.lake, table).await? else { return Ok(None) };
        log.look_back().await?;
        Ok(Some(log))
    }

    /// Remembers a table for the next use.
    fn know(&mut self, log: TableLog) {
        self.logs.insert(log.table(), log);
    }

    /// Returns the time before which hardly anything will come, by the partition that is ahead. It is never in the
    /// future, as the watermark of a producer with a wrong clock may be. It only decides which files are put together.
    async fn settled_ms(&mut self, now: Option<DateTime<Utc>>) -> Result<Option<i64>, CompactError> {
        let Some(minutes) = self.take(Table::ClicksMinute).await? else { return Ok(None) };
        let lateness_ms = minutes.parameters()?.allowed_lateness_ms;
        let ahead = minutes.stands().values().filter_map(|stand| stand.emitted_ms).max();
        self.know(minutes);
        let now_ms = now.map_or(i64::MAX, |now| now.timestamp_millis());
        Ok(ahead.map(|emitted_ms| emitted_ms.min(now_ms).saturating_sub(lateness_ms)))
    }

    /// The versions of a table that its roll-up stands on.
    async fn stands_on(&mut self, table: Table) -> Result<Vec<Version>, CompactError> {
        let mut stands = Vec::new();
        for target in Table::ROLLED_UP.into_iter().filter(|target| target.source() == Some(table)) {
            if let Some(mut log) = self.take(target).await? {
                log.refresh().await?;
                stands.push(rolled_up_from(target, |app_id| log.txn(app_id)).unwrap_or(0));
                self.know(log);
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
