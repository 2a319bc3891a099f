//! Reads a table's head from its log: the newest version, its properties, and all `txn` values in one pass.
//!
//! delta-rs looks up one `txn` at a time and replays the log for each; a topic has hundreds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::{DataType, StructField, StructType};
use delta_kernel::{Engine, Snapshot};
use deltalake::kernel::{Add, Snapshot as DeltaSnapshot};
use deltalake::logstore::{LogStore, LogStoreRef};
use futures::TryStreamExt;
use url::Url;

use super::Version;
use super::head::Head;
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::raw_file::RawFile;
use crate::stand::AppId;
use crate::table::Table;

/// What start-up must know of a table.
pub(super) struct Loaded {
    pub head: Head,
    pub id: String,
    pub properties: HashMap<String, String>,
    pub columns: Vec<(String, DataType)>,
}

/// A table of a lake, and its newest version; `None` if the lake lacks it.
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
    // The kernel blocks; it must not do so on a thread that drives the store's requests.
    let loaded = tokio::task::spawn_blocking(move || {
        let builder = Snapshot::builder_for(root);
        let builder = if let Some(version) = version { builder.at_version(version) } else { builder };
        let snapshot = builder.build(engine.as_ref())?;
        let txns = txns(&snapshot, engine.as_ref())?;
        let columns =
            snapshot.schema().fields().map(|field| (field.name().clone(), field.data_type().clone())).collect();
        Ok::<_, delta_kernel::Error>(Loaded {
            head: Head::new(snapshot.version(), txns),
            id: snapshot.table_configuration().metadata().id().to_owned(),
            properties: snapshot.metadata_configuration().clone(),
            columns,
        })
    })
    .await
    .map_err(|panic| LakeError::store(what(), panic))?;
    loaded.while_doing(what)
}

/// A table's address, as a folder.
pub(super) fn table_root(log_store: &dyn LogStore) -> Url {
    let mut root = log_store.root_url().clone();
    if !root.path().ends_with('/') {
        root.set_path(&format!("{}/", root.path()));
    }
    root
}

/// All `txn` values at a snapshot. Newest first, so the first value seen of each is the one that holds.
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

/// The files of a raw table that are live at a version.
pub(super) async fn raw_files(table: Table, log_store: &dyn LogStore, version: Version) -> Result<Vec<RawFile>> {
    let what = || format!("{table}: listing the files of version {version}");
    let snapshot = DeltaSnapshot::try_new(log_store, Some(version)).await.while_doing(what)?;
    let mut views = snapshot.file_views(log_store, None);
    let mut files = Vec::new();
    while let Some(view) = views.try_next().await.while_doing(what)? {
        let file = view.stats().and_then(|statistics| RawFile::stated(&view.path(), view.size(), &statistics));
        let lacking = || {
            LakeError::Refused(format!(
                "{table}: the file {} has no statistics on position; a table that clicklake wrote has them",
                view.path()
            ))
        };
        files.push(file.ok_or_else(lacking)?);
    }
    Ok(files)
}

/// The files that are live at a version, by path.
pub(super) async fn live_files(
    table: Table,
    log_store: &dyn LogStore,
    version: Version,
) -> Result<HashMap<String, Add>> {
    let what = || format!("{table}: listing the files of version {version}");
    let snapshot = DeltaSnapshot::try_new(log_store, Some(version)).await.while_doing(what)?;
    let files = snapshot.file_views(log_store, None).map_ok(|file| {
        let path = file.path().into_owned();
        let add = Add {
            path: path.clone(),
            partition_values: file.partition_values_map(),
            size: file.size(),
            modification_time: file.modification_time(),
            data_change: true,
            stats: file.stats(),
            ..Add::default()
        };
        (path, add)
    });
    files.try_collect().await.while_doing(what)
}
