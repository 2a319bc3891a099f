//! One table's log, open for writing: made if absent, checked, followed, committed to.

use std::sync::Arc;
use std::time::Duration;

use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::schema::StructType;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Remove};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::future::BoxFuture;
use object_store::ObjectStore;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::head::Head;
use super::load::{self, Loaded};
use super::{Commit, CommitId, Outcome, Version};
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::position::TopicPartition;
use crate::stand::Stand;
use crate::table::{FORMAT, PROPERTY_FORMAT, PROPERTY_TIME_IN_FUTURE_MS, TIME_IN_FUTURE_MS, Table};

/// How long a head is followed entry by entry before the table is loaded afresh. A writer that slept through the
/// table's log retention would otherwise take a version whose entry was cleaned up for one that was never written.
const HEAD_AGE_MAX: Duration = Duration::from_secs(600);

/// A table, open for writing.
///
/// Its futures are boxed, like all in this workspace that lead into Delta or DataFusion: their code is then built once,
/// in the library that owns them, and not again in every binary that awaits them.
pub struct TableLog {
    table: Table,
    log_store: LogStoreRef,
    head: Head,
    looked_at: Instant,
    /// A put has failed without saying whether it happened.
    in_doubt: bool,
    id: String,
    time_in_future_ms: i64,
}

impl TableLog {
    /// Opens a table, and makes it first if the lake lacks it. Two that make it at once open the same one.
    pub fn open(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let log_store = lake.log_store(table.name())?;
            let what = || format!("{table}: looking for it in {}", lake.url());
            if !log_store.is_delta_table_location().await.while_doing(what)? {
                create(table, Arc::clone(&log_store)).await?;
            }
            let loaded = load::load(table, log_store.as_ref()).await?;
            let time_in_future_ms = check(table, &loaded)?;
            Ok(Self {
                table,
                log_store,
                head: loaded.head,
                looked_at: Instant::now(),
                in_doubt: false,
                id: loaded.id,
                time_in_future_ms,
            })
        })
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Delta's unique id of the table.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The newest version known.
    pub fn version(&self) -> Version {
        self.head.version()
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

    /// The log checkpoint that the writer of the newest version owes, if it is due.
    pub fn checkpoint_due(&self) -> Option<Checkpoint> {
        Checkpoint::is_due_at(self.version()).then(|| Checkpoint {
            table: self.table,
            version: self.version(),
            log_store: self.log_store(),
        })
    }

    /// Where a partition stands, in the newest version known.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.head.txn(app_id))
    }

    /// Looks at the table: whatever others have committed is known afterwards.
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.look(None).await.map(|_| ()) })
    }

    /// Tries to make a commit. On an error it may have happened: try the same commit again, and the answer is right.
    pub fn commit<'a>(&'a mut self, commit: &'a Commit) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            if self.in_doubt || self.looked_at.elapsed() > HEAD_AGE_MAX {
                if let Some(version) = self.look(Some(&commit.id)).await? {
                    return Ok(Outcome::Committed(version));
                }
            }
            let entry = Entry::new(commit);
            loop {
                if !commit.removes.is_empty() && !self.head.knows_live() {
                    let version = self.head.version();
                    let live = load::live_files(self.table, self.log_store.as_ref(), version).await?;
                    self.head.set_live(live);
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
        })
    }

    /// Puts the version after the head, if it is absent.
    async fn put(&mut self, entry: &Entry) -> Result<Version, TransactionError> {
        let data = CommitData::new(entry.actions.clone(), entry.operation.clone(), entry.info.clone(), Vec::new());
        let version = self.head.version() + 1;
        let bytes = CommitOrBytes::LogBytes(data.get_bytes()?);
        self.log_store.write_commit_entry(version, bytes, Uuid::nil()).await?;
        self.head.follow(&entry.actions);
        self.looked_at = Instant::now();
        Ok(version)
    }

    /// Follows the log to its end; the version that carries the commit `id`, if one is met on the way.
    async fn look(&mut self, id: Option<&CommitId>) -> Result<Option<Version>> {
        if self.looked_at.elapsed() > HEAD_AGE_MAX {
            let loaded = load::load(self.table, self.log_store.as_ref()).await?;
            check(self.table, &loaded)?;
            // A commit in doubt is not looked for here: if it happened, the stands are not where it starts, the epoch
            // counts as fenced, and its rows are read again from where the table stands.
            self.head = loaded.head;
            self.looked_at = Instant::now();
        }
        let mut found = None;
        loop {
            let version = self.head.version() + 1;
            let what = || format!("{}: reading version {version}", self.table);
            let Some(bytes) = self.log_store.read_commit_entry(version).await.while_doing(what)? else {
                break;
            };
            let actions = get_actions(version, &bytes).while_doing(what)?;
            if let Some(action) = actions.iter().find_map(altering) {
                return Err(LakeError::Refused(format!(
                    "{}: version {version} changed the table's {action}; start again to check whether this program \
                     still knows it",
                    self.table
                )));
            }
            self.head.follow(&actions);
            if id.is_some_and(|id| actions.iter().any(|action| carries(action, id))) {
                found = Some(version);
            }
        }
        self.looked_at = Instant::now();
        self.in_doubt = false;
        Ok(found)
    }
}

/// What is put for a commit, whichever version it becomes.
struct Entry {
    actions: Vec<Action>,
    operation: DeltaOperation,
    info: std::collections::HashMap<String, Value>,
}

impl Entry {
    fn new(commit: &Commit) -> Self {
        let deleted_at = deletion_timestamp();
        let removes = commit.removes.iter().map(|file| {
            Action::Remove(Remove {
                path: file.path.clone(),
                data_change: commit.data_change,
                deletion_timestamp: Some(deleted_at),
                extended_file_metadata: Some(true),
                partition_values: Some(file.partition_values.clone()),
                size: Some(file.size),
                ..Remove::default()
            })
        });
        let adds = commit.adds.iter().cloned().map(|mut file| {
            file.data_change = commit.data_change;
            Action::Add(file)
        });
        let txns =
            commit.moves.iter().map(|step| Action::Txn(deltalake::kernel::Transaction::new(&step.app_id, step.to)));
        let mut cut = serde_json::Map::new();
        for (partition, next) in &commit.cut {
            cut.entry(partition.topic.clone()).or_insert_with(|| json!({}))[partition.partition.to_string()] =
                json!(next);
        }
        let append = commit.removes.is_empty();
        Self {
            actions: removes.chain(adds).chain(txns).collect(),
            operation: DeltaOperation::Write {
                mode: if append { SaveMode::Append } else { SaveMode::Overwrite },
                partition_by: None,
                predicate: None,
            },
            info: [
                ("isBlindAppend".to_owned(), json!(append)),
                ("clicklake".to_owned(), json!({ "job": commit.job, "commit": commit.id.as_str(), "cut": cut })),
            ]
            .into(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "Delta keeps a removed file for a time that is counted from its removal")]
fn deletion_timestamp() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Whether an entry of the log is that of the commit `id`.
fn carries(action: &Action, id: &CommitId) -> bool {
    let Action::CommitInfo(info) = action else { return false };
    info.info.get("clicklake").and_then(|ours| ours.get("commit")).is_some_and(|commit| commit == id.as_str())
}

/// What of the table an action alters, beyond rows and stands.
fn altering(action: &Action) -> Option<&'static str> {
    match action {
        Action::Metadata(_) => Some("schema or properties"),
        Action::Protocol(_) => Some("protocol"),
        _ => None,
    }
}

/// Makes the table, unless another process is making it.
async fn create(table: Table, log_store: LogStoreRef) -> Result<()> {
    let schema = table.schema();
    let schema: StructType =
        schema.as_ref().try_into_kernel().map_err(|error| LakeError::store(format!("{table}: its schema"), error))?;
    let created = CreateBuilder::new()
        .with_log_store(Arc::clone(&log_store))
        .with_table_name(table.name())
        .with_columns(schema.fields().cloned())
        .with_partition_columns(table.partition_columns().iter().copied())
        .with_configuration(table.properties().into_iter().map(|(key, value)| (key, Some(value))))
        .with_raise_if_key_not_exists(false)
        .with_save_mode(SaveMode::ErrorIfExists)
        .await;
    match created {
        Ok(_) => Ok(()),
        // Another process was first, or this one was, and the reply was lost: what counts is that it is there.
        Err(error) => match log_store.is_delta_table_location().await {
            Ok(true) => Ok(()),
            _ => Err::<(), DeltaTableError>(error).while_doing(|| format!("{table}: creating it")),
        },
    }
}

/// Whether this program can write the table; the bound it records for events ahead of their message.
fn check(table: Table, loaded: &Loaded) -> Result<i64> {
    let property = |key: &str| loaded.properties.get(key);
    let number = |key: &str, value: &String| {
        value
            .parse::<i64>()
            .map_err(|_| LakeError::Refused(format!("{table}: its property {key} is {value:?}, not a number")))
    };
    let Some(format) = property(PROPERTY_FORMAT) else {
        return Err(LakeError::Refused(format!(
            "{table}: a Delta table that clicklake did not make (no property {PROPERTY_FORMAT}); use another --lake"
        )));
    };
    let format = number(PROPERTY_FORMAT, format)?;
    if format > FORMAT {
        return Err(LakeError::Refused(format!(
            "{table}: made by a newer clicklake (format {format}, this one knows up to {FORMAT}); upgrade clicklake"
        )));
    }
    let schema: StructType = table
        .schema()
        .as_ref()
        .try_into_kernel()
        .map_err(|error| LakeError::store(format!("{table}: its schema"), error))?;
    for field in schema.fields() {
        match loaded.columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, data_type)) if data_type == field.data_type() => {}
            Some((name, data_type)) => {
                return Err(LakeError::Refused(format!(
                    "{table}: its column {name} is {data_type}, not {}; use another --lake",
                    field.data_type()
                )));
            }
            None => {
                return Err(LakeError::Refused(format!(
                    "{table}: it lacks the column {}; use another --lake",
                    field.name()
                )));
            }
        }
    }
    property(PROPERTY_TIME_IN_FUTURE_MS)
        .map_or(Ok(TIME_IN_FUTURE_MS), |value| number(PROPERTY_TIME_IN_FUTURE_MS, value))
}
