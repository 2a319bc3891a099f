//! Loads a table's head from its log: the newest version, its properties, and all `txn` values in one pass.
//!
//! delta-rs looks up one `txn` at a time and replays the log for each; a topic has hundreds of partitions, with several
//! each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{Engine, Error as KernelError, Snapshot};
use deltalake::DeltaTableError;
use deltalake::kernel::{Add, LogicalFileView, Snapshot as DeltaSnapshot};
use deltalake::logstore::{LogStore, LogStoreRef};
use futures::TryStreamExt;
use lake_schemas::stand::AppId;
use lake_schemas::table::Definition;
use lake_schemas::{Code, Table};
use object_store::path::Path;
use url::Url;

use super::Version;
use super::definition::create;
use super::entry;
use super::head::Head;
use super::lines::Damage;
use super::shape::Shape;
use super::versions::FOLDER;
use super::whole::{IS_EMPTY, WholeEntries};
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::raw_file::{self, RawFile};

/// State of a table at a version, as start-up needs it.
pub(super) struct Loaded {
    pub head: Head,
    pub shape: Shape,
    /// File that the version was read from.
    pub told_by: Listed,
}

/// A file of a table's log, with the size that was listed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Path of the file.
    pub path: Path,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// Makes a table unless it is there, and loads its newest version.
pub(super) async fn find_or_make(lake: &Lake, definition: &Definition) -> Result<(LogStoreRef, Loaded)> {
    let table = definition.table;
    let log_store = lake.log_store(table.name())?;
    let what = || format!("{table}: looking for it in {}", lake.url());
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        create(definition, &log_store).await?;
    }
    let loaded = load(table, log_store.as_ref(), None).await?;
    Ok((log_store, loaded))
}

/// Loads the newest version of a table; `None` if the lake lacks it.
pub(super) async fn find(lake: &Lake, table: Table) -> Result<Option<(LogStoreRef, Loaded)>> {
    let log_store = lake.log_store(table.name())?;
    let what = || format!("{table}: looking for it in {}", lake.url());
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        return Ok(None);
    }
    let loaded = load(table, log_store.as_ref(), None).await?;
    Ok(Some((log_store, loaded)))
}

/// Loads a version; the newest, if none is named.
pub(super) async fn load(table: Table, log_store: &dyn LogStore, version: Option<Version>) -> Result<Loaded> {
    let engine = log_store.engine(None);
    let root = table_root(log_store);
    let what = || format!("{table}: reading its log");
    // The kernel blocks, so it must not run on a thread that drives the store's requests.
    let loaded = tokio::task::spawn_blocking(move || {
        let builder = Snapshot::builder_for(root);
        let builder = if let Some(version) = version { builder.at_version(version) } else { builder };
        let snapshot = builder.build(engine.as_ref())?;
        let txns = txns(&snapshot, engine.as_ref())?;
        Ok::<_, KernelError>((snapshot, txns))
    })
    .await
    .map_err(|panic| LakeError::store(what(), panic))?;
    if loaded.is_err() && is_removed(table, log_store).await {
        let why = format!("{table} is not there any more: it was dropped, or its folder was removed");
        return Err(LakeError::Altered(why));
    }
    let (snapshot, txns) = loaded.map_err(|error| unread(what(), error))?;
    have_content(table, &snapshot)?;
    let says = snapshot.table_configuration();
    let shape = Shape::of(table, says.protocol(), says.metadata())?;
    let told_by = told_by(table, &snapshot)?;
    Ok(Loaded { head: Head::new(snapshot.version(), txns), shape, told_by })
}

/// Returns whether a staging table is not there. Whoever works on it need not wait for it, as for another table, which
/// only its store can have lost for now.
async fn is_removed(table: Table, log_store: &dyn LogStore) -> bool {
    matches!(table, Table::Staging(_)) && matches!(log_store.is_delta_table_location().await, Ok(false))
}

/// Refuses a snapshot with an entry of 0 bytes, as a power loss leaves one: Delta's library takes it for a commit of
/// nothing, so the rows of that version would be missing, and nobody would see it.
fn have_content(table: Table, snapshot: &Snapshot) -> Result<()> {
    let empty = snapshot.log_segment().listed.ascending_commit_files.iter().find(|entry| entry.location.size == 0);
    empty.map_or(Ok(()), |entry| Err(entry::damaged(table, entry.version, &Damage::empty())))
}

/// Returns the file that a snapshot's version was read from: its entry, or its checkpoint, which holds everything that
/// the entries said, where entries up to it were cleaned up.
fn told_by(table: Table, snapshot: &Snapshot) -> Result<Listed> {
    let (version, listed) = (snapshot.version(), &snapshot.log_segment().listed);
    let mut files = listed.latest_commit_file.iter().chain(&listed.checkpoint_parts);
    let Some(file) = files.find(|file| file.version == version) else {
        return Err(LakeError::Refused(Code::FileDamaged.because(format!(
            "{table}: its log has neither an entry nor a checkpoint of version {version}; put the folder {FOLDER} back \
             from a copy"
        ))));
    };
    Ok(Listed { path: Path::from(FOLDER).join(file.filename.as_str()), bytes: file.location.size })
}

/// Texts in the errors of Delta's library for a log with missing versions, and for one whose files contradict each
/// other. The library has no kinds of error for these.
const CONTRADICTIONS: [&str; 2] = ["Expected contiguous commit files", "CRC file version"];

/// Tells why a log could not be read. A fault of the log itself is refused, because a retry would meet it again; all
/// else may be the store's, and may be tried again.
fn unread(what: String, error: KernelError) -> LakeError {
    use KernelError as E;
    let cause = if let E::Backtraced { source, .. } = &error { source.as_ref() } else { &error };
    let text = cause.to_string();
    let said = text.lines().next().unwrap_or_default();
    let said = said.split_once(": ParsedLogPath").map_or(said, |(said, _)| said);
    let contradicts_itself = || CONTRADICTIONS.iter().any(|contradiction| text.contains(contradiction));
    // A request that the store did not answer comes as an error of Parquet, too.
    let is_of_the_store = || text.contains("External: ") || text.contains("ObjectStore");
    let way_out = match cause {
        E::InvalidProtocol(_) | E::Unsupported(_) | E::MalformedJson(_) | E::Schema(_) => {
            "an entry is damaged, or another program wrote what clicklake cannot read: restore the table to a version \
             before that, or put _delta_log back from a copy"
        }
        E::Generic(_) if text.contains(IS_EMPTY) => {
            "it is damaged: put that file of _delta_log back from a copy, or restore the table to a version before it"
        }
        E::Arrow(ArrowError::JsonError(_)) => "an entry is damaged: put that file of _delta_log back from a copy",
        E::InvalidCheckpoint(_) | E::Parquet(_) | E::Arrow(ArrowError::ParquetError(_)) if !is_of_the_store() => {
            "its newest checkpoint is damaged or missing: remove that and _last_checkpoint from _delta_log if the \
             entries since an older checkpoint, or since version 0, are there, or put _delta_log back from a copy"
        }
        E::MissingMetadata | E::MissingProtocol | E::MissingMetadataAndProtocol => {
            "its first versions are missing: put _delta_log back from a copy"
        }
        E::Generic(_) | E::InternalError(_) if contradicts_itself() => {
            "an entry is missing, or a file there is of no version: put _delta_log back from a copy, or remove what \
             does not belong there"
        }
        _ => return LakeError::store(what, error),
    };
    LakeError::Refused(Code::FileDamaged.because(format!("{what}: {said}; {way_out}")))
}

/// Opens a version of a table, or its newest, with Delta's library, for readers that scan it with that.
pub async fn snapshot(table: Table, log_store: &dyn LogStore, version: Option<Version>) -> Result<DeltaSnapshot> {
    let what = || format!("{table}: reading its log");
    let engine = Arc::new(WholeEntries(log_store.engine(None)));
    let snapshot = DeltaSnapshot::try_new_with_engine(engine, table_root(log_store), version).await;
    snapshot.map_err(|error| unlisted(what(), error))
}

/// Maps an error of listing files as [`unread`] does.
fn unlisted(what: String, error: DeltaTableError) -> LakeError {
    match error {
        DeltaTableError::KernelError(error) => unread(what, error),
        error => LakeError::store(what, error),
    }
}

/// Refuses a table of a job that has rows but records no position: a job that began it anew would read everything
/// again, and have it twice.
pub(super) async fn has_its_stands(table: Table, log_store: &dyn LogStore, head: &Head) -> Result<()> {
    // A rolled-up table has no positions of its own: it stands where its source stands.
    if table.source().is_some() || !head.stands(table).is_empty() {
        return Ok(());
    }
    let what = || format!("{table}: looking for rows");
    let snapshot =
        DeltaSnapshot::try_new(log_store, Some(head.version())).await.map_err(|error| unlisted(what(), error))?;
    // Collect all of them, although one is enough: a stream that is dropped half-way leaves threads behind that cannot
    // deliver.
    let files: Vec<_> =
        snapshot.file_views(log_store, None).try_collect().await.map_err(|error| unlisted(what(), error))?;
    let Some(file) = files.first() else { return Ok(()) };
    Err(LakeError::Refused(Code::ForeignLoss.because(format!(
        "{table} has rows ({}), but records no position of any partition: another program has dropped them, as log \
         checkpoints do under delta.setTransactionRetentionDuration; if all were read again, it would be there twice. \
         Put the folder _delta_log back from a copy that has them, or use another --lake",
        file.path()
    ))))
}

/// Returns a table's address, as a folder.
pub(super) fn table_root(log_store: &dyn LogStore) -> Url {
    let mut root = log_store.root_url().clone();
    if !root.path().ends_with('/') {
        root.set_path(&format!("{}/", root.path()));
    }
    root
}

/// Reads all `txn` values at a snapshot. Actions come newest first, so the first value seen of each `txn` holds.
fn txns(snapshot: &Arc<Snapshot>, engine: &dyn Engine) -> delta_kernel::DeltaResult<HashMap<AppId, i64>> {
    let txn = StructType::try_new([
        StructField::nullable("appId", DataType::STRING),
        StructField::nullable("version", DataType::LONG),
    ])?;
    let schema = Arc::new(StructType::try_new([StructField::nullable("txn", txn)])?);
    let mut values = HashMap::new();
    for actions in snapshot.log_segment().read_actions(engine, schema)? {
        let actions = actions?.actions;
        let Some(actions) = actions.any_ref().downcast_ref::<ArrowEngineData>() else {
            unreachable!("the default engine reads into Arrow");
        };
        let txn = actions.record_batch().column(0).as_struct();
        let (ids, versions) = (txn.column(0).as_string::<i32>(), txn.column(1).as_primitive::<Int64Type>());
        for row in (0..txn.len()).filter(|&row| txn.is_valid(row) && ids.is_valid(row)) {
            values.entry(ids.value(row).to_owned()).or_insert(versions.value(row));
        }
    }
    Ok(values)
}

/// Lists the files of a raw table that are live at a version.
pub(super) async fn raw_files(table: Table, log_store: &dyn LogStore, version: Version) -> Result<Vec<RawFile>> {
    let what = || format!("{table}: listing the files of version {version}");
    let snapshot = DeltaSnapshot::try_new(log_store, Some(version)).await.map_err(|error| unlisted(what(), error))?;
    // Collect all of them before any is refused: a stream that is dropped half-way leaves threads behind that cannot
    // deliver.
    let views: Vec<_> =
        snapshot.file_views(log_store, None).try_collect().await.map_err(|error| unlisted(what(), error))?;
    let file = |view: LogicalFileView| {
        let path = view.path();
        if view.deletion_vector_descriptor().is_some() {
            return Err(has_deleted_rows(table, &path));
        }
        let file = view.stats().and_then(|statistics| RawFile::stated(&path, view.size(), &statistics));
        file.ok_or_else(|| raw_file::not_of_one_partition(table, &path))
    };
    views.into_iter().map(file).collect()
}

/// Lists the files that are live at a version, by path.
pub(super) async fn live_files(
    table: Table,
    log_store: &dyn LogStore,
    version: Version,
) -> Result<HashMap<String, Add>> {
    let what = || format!("{table}: listing the files of version {version}");
    let snapshot = DeltaSnapshot::try_new(log_store, Some(version)).await.map_err(|error| unlisted(what(), error))?;
    let files = snapshot.file_views(log_store, None).map_ok(|file| {
        let path = file.path().into_owned();
        let add = Add {
            path: path.clone(),
            partition_values: file.partition_values_map(),
            size: file.size(),
            modification_time: file.modification_time(),
            data_change: true,
            stats: file.stats(),
            deletion_vector: file.deletion_vector_descriptor(),
            ..Add::default()
        };
        (path, add)
    });
    files.try_collect().await.map_err(|error| unlisted(what(), error))
}

/// Refuses files with a deletion vector, which marks some of their rows as deleted: a reader that takes such a file
/// whole would bring those rows back.
pub fn without_deleted_rows<'a>(table: Table, files: impl IntoIterator<Item = &'a Add>) -> Result<()> {
    let with_vector = files.into_iter().find(|file| file.deletion_vector.is_some());
    with_vector.map_or(Ok(()), |file| Err(has_deleted_rows(table, &file.path)))
}

fn has_deleted_rows(table: Table, path: &str) -> LakeError {
    LakeError::Refused(Code::ForeignFeature.because(format!(
        "{table}: its file {path} has a deletion vector, which clicklake does not support; let the engine that made it \
         write the rows that are left: ALTER TABLE {table} DROP FEATURE deletionVectors"
    )))
}
