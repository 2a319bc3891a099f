//! One table's log, open for writing: made if absent, checked, followed, committed to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::definition::create;
use super::entry::{self, Entry, VersionFiles, carries};
use super::foreign::{self, ForeignChange};
use super::head::Head;
use super::load::{self, Loaded};
use super::named::Named;
use super::terms::{Access, Terms};
use super::{Changed, Commit, CommitId, Outcome, Version, changes};
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::minute::{Parameters, Requested};
use crate::position::TopicPartition;
use crate::raw_file::RawFile;
use crate::stand::Stand;
use crate::table::{Definition, Table};

/// How long a head is followed entry by entry before the table is loaded afresh. A writer that slept through the
/// table's log retention would otherwise take a version whose entry was cleaned up for one that was never written.
const HEAD_AGE_MAX: Duration = Duration::from_secs(600);

/// How long the entry of the head is taken to be there. A table that is removed while a job runs, and made again, would
/// otherwise get entries at versions of the old one, beyond a gap that nobody can read across.
const HEAD_SEEN_MAX: Duration = Duration::from_secs(60);

/// How many of the newest versions are looked through for changes by others where a table is opened: what happened
/// while nobody followed it is among them, unless others have written ever since.
const FOREIGN_VERSIONS_MAX: Version = 100;

/// Changes by others that are held for whoever asks.
const FOREIGN_MAX: usize = 100;

/// A table, open for writing.
///
/// Its futures are boxed, like all in this workspace that lead into Delta or DataFusion: their code is then built once,
/// in the library that owns them, and not again in every binary that awaits them.
pub struct TableLog {
    table: Table,
    log_store: LogStoreRef,
    head: Head,
    looked_at: Instant,
    /// When the head's entry was last seen, or put.
    head_seen_at: Instant,
    /// A put has failed without saying whether it happened.
    in_doubt: bool,
    checkpoint_owed: Option<Version>,
    pub(super) terms: Terms,
    /// What others have done to its rows since that was last asked.
    foreign: Vec<ForeignChange>,
    /// The files that its newest versions name, as far as clean-up has looked.
    pub(super) named: Named,
}

impl TableLog {
    /// Opens a table, and makes it first if the lake lacks it. Two that make it at once open the same one.
    pub fn open(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let (log_store, loaded) = make_and_load(lake, &table.definition()).await?;
            Self::of((table, Access::Writes), log_store, loaded)
        })
    }

    /// Opens a table that is there; `None` if the lake lacks it.
    pub fn find(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let found = load::find(lake, table).await?;
            found.map(|(log_store, loaded)| Self::of((table, Access::Writes), log_store, loaded)).transpose()
        })
    }

    /// Opens a table that is there, to follow and read it; `None` if the lake lacks it. What forbids only to write it
    /// forbids nothing here.
    pub fn find_to_read(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let found = load::find(lake, table).await?;
            found.map(|(log_store, loaded)| Self::of((table, Access::Reads), log_store, loaded)).transpose()
        })
    }

    /// Opens a table, and makes it as defined if the lake lacks it. What it records is for the caller to check.
    pub fn open_or_make<'a>(lake: &'a Lake, definition: &'a Definition) -> BoxFuture<'a, Result<Self>> {
        Box::pin(async move {
            let (log_store, loaded) = make_and_load(lake, definition).await?;
            Self::of((definition.table, Access::Writes), log_store, loaded)
        })
    }

    /// Opens `clicks_minute`, and makes it first if the lake lacks it. What it records must be what is asked for.
    pub fn open_minutes<'a>(lake: &'a Lake, requested: &'a Requested) -> BoxFuture<'a, Result<(Self, Parameters)>> {
        Box::pin(async move {
            let table = Table::ClicksMinute;
            let new = requested.of_a_new_table(table, Parameters::default())?;
            let log = Self::open_or_make(lake, &new.definition(table)).await?;
            let recorded = log.parameters()?;
            requested.agrees_with(table, &recorded)?;
            log.has_its_stands().await?;
            Ok((log, recorded))
        })
    }

    fn of((table, access): (Table, Access), log_store: LogStoreRef, loaded: Loaded) -> Result<Self> {
        Ok(Self {
            table,
            log_store,
            terms: Terms::of(table, access, loaded.shape)?,
            head: loaded.head,
            looked_at: Instant::now(),
            head_seen_at: Instant::now(),
            in_doubt: false,
            checkpoint_owed: None,
            foreign: Vec::new(),
            named: Named::default(),
        })
    }

    /// Opens the tables of a job, in its order.
    pub async fn open_all(lake: &Lake, tables: &[Table]) -> Result<Vec<Self>> {
        let mut logs = Vec::new();
        for &table in tables {
            let log = Self::open(lake, table).await?;
            log.has_its_stands().await?;
            logs.push(log);
        }
        Ok(logs)
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Delta's unique id of the table.
    pub fn id(&self) -> &str {
        self.terms.shape().id()
    }

    /// The value of a `txn`, in the newest version known.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.head.txn(app_id)
    }

    /// The newest version known.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// What the table records.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.terms.shape().properties()
    }

    /// All its columns, as clicklake made them.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.terms.definition().schema)
    }

    /// The same, and behind them the columns that other programs have added: what a rewriter must carry.
    pub fn whole_schema(&self) -> Result<SchemaRef> {
        self.terms.shape().whole_schema(self.terms.definition())
    }

    /// The columns of other programs, and their types.
    pub fn further_columns(&self) -> BTreeMap<String, String> {
        self.terms.shape().further_types(self.terms.definition())
    }

    /// Refuses a table that has columns of other programs, for whoever could not carry what they hold. `does` says what
    /// would lose it.
    pub fn has_no_further_columns(&self, does: &str, way_out: &str) -> Result<()> {
        match self.further_columns().first_key_value() {
            None => Ok(()),
            Some((column, _)) => Err(LakeError::Refused(format!(
                "{}: its column {column} is not clicklake's, and {does} would lose what it holds; {way_out}",
                self.table
            ))),
        }
    }

    /// Refuses a table that has rows, but records no position of any partition: whoever began it anew would read all
    /// again, and have it twice. Other programs' log checkpoints can drop positions.
    pub fn has_its_stands(&self) -> BoxFuture<'_, Result<()>> {
        load::has_its_stands(self.table, self.log_store.as_ref(), &self.head).boxed()
    }

    /// The changes of its rows by other programs, in the order of versions, that were met since this was last asked.
    pub fn take_foreign(&mut self) -> Vec<ForeignChange> {
        std::mem::take(&mut self.foreign)
    }

    /// Looks for such changes in the newest versions, as far as [`FOREIGN_VERSIONS_MAX`] back: what happened while
    /// nobody followed the table.
    pub fn look_back(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let newest = self.head.version();
            let versions = newest.saturating_sub(FOREIGN_VERSIONS_MAX - 1)..=newest;
            let found = foreign::in_versions(self.table, &self.log_store, versions).await?;
            self.foreign = found.into_iter().rev().chain(std::mem::take(&mut self.foreign)).collect();
            Ok(())
        })
    }

    /// Says once of each such change what it means.
    pub fn warn_of_foreign(&mut self) {
        for change in self.take_foreign() {
            warn!(table = %change.table, version = change.version, "{change}");
        }
    }

    /// What decides the counts of a table of minutes, as it records.
    pub fn parameters(&self) -> Result<Parameters> {
        Parameters::recorded(self.table, self.properties())
    }

    /// The bound that the table records for events ahead of their message, in milliseconds.
    pub fn time_in_future_ms(&self) -> i64 {
        self.terms.time_in_future_ms()
    }

    /// The store of the table's files, rooted at its folder.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.log_store.object_store(None)
    }

    /// Delta's own view of the table's log.
    pub fn log_store(&self) -> LogStoreRef {
        Arc::clone(&self.log_store)
    }

    /// The log checkpoint that a commit of ours has made due, once.
    pub fn take_checkpoint_owed(&mut self) -> Option<Checkpoint> {
        let version = self.checkpoint_owed.take()?;
        Some(Checkpoint { table: self.table, version, log_store: self.log_store() })
    }

    /// A log checkpoint of the newest version known.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { table: self.table, version: self.head.version(), log_store: self.log_store() }
    }

    /// Where a partition stands, in the newest version known.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.head.txn(app_id))
    }

    /// Where all partitions stand that it has seen, in the newest version known.
    pub fn stands(&self) -> BTreeMap<TopicPartition, Stand> {
        self.head.stands(self.table)
    }

    /// The files that are live in the newest version known.
    pub fn live_files(&mut self) -> BoxFuture<'_, Result<Vec<Add>>> {
        Box::pin(async move {
            let table = self.table;
            let live = self.know_live().await?;
            load::without_deleted_rows(table, live.values())?;
            Ok(live.values().cloned().collect())
        })
    }

    async fn know_live(&mut self) -> Result<&HashMap<String, Add>> {
        if self.head.live().is_none() {
            let live = load::live_files(self.table, self.log_store.as_ref(), self.head.version()).await?;
            self.head.set_live(live);
        }
        Ok(self.head.live().expect("it was set"))
    }

    /// What changed behind one version and up to another: see [`Changed`].
    pub fn changed(&self, after: Version, until: Version) -> BoxFuture<'_, Result<Changed>> {
        changes::between(self.table, &self.log_store, after, until).boxed()
    }

    /// Which files a version added and took out; `None` if its entry is gone or damaged, or not there yet.
    pub fn files_of(&self, version: Version) -> BoxFuture<'_, Result<Option<VersionFiles>>> {
        Box::pin(async move {
            let lines = entry::read_if_whole(self.table, self.log_store.as_ref(), version).await?;
            Ok(lines.map(|lines| VersionFiles::of(lines.actions)))
        })
    }

    /// The files of a raw table, in the newest version known.
    pub fn raw_files(&self) -> BoxFuture<'_, Result<Vec<RawFile>>> {
        load::raw_files(self.table, self.log_store.as_ref(), self.head.version()).boxed()
    }

    /// Looks at the table: whatever others have committed is known afterwards.
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.look(None).await.map(|_| ()) })
    }

    /// Tries to make a commit. On an error it may have happened: try the same commit again, and the answer is right.
    pub fn commit<'a>(&'a mut self, commit: &'a Commit) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let outcome = self.attempt(commit).await?;
            if let (Outcome::Committed(_), Some(definition)) = (&outcome, &commit.definition) {
                self.terms.redefine(definition)?;
            }
            if let Outcome::Committed(version) = outcome
                && Checkpoint::is_due_at(version)
            {
                self.checkpoint_owed = Some(version);
            }
            Ok(outcome)
        })
    }

    async fn attempt(&mut self, commit: &Commit) -> Result<Outcome> {
        if (self.in_doubt || self.looked_at.elapsed() > HEAD_AGE_MAX)
            && let Some(version) = self.look(Some(&commit.id)).await?
        {
            return Ok(Outcome::Committed(version));
        }
        self.see_head().await?;
        assert!(self.terms.access() == Access::Writes, "{}: it was opened to be read", self.table);
        self.terms.judge(self.head.version())?;
        loop {
            if !commit.removes.is_empty() {
                self.know_live().await?;
            }
            if let Some(obstacle) = self.head.obstacle(commit) {
                return Ok(obstacle);
            }
            let entry = Entry::new(commit, self.terms.shape(), self.terms.definition())?;
            match self.put(&entry).await {
                Ok(version) => return Ok(Outcome::Committed(version)),
                Err(TransactionError::VersionAlreadyExists(_)) => {
                    if let Some(version) = self.look(Some(&commit.id)).await? {
                        return Ok(Outcome::Committed(version));
                    }
                }
                Err(error) => {
                    self.in_doubt = true;
                    let version = self.head.version() + 1;
                    return Err(error).while_doing(|| format!("{}: committing version {version}", self.table));
                }
            }
        }
    }

    /// Puts the version after the head, if it is absent.
    async fn put(&mut self, entry: &Entry) -> Result<Version, TransactionError> {
        let data = CommitData::new(entry.actions.clone(), entry.operation.clone(), entry.info.clone(), Vec::new());
        let version = self.head.version() + 1;
        let bytes = CommitOrBytes::LogBytes(data.get_bytes()?);
        self.log_store.write_commit_entry(version, bytes, Uuid::nil()).await?;
        self.head.follow(&entry.actions);
        self.looked_at = Instant::now();
        self.head_seen_at = Instant::now();
        Ok(version)
    }

    /// Follows the log to its end; the version that carries the commit `id`, if one is met on the way.
    async fn look(&mut self, id: Option<&CommitId>) -> Result<Option<Version>> {
        if self.looked_at.elapsed() > HEAD_AGE_MAX {
            // A commit in doubt is not looked for here: if it happened, the stands are not where it starts, the epoch
            // counts as fenced, and its rows are read again from where the table stands.
            self.load_anew().await?;
        }
        let mut found = None;
        loop {
            let version = self.head.version() + 1;
            let Some(lines) = entry::read(self.table, self.log_store.as_ref(), version).await? else { break };
            let is_ours = id.is_some_and(|id| lines.actions.iter().any(|action| carries(action, id)));
            // What our own commit makes of the table, its maker knows.
            if !is_ours {
                self.terms.follow(&lines.actions)?;
                self.notice(ForeignChange::of(self.table, version, &lines));
            }
            self.head.follow(&lines.actions);
            self.head_seen_at = Instant::now();
            if is_ours {
                found = Some(version);
            }
        }
        self.terms.judge(self.head.version())?;
        self.looked_at = Instant::now();
        self.in_doubt = false;
        Ok(found)
    }

    async fn load_anew(&mut self) -> Result<()> {
        let loaded = load::load(self.table, self.log_store.as_ref(), None).await?;
        self.has_kept_its_stands(&loaded)?;
        self.terms.set(loaded.shape);
        self.head = loaded.head;
        self.looked_at = Instant::now();
        self.head_seen_at = Instant::now();
        Ok(())
    }

    /// Sees to it that the entry of the head is still there; loads the table afresh, if it is not.
    async fn see_head(&mut self) -> Result<()> {
        if self.head_seen_at.elapsed() <= HEAD_SEEN_MAX {
            return Ok(());
        }
        let version = self.head.version();
        let what = || format!("{}: looking at version {version}", self.table);
        if self.log_store.read_commit_entry(version).await.while_doing(what)?.is_none() {
            return self.load_anew().await;
        }
        self.head_seen_at = Instant::now();
        Ok(())
    }

    fn notice(&mut self, change: Option<ForeignChange>) {
        self.foreign.extend(change);
        // Not everyone asks.
        if self.foreign.len() > FOREIGN_MAX {
            self.foreign.remove(0);
        }
    }

    /// Refuses a table that has lost positions that it recorded: what stands there would be read again.
    fn has_kept_its_stands(&self, loaded: &Loaded) -> Result<()> {
        // Another table has positions of its own: see [`Terms::judge`].
        let is_same = loaded.shape.id() == self.id();
        let Some(lost) = loaded.head.lost(&self.head).filter(|_| is_same) else { return Ok(()) };
        Err(LakeError::Refused(format!(
            "{}: version {} does not record {lost} any more: another program has dropped it, as log checkpoints do under \
             delta.setTransactionRetentionDuration; put the folder _delta_log back from a copy that has it",
            self.table,
            loaded.head.version()
        )))
    }
}

/// Makes a table unless it is there, and loads its newest version.
async fn make_and_load(lake: &Lake, definition: &Definition) -> Result<(LogStoreRef, Loaded)> {
    let table = definition.table;
    let log_store = lake.log_store(table.name())?;
    let what = || format!("{table}: looking for it in {}", lake.url());
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        create(definition, &log_store).await?;
    }
    let loaded = load::load(table, log_store.as_ref(), None).await?;
    Ok((log_store, loaded))
}
