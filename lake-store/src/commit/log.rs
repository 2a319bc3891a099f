//! The Delta log of one table, kept open: made if the lake lacks it, checked, followed, and committed to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, commit_uri_from_version};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use lake_schemas::table::Definition;
use lake_schemas::{Code, Stand, Table, TopicPartition};
use object_store::ObjectStore;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::confirmed::{self, Confirmed, mark};
use super::doubt::Doubt;
use super::entry::{self, Entry, READS_MAX, VersionFiles};
use super::foreign::ForeignChange;
use super::head::Head;
use super::lines::Lines;
use super::load::{self, Loaded};
use super::looked::Looked;
use super::named::NamedPaths;
use super::terms::{Access, Terms};
use super::{Changed, Commit, CommitId, Outcome, Version, ahead, changes};
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::raw_file::RawFile;

/// How long a head is followed entry by entry before the table is loaded afresh. A writer that slept through the
/// table's log retention would otherwise take a version whose entry was cleaned up for one that was never written.
const HEAD_AGE_MAX: Duration = Duration::from_secs(600);

/// Age up to which a head is trusted: the next version is put without another look at the log. Jobs commit every few
/// seconds. After a longer pause, which may have been a suspension of any length, the entry of the head must still be
/// there: else the next version may be missing because clean-up deleted it (the oldest first), or because the table was
/// removed and made again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often in a row a put may find the next version taken, although a read finds it missing, before the commit fails.
const TAKEN_MAX: u32 = 8;

/// A table that is kept open, to be written or only to be read.
///
/// Its futures are boxed, like all in this workspace that lead into Delta or DataFusion: their code is then built once,
/// in the library that owns them, and not again in every binary that awaits them.
pub struct TableLog {
    table: Table,
    log_store: LogStoreRef,
    pub(super) head: Head,
    /// When the version after the head was last found to be missing.
    pub(super) looked: Looked,
    /// When the table was last confirmed to be the one that is known.
    pub(super) confirmed: Confirmed,
    /// State of the newest commit that was put.
    doubt: Doubt,
    checkpoint_owed: Option<Version>,
    pub(super) terms: Terms,
    /// Foreign changes that were found and are not reported yet.
    pub(super) foreign: Vec<ForeignChange>,
    /// Files that the newest versions name, as far as clean-up has read them.
    pub(super) named: NamedPaths,
    /// Files of the versions that were followed since the last call of `take_met`; `None` if there was none, or
    /// versions were skipped.
    met: Option<Vec<VersionFiles>>,
}

impl TableLog {
    /// Opens a table, and makes it first if the lake lacks it. Two processes that make it at once open the same one.
    pub fn open(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Self>> {
        Box::pin(
            async move { Self::of(table, Access::Writes, load::find_or_make(lake, &table.definition()).await?).await },
        )
    }

    /// Opens a table that is there; `None` if the lake lacks it.
    pub fn find(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(Self::find_for(lake, table, Access::Writes))
    }

    /// Opens a table that is there, to follow and read it; `None` if the lake lacks it. A table that this program may
    /// read but not write is opened, too.
    pub fn find_to_read(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(Self::find_for(lake, table, Access::Reads))
    }

    async fn find_for(lake: &Lake, table: Table, access: Access) -> Result<Option<Self>> {
        match load::find(lake, table).await? {
            Some((_, loaded)) if access == Access::Reads && loaded.shape.is_dropped() => Ok(None),
            Some(found) => Self::of(table, access, found).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens a table, and makes it by this definition if the lake lacks it. An existing table may record another
    /// definition, which the caller must check.
    pub fn open_or_make<'a>(lake: &'a Lake, definition: &'a Definition) -> BoxFuture<'a, Result<Self>> {
        Box::pin(async move {
            Self::of(definition.table, Access::Writes, load::find_or_make(lake, definition).await?).await
        })
    }

    async fn of(table: Table, access: Access, found: (LogStoreRef, Loaded)) -> Result<Self> {
        let ((log_store, loaded), looked) = (found, Looked::now());
        let (store, again) = (log_store.object_store(None), load::load(table, log_store.as_ref(), None));
        let (loaded, confirmed) = confirmed::seen(table, store.as_ref(), loaded, again).await?;
        Ok(Self {
            confirmed,
            table,
            log_store,
            terms: Terms::of(table, access, loaded.shape)?,
            looked,
            head: loaded.head,
            doubt: Doubt::default(),
            checkpoint_owed: None,
            foreign: Vec::new(),
            named: NamedPaths::default(),
            met: None,
        })
    }

    /// Opens the tables of a job, in its order, and makes those that the lake lacks.
    pub async fn open_all(lake: &Lake, tables: &[Table]) -> Result<Vec<Self>> {
        let mut logs = Vec::new();
        for &table in tables {
            let log = Self::open(lake, table).await?;
            log.has_its_stands().await?;
            logs.push(log);
        }
        Ok(logs)
    }

    /// Returns which of a lake's tables this is.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Returns Delta's unique id of the table.
    pub fn id(&self) -> &str {
        self.terms.shape().id()
    }

    /// Returns the value of a `txn`, in the newest version known.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.head.txn(app_id)
    }

    /// Returns the newest version known.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// Returns the table's properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.terms.shape().properties()
    }

    /// Returns the table's columns, as clicklake made them.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.terms.definition().schema)
    }

    /// Returns the table's columns, followed by those that other programs have added: a rewriter must carry them all.
    pub fn whole_schema(&self) -> Result<SchemaRef> {
        self.terms.shape().whole_schema(self.terms.definition())
    }

    /// Returns the columns of other programs, with their types.
    pub fn further_columns(&self) -> BTreeMap<String, String> {
        self.terms.shape().further_types(self.terms.definition())
    }

    /// Refuses a table that has columns of other programs, for callers that could not carry what these hold. `does`
    /// says in the message what would lose it.
    pub fn has_no_further_columns(&self, does: &str, way_out: &str) -> Result<()> {
        match self.further_columns().first_key_value() {
            None => Ok(()),
            Some((column, _)) => Err(LakeError::Refused(Code::ForeignFeature.because(format!(
                "{}: its column {column} is not clicklake's, and {does} would lose what it holds; {way_out}",
                self.table
            )))),
        }
    }

    /// Refuses a table that has rows, but records no position of any partition: a job would begin at the start of the
    /// log, and write every row a second time. Other programs' log checkpoints can drop positions.
    pub fn has_its_stands(&self) -> BoxFuture<'_, Result<()>> {
        load::has_its_stands(self.table, self.log_store.as_ref(), &self.head).boxed()
    }

    /// Returns the recorded bound on how far an event time may lie after the log time, in milliseconds.
    pub fn time_in_future_ms(&self) -> i64 {
        self.terms.time_in_future_ms()
    }

    /// Returns the store of the table's files, rooted at its folder.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.log_store.object_store(None)
    }

    /// Returns Delta's own view of the table's log.
    pub fn log_store(&self) -> LogStoreRef {
        Arc::clone(&self.log_store)
    }

    /// Takes the log checkpoint that a commit of ours has made due, if one is.
    pub fn take_checkpoint_owed(&mut self) -> Option<Checkpoint> {
        let version = self.checkpoint_owed.take()?;
        Some(Checkpoint { table: self.table, version, log_store: self.log_store() })
    }

    /// Returns a log checkpoint of the newest version known, to be written.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { table: self.table, version: self.head.version(), log_store: self.log_store() }
    }

    /// Returns the stand of a partition, in the newest version known.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.head.txn(app_id))
    }

    /// Returns the stands of all partitions that the table has seen, in the newest version known.
    pub fn stands(&self) -> BTreeMap<TopicPartition, Stand> {
        self.head.stands(self.table)
    }

    /// Returns the files that are live in the newest version known.
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

    /// Returns what changed after one version, up to and including another: see [`Changed`].
    pub fn changed(&self, after: Version, until: Version) -> BoxFuture<'_, Result<Changed>> {
        changes::between(self.table, &self.log_store, after, until).boxed()
    }

    /// Returns the files that a version added and removed; `None` if its entry is gone or damaged, or not there yet.
    pub fn files_of(&self, version: Version) -> BoxFuture<'_, Result<Option<VersionFiles>>> {
        entry::files_of(self.table, &self.log_store, version).boxed()
    }

    /// Takes the files of each version that was followed since the last call, in order, so that the live files can be
    /// brought up to date without listing them again. `None` the first time, and after the table was loaded afresh:
    /// then they must be listed.
    pub fn take_met(&mut self) -> Option<Vec<VersionFiles>> {
        self.met.replace(Vec::new())
    }

    /// Returns the files of a raw table, in the newest version known.
    pub fn raw_files(&self) -> BoxFuture<'_, Result<Vec<RawFile>>> {
        load::raw_files(self.table, self.log_store.as_ref(), self.head.version()).boxed()
    }

    /// Follows the log to its end, so that everything others have committed is known.
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.look())
    }

    /// Returns whether the table is still the one that was opened, however recent the last look is. If it is, all that
    /// was read of it before is of one table.
    pub fn is_still_there(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move { self.confirmed.is_there(self.table, self.object_store().as_ref()).await })
    }

    /// Tries to make a commit. After an error it may have happened. To try it again gives the right answer, as long as
    /// no other commit was tried meanwhile.
    pub fn commit<'a>(&'a mut self, commit: &'a Commit) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let outcome = self.attempt(commit).await?;
            if let Outcome::Committed(version) = outcome {
                if let Some(definition) = &commit.definition {
                    self.terms.redefine(definition)?;
                }
                if Checkpoint::is_due_at(version) {
                    self.checkpoint_owed = Some(version);
                }
            }
            Ok(outcome)
        })
    }

    /// Returns whether a commit that was tried is in the table, or may be, as far as the log was read.
    pub fn may_hold(&self, id: &CommitId) -> bool {
        self.doubt.may_hold(id, self.head.version())
    }

    async fn attempt(&mut self, commit: &Commit) -> Result<Outcome> {
        assert!(self.terms.access() == Access::Writes, "{}: it was opened to be read", self.table);
        let mut taken = 0;
        loop {
            if let Some(version) = self.doubt.found(&commit.id) {
                return Ok(Outcome::Committed(version));
            }
            // Look before the put if our last put is in doubt, so that it is not put twice, or if the head is too old
            // to say that the next version is free.
            let is_old = self.looked.age() > PAUSE_MAX || self.confirmed.is_old();
            if self.doubt.is_open(self.head.version()) || is_old {
                self.look().await?;
                if let Some(version) = self.doubt.found(&commit.id) {
                    return Ok(Outcome::Committed(version));
                }
            }
            if !commit.removes.is_empty() && self.head.live().is_none() {
                // Listing can take long enough for the head to grow old, so start over.
                self.know_live().await?;
                continue;
            }
            if let Some(obstacle) = self.head.obstacle(commit) {
                return Ok(obstacle);
            }
            self.terms.judge(self.head.version())?;
            let entry = Entry::new(commit, self.terms.shape(), self.terms.definition())?;
            let next = self.head.version() + 1;
            if let Some(version) = self.put(&commit.id, &entry).await? {
                return Ok(Outcome::Committed(version));
            }
            // Somebody was first, or this very commit landed with an earlier attempt: the look tells which.
            self.look().await?;
            taken = if self.head.version() < next { taken + 1 } else { 0 };
            if taken == TAKEN_MAX {
                return Err(self.blocked(next));
            }
        }
    }

    /// Puts the version after the head. `None` if that version is there already: another writer put it, or an earlier
    /// attempt of this commit did. The next look tells which.
    async fn put(&mut self, id: &CommitId, entry: &Entry) -> Result<Option<Version>> {
        let version = self.head.version() + 1;
        let what = || format!("{}: committing version {version}", self.table);
        let data = CommitData::new(entry.actions.clone(), entry.operation.clone(), entry.info.clone(), Vec::new());
        let bytes = CommitOrBytes::LogBytes(data.get_bytes().while_doing(what)?);
        let began = Looked::now();
        self.doubt.puts(id, version);
        match self.log_store.write_commit_entry(version, bytes, Uuid::nil()).await {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(_)) => return Ok(None),
            Err(error) => return Err(error).while_doing(what),
        }
        // After a suspension, the put may have filled a gap that clean-up made and that nobody reads.
        if began.age() > PAUSE_MAX && !self.has_entry(self.head.version()).await? {
            return Err(self.undecided(version));
        }
        self.doubt.lands();
        self.follow(&entry.actions);
        self.looked = began;
        Ok(Some(version))
    }

    /// Follows the log to its end. A commit of ours that is found on the way is remembered, even if a later step fails.
    async fn look(&mut self) -> Result<()> {
        let (age, head) = (self.looked.age(), self.head.version());
        // A missing entry ends the log, unless clean-up took it. It takes the oldest first, and none that is young: a
        // head that was looked at lately, or whose entry is still there, has all that follow it.
        let is_known = age <= HEAD_AGE_MAX && (age <= PAUSE_MAX || self.has_entry(head).await?);
        if !is_known {
            self.load_afresh().await?;
        } else if self.confirmed.is_old() {
            // The entry may be that of another table, which was put in this one's place: it has versions like this one.
            match self.confirmed.again(self.table, self.object_store(), head).await? {
                Some(confirmed) => self.confirmed = confirmed,
                // A reader has made sums of the old table, which the new one cannot go on with.
                None if self.terms.access() == Access::Reads => return Err(self.replaced()),
                // A writer compares its positions with the table that is there: a restored copy has the same.
                None => self.load_afresh().await?,
            }
        }
        loop {
            let ahead = ahead::read(self.table, self.log_store.as_ref(), self.head.version()).await;
            // Confirm the table after its entries were read: only then are these known to be its own.
            let is_followed = self.terms.access() == Access::Reads && !ahead.entries.is_empty();
            if is_followed && !self.is_still_there().await? {
                return Err(self.replaced());
            }
            // Follow these even if reading ended with an error: a commit of ours among them must be known as done.
            for lines in &ahead.entries {
                self.meet(self.head.version() + 1, lines)?;
            }
            if let Some(began) = ahead.end? {
                // Judge only the newest version: what one version has broken a later one may have mended.
                self.terms.judge(self.head.version())?;
                // The beginning of the search, because a version may have come while it was under way.
                self.looked = began;
                return Ok(());
            }
        }
    }

    /// Loads the table as it is now, even if some entries since the known version were cleaned up. But if one of them
    /// may be a commit of ours, they are read one by one, and each must be there, to know whether it happened.
    async fn load_afresh(&mut self) -> Result<()> {
        let (table, log_store, began) = (self.table, self.log_store(), Looked::now());
        let (store, load) = (self.object_store(), || load::load(table, log_store.as_ref(), None));
        let (loaded, confirmed) = confirmed::seen(table, store.as_ref(), load().await?, load()).await?;
        let (known, newest) = (self.head.version(), loaded.head.version());
        if self.doubt.is_open(known) {
            if newest < known {
                return Err(self.undecided(known + 1));
            }
            // The known version is read, too: if its entry is there, clean-up has not come past it.
            let entries = stream::iter(known..=newest).map(|version| {
                let log_store = Arc::clone(&log_store);
                async move { Ok::<_, LakeError>((version, entry::read(table, log_store.as_ref(), version).await?)) }
            });
            let mut entries = entries.buffered(READS_MAX);
            while let Some((version, lines)) = entries.try_next().await? {
                let lines = lines.ok_or_else(|| self.undecided(known + 1))?;
                if version > known {
                    self.meet(version, &lines)?;
                }
            }
        } else {
            self.has_kept_its_stands(&loaded)?;
            self.terms.set(loaded.shape);
            self.head = loaded.head;
            self.met = None;
        }
        (self.looked, self.confirmed) = (began, confirmed);
        Ok(())
    }

    /// Follows the log by the entry of the next version, and notes a foreign change in it.
    fn meet(&mut self, version: Version, lines: &Lines) -> Result<()> {
        // A commit of this process is no foreign change, and `commit` takes over the definition that it writes.
        if !self.doubt.meets(version, &lines.actions) {
            self.terms.follow(&lines.actions);
            self.notice(ForeignChange::of(self.table, version, lines));
        }
        self.follow(&lines.actions);
        Ok(())
    }

    /// Applies the actions of the next version to the head.
    fn follow(&mut self, actions: &[Action]) {
        self.head.follow(actions);
        if let Some(met) = &mut self.met {
            met.push(VersionFiles::of(actions.to_vec()));
        }
    }

    /// Returns whether the entry of a version is there.
    async fn has_entry(&self, version: Version) -> Result<bool> {
        Ok(mark(self.table, self.object_store().as_ref(), &commit_uri_from_version(Some(version))).await?.is_some())
    }

    /// Error for an object with the name of the next entry that cannot be read: a folder, or a link that leads nowhere.
    fn blocked(&self, version: Version) -> LakeError {
        let (table, entry) = (self.table, commit_uri_from_version(Some(version)));
        LakeError::Refused(Code::FileDamaged.because(format!(
            "{table}: {entry} is there and cannot be read, so that nothing can be committed: it is a folder, or a link \
             that leads nowhere; remove it"
        )))
    }

    /// Error for a reader whose table was replaced, by another one or by a copy that may go on differently.
    fn replaced(&self) -> LakeError {
        LakeError::Altered(format!("{}: another table was put in its place; start again", self.table))
    }

    /// Error for a commit of which nobody can tell any more whether it happened.
    fn undecided(&self, version: Version) -> LakeError {
        LakeError::Altered(format!(
            "{}: it cannot be known whether this process committed version {version}, because the log was cleaned up \
             while the process was suspended; start again",
            self.table
        ))
    }

    /// Refuses a table that has lost positions that it recorded: the messages behind them would be read again.
    fn has_kept_its_stands(&self, loaded: &Loaded) -> Result<()> {
        // A table with another id has positions of its own: see [`Terms::judge`].
        let is_same = loaded.shape.id() == self.id();
        let Some(lost) = loaded.head.lost(&self.head).filter(|_| is_same) else { return Ok(()) };
        Err(LakeError::Refused(Code::ForeignLoss.because(format!(
            "{}: version {} does not record {lost} any more: another program has dropped it, as log checkpoints do \
             under delta.setTransactionRetentionDuration; put the folder _delta_log back from a copy that has it",
            self.table,
            loaded.head.version()
        ))))
    }
}
