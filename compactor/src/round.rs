//! One round of a compactor: roll up what has changed, merge small files, expire old versions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use lake_schemas::stand::rolled_up_from;
use lake_schemas::table::Version;
use lake_schemas::{Folder, Table};
use lake_store::Lake;
use lake_store::commit::{Deletes, TableLog};
use tokio::time::Instant;

use crate::error::CompactError;
use crate::failures::Failures;
use crate::history::{Expiration, Keep};
use crate::merge::{FileCompaction, Sum, Times};
use crate::report::Done;
use crate::roll_up::RollUp;
use crate::setbacks::{Setbacks, Work};
use crate::sort_out::SortOut;

/// Number of passes of a round: it begins again if a table was redefined meanwhile. An upgrade redefines one table
/// after the other, each perhaps in a pass of its own; a few more passes are for what others redefine beside it. A
/// table that is redefined even in the last pass counts as a failure.
const PASSES_MAX: usize = Table::ALL.len() + 3;

/// Whether a round changes the lake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Does what there is to do, and reports it.
    #[default]
    Perform,
    /// Reports only what would be done.
    DryRun,
}

/// Parameters of a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Retention; `None` if nothing expires.
    pub keep: Option<Keep>,
    /// Interval between two searches for orphans (files that no version names) in the same table, whatever became of
    /// other tables. Zero: they are searched for whenever `keep` says so.
    pub orphans_every: Duration,
    /// Whether what there is to do is done.
    pub mode: Mode,
    /// Current time: no folder is closed before its end, nor by clicks that claim to be later than this. `None`:
    /// watermarks and the times of messages alone decide.
    pub now: Option<DateTime<Utc>>,
}

/// Callback that receives each report.
type Tell<'a> = &'a mut (dyn FnMut(Done) + Send);

/// Keeps a lake cheap to read, round by round. Between rounds it remembers the tables' logs, so that a round reads only
/// what is new, and the work that failed.
pub struct Compactor {
    lake: Lake,
    /// Memory that queries may take, in bytes.
    memory: usize,
    logs: BTreeMap<Table, TableLog>,
    setbacks: Setbacks,
    /// Paths of raw files that another program may have written, and that were found in order.
    in_order: BTreeMap<Table, HashSet<String>>,
    /// Beginning of the round that last searched each table for orphans.
    swept: BTreeMap<Table, Instant>,
    /// Last version of each table that was reported as written by another program.
    told: BTreeMap<Table, Version>,
}

impl Compactor {
    /// Creates a compactor for a lake. Nothing is read yet.
    pub fn new(lake: Lake, memory: usize) -> Self {
        let (logs, setbacks) = (BTreeMap::new(), Setbacks::default());
        let (in_order, swept, told) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { lake, memory, logs, setbacks, in_order, swept, told }
    }

    /// Runs one round, and reports each thing as soon as it is done. Work that fails is skipped and the rest is done;
    /// the round returns the worst error.
    pub fn round<'a>(&'a mut self, plan: &'a Plan, tell: Tell<'a>) -> BoxFuture<'a, Result<(), CompactError>> {
        Box::pin(async move {
            let (mut failures, began) = (Failures::default(), Instant::now());
            for _ in 0..PASSES_MAX {
                failures.begin_again();
                self.pass(plan, began, tell, &mut failures).await;
                self.tell_of_others(tell);
                if !failures.has_altered() {
                    break;
                }
            }
            failures.worst()
        })
    }

    /// Runs one pass of a round, which began at `began`.
    async fn pass(&mut self, plan: &Plan, began: Instant, tell: Tell<'_>, failures: &mut Failures) {
        let mut windows = BTreeMap::new();
        for target in Table::ROLLED_UP {
            let done = if plan.mode == Mode::DryRun {
                self.windows_changed(target).await.map(|changed| {
                    windows.insert(target, changed);
                })
            } else {
                self.roll_up(target).await.map(|done| done.into_iter().for_each(&mut *tell))
            };
            done.unwrap_or_else(|error| failures.add(error));
        }
        let now_ms = plan.now.map_or(i64::MAX, |now| now.timestamp_millis());
        let settled_ms = self.settled_ms(now_ms).await.unwrap_or_else(|error| {
            failures.add(error);
            None
        });
        let times = Times { settled_ms, now_ms };
        for table in Table::ALL {
            let done = if plan.mode == Mode::DryRun {
                self.would_merge(table, times, windows.get(&table).copied().unwrap_or(0), tell).await
            } else {
                self.merge(table, times, tell, failures).await
            };
            done.unwrap_or_else(|error| failures.add(error));
        }
        let Some(keep) = plan.keep.filter(|_| !failures.has_altered()) else { return };
        for table in Table::ALL {
            let last = self.swept.get(&table);
            let is_due = last.is_none_or(|last| began - *last >= plan.orphans_every);
            // Roll-ups, merges and the tables before this one have taken time, which ages versions.
            let keep = Keep { orphans: keep.orphans && is_due, now: keep.now + began.elapsed(), ..keep };
            match self.keep_history(table, keep, plan.mode).await {
                Ok(Expiration { done, has_swept }) => {
                    done.into_iter().for_each(&mut *tell);
                    if has_swept && plan.mode == Mode::Perform {
                        self.swept.insert(table, began);
                    }
                }
                Err(error) => failures.add(error),
            }
        }
    }

    /// Reports each change of rows by other programs once.
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

    /// Returns how many windows of a roll-up are to be summed again.
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
                let folders: BTreeSet<_> =
                    live.iter().filter_map(|file| Folder::named(source.table(), &file.partition_values)).collect();
                folders.len()
            }
        };
        self.know(source);
        Ok(windows)
    }

    /// Sorts the files of a table that another program wrote, and merges files.
    async fn merge(
        &mut self,
        table: Table,
        times: Times,
        tell: Tell<'_>,
        failures: &mut Failures,
    ) -> Result<(), CompactError> {
        let Some(mut log) = self.take(table).await? else { return Ok(()) };
        let (memory, setbacks) = (self.memory, &mut self.setbacks);
        let in_order = self.in_order.entry(table).or_default();
        // Commits that succeeded before a failure are reported, too.
        let began = Instant::now();
        let mut sort_out = SortOut { log: &mut log, memory, setbacks: &mut *setbacks, in_order, sum: Sum::default() };
        let (sorted, sum) = (sort_out.run(failures).await, sort_out.sum);
        sum.sorted_out(table, log.version(), began.elapsed()).into_iter().for_each(&mut *tell);
        sorted?;
        let began = Instant::now();
        let mut merge = FileCompaction { log: &mut log, times, memory, setbacks, sum: Sum::default() };
        let (merged, sum) = (merge.run(failures).await, merge.sum);
        sum.merged(table, log.version(), began.elapsed()).into_iter().for_each(tell);
        merged?;
        write_checkpoint(&mut log).await;
        self.know(log);
        Ok(())
    }

    /// Reports what a round would do to a table.
    async fn would_merge(
        &mut self,
        table: Table,
        times: Times,
        windows: usize,
        tell: Tell<'_>,
    ) -> Result<(), CompactError> {
        let Some(mut log) = self.take(table).await? else { return Ok(()) };
        let (memory, setbacks) = (self.memory, &mut self.setbacks);
        let in_order = self.in_order.entry(table).or_default();
        let mut sort_out = SortOut { log: &mut log, memory, setbacks: &mut *setbacks, in_order, sum: Sum::default() };
        let odd = sort_out.look().await?;
        let files = odd + FileCompaction { log: &mut log, times, memory, setbacks, sum: Sum::default() }.look().await?;
        if windows + files > 0 {
            tell(Done::Would { table, windows, files });
        }
        self.know(log);
        Ok(())
    }

    /// Expires the versions of a table that are past the retention.
    async fn keep_history(&mut self, table: Table, keep: Keep, mode: Mode) -> Result<Expiration, CompactError> {
        let stands = self.stands_on(table).await?;
        let Some(mut log) = self.take(table).await? else { return Ok(Expiration::default()) };
        let deletes = match mode {
            Mode::Perform => Deletes::Yes,
            Mode::DryRun => Deletes::No,
        };
        let kept = keep.apply(&self.lake, &mut log, &stands, deletes).await?;
        self.know(log);
        Ok(kept)
    }

    /// Takes the source of a roll-up, and the roll-up, if they exist.
    async fn take_source_of(&mut self, target: Table) -> Result<Option<(TableLog, Option<TableLog>)>, CompactError> {
        let Some(source) = target.source() else { return Ok(None) };
        let Some(source) = self.take(source).await? else { return Ok(None) };
        Ok(Some((source, self.take(target).await?)))
    }

    /// Takes a table out of memory, or opens it; `None` if the lake lacks it. After a failure it is not put back, since
    /// its remembered state may have been the cause.
    async fn take(&mut self, table: Table) -> Result<Option<TableLog>, CompactError> {
        if let Some(log) = self.logs.remove(&table) {
            return Ok(Some(log));
        }
        let Some(mut log) = TableLog::find(&self.lake, table).await? else { return Ok(None) };
        log.look_back().await?;
        Ok(Some(log))
    }

    /// Puts a table back into memory for the next use.
    fn know(&mut self, log: TableLog) {
        self.logs.insert(log.table(), log);
    }

    /// Returns the time before which hardly any click will come, in milliseconds, going by the partition that is
    /// furthest ahead. It is never in the future, as the watermark of a producer with a wrong clock may be. It only
    /// decides which files are merged.
    async fn settled_ms(&mut self, now_ms: i64) -> Result<Option<i64>, CompactError> {
        let Some(minutes) = self.take(Table::ClicksMinute).await? else { return Ok(None) };
        let lateness_ms = minutes.parameters()?.allowed_lateness_ms;
        let ahead = minutes.stands().values().filter_map(|stand| stand.watermark_ms).max();
        self.know(minutes);
        Ok(ahead.map(|watermark_ms| watermark_ms.min(now_ms).saturating_sub(lateness_ms)))
    }

    /// Returns the versions of a table that its roll-up was made from.
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
