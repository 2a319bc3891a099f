//! Backfill in place: computes closed windows of `clicks_minute` again from the raw clicks, and replaces their rows in
//! one commit, beside the live job.
//!
//! ```text
//!   snapshot of the table ──> cut and watermark of each partition: what is in scope
//!     │
//!   the raw table has come to that cut? ── no ──> wait, or refuse
//!     │
//!   recompute the scope up to the cut, into files that nobody sees yet
//!     │
//!     ├─> newest version: which files hold rows in scope? what else do they hold?
//!     │     ├─ a row straddles the cut, or a partition has gone back ──> from the start
//!     │     └─ commit on exactly this version ── overtaken ──> look again at what is new
//!     │
//!   done
//! ```
//!
//! It moves no stand. Rows that the live job appends meanwhile are of events at or above the cut, and stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ingest::backoff::{Backoff, is_young_enough, unless_stopped};
use ingest::drive::DriveError;
use ingest::replay::Needs;
use lake_schemas::job::{Flush, Job};
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::table::Version;
use lake_schemas::{Code, Cut, History, Table, TopicPartition, Windows};
use lake_store::LakeError;
use lake_store::commit::{Commit, CommitId, Outcome, TableLog};
use lake_store::files::discard;
use lake_store::lost::or_lost;
use stream_agg::job::Aggregate;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::contents::Changes;
use crate::in_place::in_place;
use crate::minute_files::{MinuteFiles, OtherRows, ReplacementPlan};
use crate::newest::lacks_its_newest;
use crate::recompute::{Output, Recompute};
use crate::scope::Scope;
use crate::work::Work;

/// Interval of looks at the raw table while it is behind.
const RAW_LOOK: Duration = Duration::from_millis(500);

/// Longest wait of a stop for the deletion of files that were written in vain. The sweep takes what is left.
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Choice of what a backfill in place writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Writes nothing: only computes what would change.
    Nothing,
    /// Writes what is recomputed, unless it equals what the table has.
    Changes,
    /// Writes what is recomputed, in any case.
    Always,
}

/// A backfill in place.
pub struct Replace<'a> {
    /// Part of history to replace, and how it is read.
    pub work: Work<'a>,
    /// What to write.
    pub writes: Writes,
    /// Longest wait for the raw table.
    pub wait: Duration,
}

/// Outcome of a backfill in place.
#[derive(Clone, Debug)]
pub enum Replaced {
    /// The rows were replaced, in this version of the table.
    Committed(Version, Changes),
    /// Nothing was written: only a comparison was asked for, or there was nothing to change.
    Compared(Changes),
    /// The backfill was stopped, and nothing was written.
    Stopped,
}

/// Scope of one attempt, taken from one version of the table.
struct Snapshot {
    scope: Scope,
    history: History,
    /// Raw table, which has come to the snapshot's cut.
    raw: TableLog,
}

/// Outcome of one attempt.
enum Attempt {
    Done(Replaced),
    StartOver,
}

impl Replace<'_> {
    /// Replaces the rows in scope, and starts over as often as the table changes in scope.
    pub fn run(&self) -> BoxFuture<'_, Result<Replaced, DriveError>> {
        Box::pin(async move {
            let table = Table::ClicksMinute;
            let opening = async {
                let found = TableLog::find(self.work.lake, table).await?;
                let minutes = found.ok_or_else(|| self.work.lake.lacks(table))?;
                Ok::<_, DriveError>((minutes, in_place(&self.work).await?))
            };
            let Some(opened) = unless_stopped(opening, &self.work.stop).await else { return Ok(Replaced::Stopped) };
            let (mut minutes, asked) = opened?;
            let parameters = minutes.parameters()?;
            let Some((windows, raw_cut)) = asked else { return Ok(Replaced::Stopped) };
            loop {
                let looking = self.snapshot(&mut minutes, &windows, raw_cut.as_ref());
                let Some(looked) = unless_stopped(looking, &self.work.stop).await else { return Ok(Replaced::Stopped) };
                let Some(snapshot) = looked? else { return Ok(Replaced::Stopped) };
                match self.attempt(&mut minutes, &parameters, snapshot).await? {
                    Attempt::Done(replaced) => return Ok(replaced),
                    Attempt::StartOver => info!("the table has changed in scope; computing again"),
                }
            }
        })
    }

    /// Looks at the table, and then waits for the raw table to come as far; `None` if that was stopped.
    async fn snapshot(
        &self,
        minutes: &mut TableLog,
        windows: &Windows,
        raw_cut: Option<&Cut>,
    ) -> Result<Option<Snapshot>, DriveError> {
        self.refresh(minutes).await?;
        // Only what the watermark has passed is replaced; the live job will still write the rest itself.
        let windowing = minutes.parameters()?.windowing;
        let scope = Scope { windowing, windows: windows.clone(), stands: None };
        let closed: BTreeMap<_, _> =
            minutes.stands().into_iter().filter(|(_, stand)| scope.has_closed(*stand)).collect();
        if closed.is_empty() || windows.are_none() {
            let why = "clicks_minute has closed no window of what is asked for; nothing is replaced";
            return Err(LakeError::Refused(Code::NothingThere.because(why.to_owned())).into());
        }
        let until = cut_of(&closed);
        let mut raw = self.work.raw().await?;
        let deadline = Instant::now() + self.wait;
        loop {
            self.refresh(&mut raw).await?;
            let cut = |of: &TopicPartition| raw_cut.map_or_else(|| raw.stand(of).cut, |cut| cut.get(of).copied());
            let Some((of, next)) = until.iter().find(|(of, next)| cut(of) < Some(**next)) else { break };
            if raw_cut.is_some() || Instant::now() >= deadline {
                return Err(LakeError::Refused(Code::RawBehind.because(format!(
                    "clicks is behind clicks_minute: of {of} it has what is below {}, clicks_minute what is below \
                     {next}; let `clicklake ingest` catch up, or give a longer --wait",
                    cut(of).unwrap_or(0)
                )))
                .into());
            }
            tokio::select! {
                () = self.work.stop.cancelled() => return Ok(None),
                () = sleep(RAW_LOOK) => {}
            }
        }
        // The raw table has come to the cut, yet another program may have taken its newest rows out since.
        let files = raw.raw_files().await?;
        if let Some(of) = lacks_its_newest(&files, &closed, minutes.parameters()?.out_of_orderness_ms) {
            return Err(LakeError::Refused(Code::ForeignLoss.because(format!(
                "clicks no longer has the newest clicks of {of} that clicks_minute has counted, so its watermark falls \
                 back and fewer windows are complete: restore them (`clicklake verify` names the version that removed \
                 them), or count what is left: `clicklake backfill --into NAME`, then `clicklake promote NAME`"
            )))
            .into());
        }
        let history = History { since: Cut::new(), until, windows: windows.clone() };
        Ok(Some(Snapshot { scope: Scope { stands: Some(closed), ..scope }, history, raw }))
    }

    /// Computes a snapshot's scope again, and commits it in the place of what is there.
    async fn attempt(
        &self,
        minutes: &mut TableLog,
        parameters: &Parameters,
        Snapshot { scope, history, raw }: Snapshot,
    ) -> Result<Attempt, DriveError> {
        let job = Aggregate::over(history.clone(), minutes.table(), parameters.clone());
        let (store, stop) = (minutes.object_store(), &self.work.stop);
        let (written_to, other_rows) = match self.writes {
            Writes::Nothing => (None, OtherRows::Untouched),
            Writes::Changes | Writes::Always => (Some(Arc::clone(&store)), OtherRows::Rewritten),
        };
        let mut output = Output::new(minutes.table(), parameters.dimension_columns(), written_to, stop);
        let needs = Needs { history: history.clone(), parameters: parameters.clone() };
        let recompute = Recompute {
            job: &job,
            needs,
            drained: Cut::new(),
            end: Flush::Closed,
            at_a_time: self.work.at_a_time,
            meter: &self.work.meter,
            stop,
        };
        let mut files = MinuteFiles::new(minutes.table(), parameters, Arc::clone(&store), scope.clone(), other_rows);
        let (began, id) = (Instant::now(), CommitId::unique());
        let base = Commit { id: id.clone(), cut: history.until.clone(), ..Commit::new(job.name()) };
        let computing = async {
            let is_whole = recompute.run(raw, &mut output).await?;
            if is_whole {
                output.flush().await?;
            }
            Ok::<_, DriveError>(is_whole)
        };
        let done = match unless_stopped(computing, stop).await {
            // Files that took too long may be swept before the commit names them.
            Some(Ok(true)) => match is_young_enough(began, minutes.table()) {
                Ok(()) => self.commit(minutes, &scope, &output, &mut files, &base).await,
                Err(error) => Err(error.into()),
            },
            Some(Err(error)) if !stop.is_cancelled() => Err(error),
            Some(_) | None => Ok(Attempt::Done(Replaced::Stopped)),
        };
        // No version names these files, however it ended; if a commit of them is in doubt, `discard` keeps them. A stop
        // waits for the deletion only so long, and the sweep takes the rest.
        if !matches!(done, Ok(Attempt::Done(Replaced::Committed(..)))) {
            let written = [output.adds.as_slice(), &files.written()].concat();
            let too_late = async {
                stop.cancelled().await;
                sleep(DISCARD_MAX).await;
            };
            tokio::select! {
                () = discard(store.as_ref(), &id, &written) => {}
                () = too_late => {}
            }
        }
        done
    }

    /// Commits what was recomputed in the place of the rows in scope. `base` is the commit without its files.
    async fn commit(
        &self,
        minutes: &mut TableLog,
        scope: &Scope,
        output: &Output,
        files: &mut MinuteFiles,
        base: &Commit,
    ) -> Result<Attempt, DriveError> {
        let (mut backoff, mut tried) = (Backoff::default(), Changes::default());
        loop {
            if self.work.stop.is_cancelled() {
                return Ok(Attempt::Done(Replaced::Stopped));
            }
            // Each round plans against the newest version: the live job, or a compaction, may have changed meanwhile
            // which files hold rows in scope.
            let Some(refreshed) = unless_stopped(self.refresh(minutes), &self.work.stop).await else { continue };
            refreshed?;
            // The table was promoted, or restored: the snapshot's cut no longer says which events its rows hold.
            if scope.has_gone_back(|of| minutes.stand(of)) {
                return Ok(Attempt::StartOver);
            }
            files.carry(minutes.whole_schema()?);
            let planning = async {
                let live = minutes.live_files().await?;
                // If our files are live, an earlier commit whose answer was lost has succeeded.
                if output.is_among(&live) { Ok(None) } else { files.plan(&live).await.map(Some) }
            };
            let Some(planned) = unless_stopped(planning, &self.work.stop).await else { continue };
            let ReplacementPlan { removes, keeps, before, is_straddling, open } = match planned {
                Ok(Some(plan)) => plan,
                // After a long outage the log no longer tells of our commit; that its files are live is the only proof.
                Ok(None) => return Ok(Attempt::Done(Replaced::Committed(minutes.version(), tried))),
                Err(error) => {
                    let explaining = or_lost(minutes, error);
                    let Some(error) = unless_stopped(explaining, &self.work.stop).await else { continue };
                    if let Some(again) = unless_stopped(backoff.again(error, &self.work.stop), &self.work.stop).await {
                        again?;
                    }
                    continue;
                }
            };
            // A row of events on both sides of the cut can be neither kept nor replaced: another backfill wrote it.
            if is_straddling {
                return Ok(Attempt::StartOver);
            }
            let changes = Changes { left_out: open, ..before.changes(&output.contents) };
            let is_needed = match self.writes {
                Writes::Nothing => false,
                Writes::Changes => changes.windows_changed() > 0,
                Writes::Always => changes.windows() > 0,
            };
            if !is_needed {
                return Ok(Attempt::Done(Replaced::Compared(changes)));
            }
            tried = changes.clone();
            // The commit names the version that the plan was made from: on any other it is overtaken, and planned
            // again.
            let commit = Commit {
                adds: output.adds.iter().cloned().chain(keeps).collect(),
                removes,
                onto: Some(minutes.version()),
                ..base.clone()
            };
            loop {
                match minutes.commit(&commit).await {
                    Ok(Outcome::Committed(version)) => {
                        if let Some(checkpoint) = minutes.take_checkpoint_owed() {
                            checkpoint.write_or_warn().await;
                        }
                        return Ok(Attempt::Done(Replaced::Committed(version, changes)));
                    }
                    Ok(Outcome::Overtaken { .. } | Outcome::InputGone { .. }) => break,
                    Ok(Outcome::Fenced { app_id, .. }) => unreachable!("no stand is moved, and not {app_id}"),
                    // The commit may have happened: the same one is tried until that is known.
                    Err(error) => backoff.again(error, &self.work.stop).await?,
                }
            }
        }
    }

    async fn refresh(&self, log: &mut TableLog) -> Result<(), LakeError> {
        let mut backoff = Backoff::default();
        while let Err(error) = log.refresh().await {
            backoff.again(error, &self.work.stop).await?;
        }
        Ok(())
    }
}
