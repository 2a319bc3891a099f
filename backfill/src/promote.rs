//! Promotes a staging table: it becomes `clicks_minute`, in one commit; an undo brings back what was there before.
//!
//! ```text
//!   the staging table is of all history, and complete   no → refused
//!   the raw table has what comes behind it              no → waited for, or refused
//!     │
//!   its files are copied into the folder of clicks_minute, where no reader sees them yet
//!     │
//!   the newest version is pinned: it and all behind it are kept
//!     │
//!     └─> look at the newest version; on exactly that: every file out, the copies in, with the staging table's stands
//!           └─ another commit was first ──> again, a limited number of times; then the pin is removed
//! ```
//!
//! The pin is removed only when it is certain that the commit did not happen. A pin without a promotion keeps versions
//! for 30 days; a promotion without a pin could not be undone.
//!
//! The live job finds itself fenced, or the table altered, and goes on from the staging table's stand: from the raw
//! table up to its cut, then from Kafka. Every reader sees either the old content or the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use ingest::backoff::{Backoff, is_young_enough};
use ingest::drive::DriveError;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::table::Version;
use lake_schemas::{Code, Cut, Folder, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, CommitId, Move, Outcome, TableLog, TableView};
use lake_store::gone::{Gone, lost};
use lake_store::pins::{self, Pin, PinName, Pinned, Pins};
use lake_store::{Lake, LakeError};
use object_store::Error::NotFound;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::complete::has_all_of_history;
use crate::work;

/// Name of the job in `history`, by which an undo finds the promotion to take back.
const JOB: &str = "promote";

/// Prefix of the names of its pins; the pinned version follows, and a mark of the promotion.
const PIN_PREFIX: &str = "promote_";

/// Number of characters of the commit's id in that mark: two promotions of one version must not share a pin.
const PIN_MARK_CHARS: usize = 8;

/// Greatest distance of a promotion from its pin, in versions: an undo looks through that many. Beyond it the newest
/// version is pinned anew.
const PIN_AHEAD_MAX: Version = 100;

/// Number of attempts when other commits are first. An attempt takes two requests; beside a hundred processes that
/// commit every five seconds, one of a few gets through.
const TRIES_MAX: usize = 100;

/// Number of log entries that are read at once.
const READS_MAX: usize = 16;

/// Number of days for which the version before can be restored: as long as anyone should need to notice a mistake.
const PIN_DAYS: i64 = 30;

/// Longest wait for the raw table to have all that `clicks_minute` has counted.
const RAW_WAIT: Duration = Duration::from_secs(60);

/// Interval of looks at the raw table during that wait.
const RAW_LOOK: Duration = Duration::from_millis(500);

/// Number of files that are copied at once.
const COPIES_MAX: usize = 16;

/// The content that becomes `clicks_minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A staging table.
    Staging(Table),
    /// The content before the last promotion: an undo.
    Before,
}

/// A promotion, or its undo.
pub struct Promote<'a> {
    /// Lake of the table.
    pub lake: &'a Lake,
    /// Content to promote: a staging table, or the content before the last promotion.
    pub what: What,
    /// Current time, for the expiry of pins.
    pub now: DateTime<Utc>,
    /// Token that tells the promotion to stop.
    pub stop: CancellationToken,
}

/// Result of a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// Version of `clicks_minute` that the promotion made.
    pub version: Version,
    /// Name of the new content: that of the staging table, or of the version that was restored.
    pub content: String,
    /// Number of files of the new content.
    pub files: usize,
    /// Cut of the new content.
    pub cut: Cut,
}

/// Content that takes the place of the current one.
struct Content {
    name: String,
    /// Table from which the files are copied.
    table: Table,
    stands: BTreeMap<TopicPartition, Stand>,
    parameters: Parameters,
    /// Columns of other programs that its files may have, and their types.
    further: BTreeMap<String, String>,
    files: Vec<Add>,
}

impl Promote<'_> {
    /// Promotes the content; `None` if it was stopped before.
    pub fn run(&self) -> BoxFuture<'_, Result<Option<Promoted>, DriveError>> {
        Box::pin(async move {
            let table = Table::ClicksMinute;
            let found = TableLog::find(self.lake, table).await?;
            let mut minutes = found.ok_or_else(|| self.lake.lacks(table))?;
            let content = match self.what {
                What::Staging(staging) => self.staging(staging).await?,
                What::Before => self.before(&minutes).await?,
            };
            knows_all(&content, &minutes)?;
            if !self.raw_has_come_to(&minutes.stands()).await? {
                return Ok(None);
            }
            let began = Instant::now();
            let adds = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                adds = self.copy(&content) => adds?,
            };
            let mut commit = Commit { id: CommitId::unique(), adds, cut: cut_of(&content.stands), ..Commit::new(JOB) };
            // From here on, nothing that takes long stands between a look at the table and the commit: the live files
            // are listed now, and later only brought up to date.
            minutes.live_files().await?;
            // The pin comes before the commit: after it, the version before could be cleaned up at any time.
            let mut pin = self.pin(&minutes, &commit.id).await?;
            let done = self.put_in_place(&mut minutes, &content, &mut commit, &mut pin, began).await;
            let is_promoted = matches!(done, Ok(Some(_)));
            if !is_promoted
                && !minutes.may_hold(&commit.id)
                && let Err(error) = pins::unpin(self.lake, pin.name).await
            {
                warn!(pin = pin.name.as_str(), error = &error as &dyn Error, "the pin stays until it expires");
            }
            done
        })
    }

    /// Commits the content onto the newest version, whichever that is by then; `None` if it was stopped before.
    async fn put_in_place(
        &self,
        minutes: &mut TableLog,
        content: &Content,
        commit: &mut Commit,
        pin: &mut Pin,
        began: Instant,
    ) -> Result<Option<Promoted>, DriveError> {
        let table = minutes.table();
        for tries in 1..=TRIES_MAX {
            self.refresh(minutes).await?;
            // The live job has committed so much meanwhile that an undo would not find the promotion: pin a newer
            // version, then drop the old pin.
            if minutes.version() > pin.version + PIN_AHEAD_MAX {
                let behind = std::mem::replace(pin, self.pin(minutes, &commit.id).await?);
                pins::unpin(self.lake, behind.name).await?;
                self.refresh(minutes).await?;
            }
            let (before, live) = (minutes.version(), minutes.live_files().await?);
            // An earlier attempt whose answer was lost has succeeded: its copies are live.
            if let Some(ours) = commit.adds.first()
                && live.iter().any(|file| file.path == ours.path)
            {
                return Ok(Some(promoted(content, commit, before)));
            }
            knows_all(content, minutes)?;
            is_young_enough(began, table)?;
            commit.removes = live;
            commit.moves = moves(&content.stands, minutes);
            // Only onto exactly this version: a commit in between may have added files that would otherwise stay.
            commit.onto = Some(before);
            let recorded = minutes.parameters()?;
            let parameters = parameters_of(content, &recorded);
            commit.definition = (recorded != parameters).then(|| parameters.definition(table));
            if let Outcome::Committed(version) = self.commit(minutes, commit).await? {
                if let Some(checkpoint) = minutes.take_checkpoint_owed() {
                    checkpoint.write_or_warn().await;
                }
                return Ok(Some(promoted(content, commit, version)));
            }
            info!(tries, version = minutes.version(), "another commit was first; trying again");
            if self.stop.is_cancelled() {
                return Ok(None);
            }
        }
        let why = format!(
            "{table} was not promoted: other commits were first, {TRIES_MAX} times; try again, or stop aggregate for \
             as long as it takes"
        );
        Err(LakeError::Refused(Code::Contended.because(why)).into())
    }

    /// Retries the commit until its outcome is known. Any outcome but committed is certain.
    async fn commit(&self, minutes: &mut TableLog, commit: &Commit) -> Result<Outcome, LakeError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match minutes.commit(commit).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if let Err(error) = backoff.again(error, &self.stop).await {
                if !commit.id.was_put() {
                    return Err(error);
                }
                // The pin stays: if the commit happened, it can be undone.
                let what = "it is not known whether clicks_minute was promoted; `clicklake history clicks_minute` \
                            tells, and `clicklake promote --undo` takes it back";
                return Err(LakeError::store(what, error));
            }
        }
    }

    async fn refresh(&self, minutes: &mut TableLog) -> Result<(), LakeError> {
        let mut backoff = Backoff::default();
        while let Err(error) = minutes.refresh().await {
            backoff.again(error, &self.stop).await?;
        }
        Ok(())
    }

    /// Loads a staging table, if it is of all of history, and complete. One that is counted live is promoted as it
    /// stands now.
    async fn staging(&self, table: Table) -> Result<Content, DriveError> {
        let staging = TableView::newest(self.lake, table).await?.ok_or_else(|| self.lake.lacks(table))?;
        has_all_of_history(table, staging.properties(), |of| staging.stand(of))?;
        let parameters = Parameters::recorded(table, staging.properties())?;
        Ok(Content {
            name: table.to_string(),
            table,
            stands: staging.stands(),
            further: staging.further_columns(&parameters.definition(table)),
            parameters,
            files: staging.live_files().await?,
        })
    }

    /// Loads the content before the last promotion.
    async fn before(&self, minutes: &TableLog) -> Result<Content, DriveError> {
        let table = Table::ClicksMinute;
        let view = TableView::newest(self.lake, table).await?.ok_or_else(|| self.lake.lacks(table))?;
        let Pins { pins, damaged } = pins::all(self.lake).await?;
        let is_ours = |of: &str, name: &PinName| of == table.name() && name.as_str().starts_with(PIN_PREFIX);
        let ours = pins.iter().filter(|pin| is_ours(&pin.table, &pin.name) && pin.holds(self.now));
        let pinned: BTreeSet<_> = ours.map(|pin| pin.version).collect();
        for pinned in pinned.into_iter().rev() {
            // A promotion that failed before its commit may have left a pin too.
            let Some(promoted) = promoted_behind(minutes, pinned).await? else { continue };
            let version = promoted - 1;
            let before = view.at(version).await?;
            let parameters = Parameters::recorded(table, before.properties())?;
            return Ok(Content {
                name: format!("version {version}"),
                table,
                stands: before.stands(),
                further: before.further_columns(&parameters.definition(table)),
                parameters,
                files: before.live_files().await?,
            });
        }
        if let Some(damaged) = damaged.iter().find(|damaged| damaged.name.as_str().starts_with(PIN_PREFIX)) {
            return Err(damaged.refused().into());
        }
        let why = format!("{table} was not promoted in the last {PIN_DAYS} days: there is nothing to undo");
        Err(LakeError::Refused(Code::NothingThere.because(why)).into())
    }

    /// Waits until the raw table has what the minutes have seen: all of it that lies behind the content will be read
    /// again. What comes from now on is young, and Kafka still has it. Returns `false` if it was stopped.
    async fn raw_has_come_to(&self, stands: &BTreeMap<TopicPartition, Stand>) -> Result<bool, DriveError> {
        let mut raw = work::raw(self.lake).await?;
        let deadline = Instant::now() + RAW_WAIT;
        loop {
            let behind = stands.iter().find(|(of, stand)| raw.stand(of).cut < stand.cut);
            let Some((of, stand)) = behind else { return Ok(true) };
            if Instant::now() >= deadline {
                return Err(LakeError::Refused(Code::RawBehind.because(format!(
                    "clicks is behind clicks_minute, so that not all could be counted again: of {of} it has what is \
                     below {}, clicks_minute what is below {}; let `clicklake ingest` catch up",
                    raw.stand(of).cut.unwrap_or(0),
                    stand.cut.unwrap_or(0)
                )))
                .into());
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                () = sleep(RAW_LOOK) => {}
            }
            let mut backoff = Backoff::default();
            while let Err(error) = raw.refresh().await {
                backoff.again(error, &self.stop).await?;
            }
        }
    }

    /// Copies the content's files into the folder of the minutes, under names that were never used.
    async fn copy(&self, content: &Content) -> Result<Vec<Add>, DriveError> {
        let store = self.lake.object_store()?;
        let copy = |file: Add| {
            let store = store.clone();
            async move {
                let (from, to) = (content.table, Table::ClicksMinute);
                let foreign = || {
                    LakeError::Refused(
                        Code::FileForeign.because(format!("{from}: {} is not a file of minutes", file.path)),
                    )
                };
                let path = Path::from_url_path(&file.path).map_err(|_| foreign())?;
                Folder::named(from, &file.partition_values).ok_or_else(foreign)?;
                let folder: Vec<_> = path.parts().collect();
                let name = format!("{}.parquet", CommitId::unique().as_str());
                let (_, folders) = folder.split_last().ok_or_else(foreign)?;
                let copied: Path = folders.iter().cloned().chain([name.as_str().into()]).collect();
                let at =
                    |table: Table, path: &Path| Path::from(table.name()).parts().chain(path.parts()).collect::<Path>();
                let (source, target) = (at(from, &path), at(to, &copied));
                let mut backoff = Backoff::default();
                while let Err(error) = store.copy(&source, &target).await {
                    let what = format!("copying {source} to {target}");
                    let error = match error {
                        NotFound { .. } => LakeError::store(what, Gone::new(from, &file.path, error)),
                        error => LakeError::store(what, error),
                    };
                    // The content is of one version: no other try finds a file of it that is gone.
                    if let Some(Gone { path, .. }) = Gone::cause_of(&error) {
                        return Err(lost(from, path, "so nothing was promoted").into());
                    }
                    backoff.again(error, &self.stop).await?;
                }
                // The log holds paths in URL encoding, so the folder is taken from there as it is.
                let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                Ok::<_, DriveError>(Add { path: format!("{folder}/{name}"), ..file.clone() })
            }
        };
        stream::iter(content.files.clone()).map(copy).buffered(COPIES_MAX).try_collect().await
    }

    /// Pins the newest version, which keeps the later ones too, so that an undo can restore the one before the
    /// promotion. Each promotion has a pin of its own: removing it leaves those of others.
    async fn pin(&self, minutes: &TableLog, id: &CommitId) -> Result<Pin, DriveError> {
        let (table, version) = (minutes.table(), minutes.version());
        let mark: String = id.as_str().chars().take(PIN_MARK_CHARS).collect();
        let name = format!("{PIN_PREFIX}{version}_{mark}").parse::<PinName>();
        let name = name.map_err(|why| LakeError::Refused(Code::Bug.because(why)))?;
        let expires = Some(self.now + chrono::Duration::days(PIN_DAYS));
        let pin = Pin { name, table: table.name().to_owned(), version, expires };
        let mut backoff = Backoff::default();
        loop {
            match pins::pin_known(self.lake, table, &pin).await {
                Ok(Pinned::Done) => return Ok(pin),
                Ok(Pinned::Taken(other)) => {
                    let (name, of) = (other.name.as_str(), &other.table);
                    let why = format!("the pin {name} holds version {} of {of}; unpin it first", other.version);
                    return Err(LakeError::Refused(Code::PinTaken.because(why)).into());
                }
                Err(error) => backoff.again(error, &self.stop).await?,
            }
        }
    }
}

/// Finds the last promotion after a pinned version, not far after it.
async fn promoted_behind(minutes: &TableLog, pinned: Version) -> Result<Option<Version>, LakeError> {
    let versions = pinned + 1..=(pinned + 1 + PIN_AHEAD_MAX).min(minutes.version());
    let entries = stream::iter(versions).map(|version| async move {
        let is_it = minutes.files_of(version).await?.is_some_and(|files| files.job.as_deref() == Some(JOB));
        Ok::<_, LakeError>(is_it.then_some(version))
    });
    let found: Vec<_> = entries.buffered(READS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().max())
}

/// Refuses content that does not know of a partition that the minutes count: it has no stand to set for it. Also
/// refuses content with columns of other programs that the minutes lack: nobody could see any more what they hold.
fn knows_all(content: &Content, minutes: &TableLog) -> Result<(), LakeError> {
    let known = minutes.further_columns();
    if let Some((column, data_type)) = content.further.iter().find(|(name, of)| known.get(*name) != Some(*of)) {
        return Err(LakeError::Refused(Code::ForeignFeature.because(format!(
            "{} has a column {column} that is not clicklake's, and clicks_minute has not: promoted, it would be lost; \
             ALTER TABLE clicks_minute ADD COLUMN {column} {data_type} first, or make another by backfill --into",
            content.name
        ))));
    }
    let unknown = minutes.stands().into_keys().find(|of| !content.stands.contains_key(of));
    let why = |of| {
        format!(
            "{} does not know of {of}, which clicks_minute counts by now; make another by backfill --into, and promote \
             that",
            content.name
        )
    };
    unknown.map_or(Ok(()), |of| Err(LakeError::Refused(Code::StagingIncomplete.because(why(of)))))
}

/// Returns the parameters that the minutes record with a content. A measure that only the minutes have stays: columns
/// are never taken out. It counts from where the content ends.
fn parameters_of(content: &Content, minutes: &Parameters) -> Parameters {
    let measures = content.parameters.measures.completed(&minutes.measures, &cut_of(&content.stands));
    Parameters { measures, ..content.parameters.clone() }
}

fn promoted(content: &Content, commit: &Commit, version: Version) -> Promoted {
    Promoted { version, content: content.name.clone(), files: commit.adds.len(), cut: commit.cut.clone() }
}

/// Moves each partition from where the minutes stand to where the content does.
fn moves(stands: &BTreeMap<TopicPartition, Stand>, minutes: &TableLog) -> Vec<Move> {
    let table = Table::ClicksMinute;
    let of = |(of, to): (&TopicPartition, &Stand)| {
        let from = minutes.stand(of);
        let to = to.in_place_of(from);
        let both = from.encode(table, of).into_iter().zip(to.encode(table, of));
        both.map(|((app_id, from), (_, to))| Move { app_id, from, to }).collect::<Vec<_>>()
    };
    stands.iter().flat_map(of).collect()
}
