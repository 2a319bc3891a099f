//! One table's log, open for writing: made if absent, checked, followed, committed to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use tokio::time::Instant;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::definition::{check, create};
use super::entry::{self, Entry, VersionFiles, carries, is_altering};
use super::head::Head;
use super::load::{self, Loaded};
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

/// A table, open for writing.
///
/// Its futures are boxed, like all in this workspace that lead into Delta or DataFusion: their code is then built once,
/// in the library that owns them, and not again in every binary that awaits them.
pub struct TableLog {
    table: Table,
    definition: Definition,
    log_store: LogStoreRef,
    head: Head,
    looked_at: Instant,
    /// A put has failed without saying whether it happened.
    in_doubt: bool,
    checkpoint_owed: Option<Version>,
    /// What versions added and took out since somebody asked; `None` if nobody has, or if some were not met.
    met: Option<Vec<VersionFiles>>,
    id: String,
    properties: HashMap<String, String>,
    time_in_future_ms: i64,
}

impl TableLog {
    /// Opens a table, and makes it first if the lake lacks it. Two that make it at once open the same one.
    pub fn open(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let (log_store, loaded) = make_and_load(lake, &table.definition()).await?;
            Self::of(table, log_store, loaded)
        })
    }

    /// Opens a table that is there; `None` if the lake lacks it.
    pub fn find(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let found = load::find(lake, table).await?;
            found.map(|(log_store, loaded)| Self::of(table, log_store, loaded)).transpose()
        })
    }

    /// Opens a table, and makes it as defined if the lake lacks it. What it records is for the caller to check.
    pub fn open_or_make<'a>(lake: &'a Lake, definition: &'a Definition) -> BoxFuture<'a, Result<Self>> {
        Box::pin(async move {
            let (log_store, loaded) = make_and_load(lake, definition).await?;
            Self::of(definition.table, log_store, loaded)
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
            Ok((log, recorded))
        })
    }

    fn of(table: Table, log_store: LogStoreRef, loaded: Loaded) -> Result<Self> {
        let definition = if table.is_counts() {
            Parameters::recorded(table, &loaded.properties)?.definition(table)
        } else {
            table.definition()
        };
        let time_in_future_ms = check(&definition, &loaded)?;
        Ok(Self {
            table,
            definition,
            log_store,
            head: loaded.head,
            looked_at: Instant::now(),
            in_doubt: false,
            checkpoint_owed: None,
            met: None,
            id: loaded.id,
            properties: loaded.properties,
            time_in_future_ms,
        })
    }

    /// Opens the tables of a job, in its order.
    pub async fn open_all(lake: &Lake, tables: &[Table]) -> Result<Vec<Self>> {
        let mut logs = Vec::new();
        for &table in tables {
            logs.push(Self::open(lake, table).await?);
        }
        Ok(logs)
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Delta's unique id of the table.
    pub fn id(&self) -> &str {
        &self.id
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
        &self.properties
    }

    /// All its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.definition.schema)
    }

    /// What decides the counts of a table of minutes, as it records.
    pub fn parameters(&self) -> Result<Parameters> {
        Parameters::recorded(self.table, &self.properties)
    }

    /// The bound that the table records for events ahead of their message, in milliseconds.
    pub fn time_in_future_ms(&self) -> i64 {
        self.time_in_future_ms
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
        Box::pin(async move { Ok(self.know_live().await?.values().cloned().collect()) })
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

    /// Which files a version added and took out; `None` if its entry is gone, or not there yet.
    pub fn files_of(&self, version: Version) -> BoxFuture<'_, Result<Option<VersionFiles>>> {
        Box::pin(async move {
            let actions = entry::read(self.table, self.log_store.as_ref(), version).await?;
            Ok(actions.map(VersionFiles::of))
        })
    }

    /// What each version met since the last call has added and taken out, in order, so that files need not be listed
    /// again. `None` the first time, and after the log was loaded afresh: then they must be listed.
    pub fn take_met(&mut self) -> Option<Vec<VersionFiles>> {
        self.met.replace(Vec::new())
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
                self.properties = definition.properties.iter().cloned().collect();
                self.definition = definition.clone();
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
        let entry = Entry::new(commit, &self.id)?;
        loop {
            if !commit.removes.is_empty() {
                self.know_live().await?;
            }
            if let Some(obstacle) = self.head.obstacle(commit) {
                return Ok(obstacle);
            }
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
        self.follow(&entry.actions);
        self.looked_at = Instant::now();
        Ok(version)
    }

    /// Follows the log to its end; the version that carries the commit `id`, if one is met on the way.
    async fn look(&mut self, id: Option<&CommitId>) -> Result<Option<Version>> {
        if self.looked_at.elapsed() > HEAD_AGE_MAX {
            let loaded = load::load(self.table, self.log_store.as_ref(), None).await?;
            if loaded.properties != self.properties {
                return Err(self.altered(loaded.head.version()));
            }
            check(&self.definition, &loaded)?;
            // A commit in doubt is not looked for here: if it happened, the stands are not where it starts, the epoch
            // counts as fenced, and its rows are read again from where the table stands.
            self.head = loaded.head;
            self.met = None;
            self.looked_at = Instant::now();
        }
        let mut found = None;
        loop {
            let version = self.head.version() + 1;
            let Some(actions) = entry::read(self.table, self.log_store.as_ref(), version).await? else { break };
            let is_ours = id.is_some_and(|id| actions.iter().any(|action| carries(action, id)));
            if !is_ours && actions.iter().any(is_altering) {
                return Err(self.altered(version));
            }
            self.follow(&actions);
            if is_ours {
                found = Some(version);
            }
        }
        self.looked_at = Instant::now();
        self.in_doubt = false;
        Ok(found)
    }

    /// Goes on to the next version.
    fn follow(&mut self, actions: &[Action]) {
        self.head.follow(actions);
        if let Some(met) = &mut self.met {
            met.push(VersionFiles::of(actions.to_vec()));
        }
    }

    fn altered(&self, version: Version) -> LakeError {
        LakeError::Altered(format!(
            "{}: version {version} or one before it changed the table's columns or properties; start again",
            self.table
        ))
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
