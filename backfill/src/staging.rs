//! Backfill into a staging table: a table of the same shape, perhaps with other parameters.
//!
//! The loop that writes the live job's table writes it, epoch by epoch, and it records its stands in the same way. So
//! an interrupted run goes on where it ended, and counts nothing twice.

use std::time::Duration;

use futures::future::BoxFuture;
use ingest::backoff::unless_stopped;
use ingest::drive::{CommitPolicy, Committed, DriveError, Progress, drive};
use ingest::hybrid::HybridSource;
use ingest::replay::{Needs, RawTable};
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::job::{Flush, Job};
use lake_schemas::minute::{Parameters, Requested};
use lake_schemas::{Code, Cut, EventTime, History, Live, Table, TopicPartition};
use lake_store::commit::TableLog;
use lake_store::lost::or_lost;
use lake_store::{Lake, LakeError, RawFile};
use stream_agg::job::Aggregate;
use tokio::sync::watch;

use crate::complete::has_all_below;
use crate::contents::{Changes, Contents};
use crate::end::End;
use crate::minute_files::{MinuteFiles, OtherRows};
use crate::recompute::{Output, Recompute};
use crate::scope::Scope;
use crate::work::Work;

/// Commit interval: long, because nobody waits for these rows.
const COMMIT_INTERVAL: Duration = Duration::from_secs(60);

/// A staging table to make.
pub struct Staging<'a> {
    /// Part of history that it covers, and how that is read.
    pub work: Work<'a>,
    /// Name of the table.
    pub table: Table,
    /// Parameters that are asked for; the others are those of the lake's own minutes.
    pub requested: Requested,
}

/// Outcome of making a staging table.
#[derive(Clone, Debug)]
pub enum Made {
    /// The table holds all that was asked for; the counters are of this run.
    Whole(Committed),
    /// The computation was stopped; the same command goes on with it.
    InPart,
}

impl Staging<'_> {
    /// Makes the table, or goes on with it.
    pub fn run(&self) -> BoxFuture<'_, Result<Made, DriveError>> {
        Box::pin(async move {
            let (log, history) = match TableLog::find(self.work.lake, self.table).await? {
                Some(log) => {
                    let history = self.begun(&log)?;
                    log.has_its_stands().await?;
                    (log, history)
                }
                None => self.begin().await?,
            };
            let parameters = log.parameters()?;
            // A run that goes on reads only the partitions that are not complete yet.
            let is_open = |(of, until): &(&TopicPartition, &i64)| !has_all_below(log.stand(of), **until);
            let open: Vec<_> = history.until.iter().filter(is_open).map(|(of, _)| of.clone()).collect();
            if open.is_empty() {
                let why = format!("{} is there already, and complete; give another name", self.table);
                return Err(LakeError::Refused(Code::StagingExists.because(why)).into());
            }
            let job = Aggregate::over(history.clone(), self.table, parameters.clone());
            let remaining = open.iter().map(|of| (of.clone(), history.until[of])).collect();
            let needs = Needs { history: History { until: remaining, ..history }, parameters };
            let raw = RawTable::needed(self.work.raw().await?, needs).metered(&self.work.meter).await?.shared();
            let mut source = HybridSource::new(raw, End::of(open, self.work.at_a_time), job.reads());
            let (policy, progress) = (CommitPolicy::every(COMMIT_INTERVAL), watch::Sender::new(Progress::default()));
            drive(&job, &mut source, vec![log], policy, None, self.work.stop.clone(), progress.clone()).await?;
            if self.work.stop.is_cancelled() {
                return Ok(Made::InPart);
            }
            Ok(Made::Whole(progress.borrow().tables.get(&self.table).copied().unwrap_or_default()))
        })
    }

    /// Compares what the table would hold with what the lake's own minutes hold of the same windows.
    pub fn compare(&self) -> BoxFuture<'_, Result<Option<Changes>, DriveError>> {
        Box::pin(async move {
            if TableLog::find_to_read(self.work.lake, self.table).await?.is_some() {
                return Err(self.is_there());
            }
            let (history, parameters) = self.asked().await?;
            let minutes = TableLog::find_to_read(self.work.lake, Table::ClicksMinute).await?;
            // Dimensions that only one of the two has must not make them differ.
            let mut dimensions = parameters.dimension_columns();
            if let Some(minutes) = &minutes {
                let theirs = minutes.parameters()?.dimension_columns();
                dimensions.retain(|name| theirs.contains(name));
            }
            let mut output = Output::new(self.table, dimensions.clone(), None, &self.work.stop);
            let windows = history.windows.clone();
            let job = Aggregate::over(history.clone(), self.table, parameters.clone());
            let needs = Needs { history, parameters };
            let (meter, stop, drained) = (&self.work.meter, &self.work.stop, Cut::new());
            let (at_a_time, end) = (self.work.at_a_time, Flush::Everything);
            let recompute = Recompute { job: &job, needs, drained, end, at_a_time, meter, stop };
            if !recompute.run(self.work.raw().await?, &mut output).await? {
                return Ok(None);
            }
            let Some(mut minutes) = minutes else {
                return Ok(Some(Contents::default().changes(&output.contents)));
            };
            let (parameters, store) = (minutes.parameters()?, minutes.object_store());
            let scope = Scope { windowing: parameters.windowing, windows, stands: None };
            let files = MinuteFiles::new(minutes.table(), &parameters, store, scope, OtherRows::Untouched);
            let mut files = files.by(dimensions);
            let planning = async {
                let live = minutes.live_files().await?;
                match files.plan(&live).await {
                    Err(error) => Err(or_lost(&mut minutes, error).await),
                    planned => planned,
                }
            };
            let Some(planned) = unless_stopped(planning, stop).await else { return Ok(None) };
            Ok(Some(planned?.before.changes(&output.contents)))
        })
    }

    /// Returns the requested history, in offsets and windows, and the parameters of the table.
    async fn asked(&self) -> Result<(History, Parameters), DriveError> {
        let history = self.work.range.history(self.work.lake).await?;
        let parameters = self.requested.of_a_new_table(self.table, defaults(self.work.lake).await?)?;
        let needs = Needs { history: history.clone(), parameters: parameters.clone() };
        let mut raw = RawTable::needed(self.work.raw().await?, needs);
        for of in history.until.keys() {
            let may_count = |file: &RawFile| {
                let touches = |(first, last): (EventTime, EventTime)| {
                    let width_ms = parameters.windowing.width_ms();
                    history.windows.touch(first.millis() - width_ms + 1, last.millis() + 1)
                };
                file.offsets.next > history.since(of) && file.event_times.is_none_or(touches)
            };
            if raw.files_of(of).await?.iter().any(may_count) {
                return Ok((history, parameters));
            }
        }
        let why = format!("clicks has no event for {}; nothing was made", self.work.range);
        Err(LakeError::Refused(Code::NothingThere.because(why)).into())
    }

    /// Makes the table.
    async fn begin(&self) -> Result<(TableLog, History), DriveError> {
        let (history, parameters) = self.asked().await?;
        let mut definition = parameters.definition(self.table);
        let recorded = history.to_property(&self.work.range.to_string());
        definition.properties.push((PROPERTY_BACKFILL.to_owned(), recorded));
        let log = TableLog::open_or_make(self.work.lake, &definition).await?;
        // Another process may have made it first.
        let history = self.begun(&log)?;
        Ok((log, history))
    }

    /// Returns the history that an existing table was begun with. Refuses if that is not what is asked for now, or if
    /// the table is counted live: nothing but that writes it then.
    fn begun(&self, log: &TableLog) -> Result<History, DriveError> {
        let recorded = log.properties().get(PROPERTY_BACKFILL).ok_or_else(|| self.is_there())?;
        if Live::recorded(self.table, log.properties())? != Live::No {
            let why = format!("{} is counted live, and no backfill writes such a table; give another name", self.table);
            return Err(LakeError::Refused(Code::StagingExists.because(why)).into());
        }
        let (asked, history) = History::of_property(self.table.name(), recorded)?;
        if asked != self.work.range.to_string() {
            return Err(LakeError::Refused(Code::StagingExists.because(format!(
                "{} was begun with {asked}, not with {}; finish it with that, or give another name",
                self.table, self.work.range
            )))
            .into());
        }
        self.requested.agrees_with(self.table, &log.parameters()?)?;
        Ok(history)
    }

    fn is_there(&self) -> DriveError {
        LakeError::Refused(Code::StagingExists.because(format!("{} is there already; give another name", self.table)))
            .into()
    }
}

/// Returns the parameters of a staging table for which none are asked: those that the lake's own minutes record.
async fn defaults(lake: &Lake) -> Result<Parameters, LakeError> {
    match TableLog::find_to_read(lake, Table::ClicksMinute).await? {
        Some(minutes) => minutes.parameters(),
        None => Ok(Parameters::default()),
    }
}
