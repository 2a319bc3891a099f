//! Rows into data files: Parquet with zstd (small ones with Snappy), statistics on position, event time and ad, one
//! `Add` a file.
//!
//! Encoding is apart from putting: what fails is tried again as it is. A file that no commit names does not exist for
//! any reader; putting one changes nothing yet.
//!
//! ```text
//!   rows of many folders ──grouped──> a few folders at a time ──> files, each of bounded size ──> the store, in parts
//! ```
//!
//! The number of open files is bounded, whatever the rows are: anyone who may send clicks may send them with the time
//! of any hour since 2000, and each open file holds the buffers of all its columns.

mod grouped;
mod held;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::Table;
use lake_schemas::table::column;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, PutPayload};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use self::grouped::{FolderValues, Groups};
use self::held::Held;
use crate::commit::CommitId;
use crate::error::{Context, LakeError, Result};
use crate::path::{OWN_ENDS, path_of};

/// How old a file may be that no commit names yet, before clean-up takes it for forgotten. Writers commit none that is
/// older than a quarter of that: what lies between is for clocks, and for commits that hang.
pub const UNCOMMITTED_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Rows a row group: a few MB of Parquet, which bounds both what a writer holds and what a reader must skip over.
const ROW_GROUP_ROWS: usize = 131_072;

/// Bytes of an open row group, for rows much larger than a click: a rejected payload may have a megabyte.
const ROW_GROUP_BYTES: usize = if cfg!(test) { 1024 * 1024 } else { 32 * 1024 * 1024 };

/// Size at which a file is full and a new one begins, in bytes: a writer holds one file in memory. It is a quarter more
/// than the size that compaction aims at, so that files it puts together stay one file.
pub const FILE_BYTES: u64 = if cfg!(test) { 8 * 1024 * 1024 } else { 160 * 1024 * 1024 };

/// Rows written between two looks at the size of the file.
const STRETCH_ROWS: usize = 8_192;

/// Folders that one call encodes at a time. Jobs encode eight partitions at once, which makes 32 open files.
const FOLDERS_MAX: usize = 4;

/// Rows from which on a file is compressed by zstd. Its contexts cost as much for each column as some hundred rows do,
/// which is most of what encoding takes at the live end, where files are small; Snappy has none. Compaction soon writes
/// again what is small.
const ZSTD_ROWS_MIN: usize = 4_096;

/// Bytes of the rows of a small file up to which they are joined: as clicks they are far below that.
const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What delta-rs puts at the end of the names of files, and what stands there instead: other programs that write with
/// delta-rs name their files as it does.
const ENDS: [(&str, &str); 2] = [(".zstd.parquet", OWN_ENDS[0]), (".snappy.parquet", OWN_ENDS[1])];

/// Rows a page of a roll-up: its files are sorted by ad, and who asks for one ad reads few pages of each.
const PAGE_ROWS: usize = 4_096;

/// Columns that are stored as differences: numbers that ascend, hardly change, or are nearly all different.
const DIFFERENCES: [&str; 8] = [
    column::KAFKA_PARTITION,
    column::KAFKA_OFFSET,
    column::KAFKA_TIMESTAMP,
    column::EVENT_TIME,
    column::COST_MICROS,
    column::WINDOW_START,
    column::OFFSET_FIRST,
    column::OFFSET_NEXT,
];

/// A data file that is encoded, and as it will stand in the store.
pub struct DataFile {
    /// What a commit says of it.
    pub add: Add,
    table: Table,
    path: Path,
    payload: PutPayload,
}

impl DataFile {
    /// Puts it into the store of its table, in parts if it is large. Doing so again changes nothing.
    pub async fn put(&self, store: &dyn ObjectStore) -> Result<()> {
        let put = parts::put(store, &self.path, &self.payload).await;
        put.while_doing(|| format!("{}: writing the data file {}", self.table, self.path))
    }
}

/// Deletes the files of a commit that was never put. Those of one that was may be live, whatever was said of it: they
/// are left to the sweep, as is what remains when deleting fails.
pub async fn discard(store: &dyn ObjectStore, commit: &CommitId, files: &[Add]) {
    if !commit.was_put() {
        delete_uncommitted(store, files).await;
    }
}

/// Deletes files that were put but never named in a commit. Stops when the store fails: the sweep takes the rest.
pub async fn delete_uncommitted(store: &dyn ObjectStore, files: &[Add]) {
    let paths: Vec<_> = files.iter().filter_map(|file| path_of(&file.path)).map(Ok).collect();
    let mut deleted = store.delete_stream(stream::iter(paths).boxed());
    while let Some(done) = deleted.next().await {
        // A store that is down would let each of them wait.
        if !matches!(done, Ok(_) | Err(StoreError::NotFound { .. })) {
            return;
        }
    }
}

/// Encodes rows of a table as new files: those of each folder in their order, whatever folders lie between them.
pub fn encode(table: Table, rows: &[RecordBatch]) -> BoxFuture<'_, Result<Vec<DataFile>>> {
    Box::pin(async move {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let (schema, joined) = (first.schema(), joined(table, rows)?);
        let is_small = joined.is_some();
        let joined: Vec<_> = joined.into_iter().collect();
        let groups = Groups::of(table, if is_small { &joined } else { rows })?;
        let folders: Vec<_> = groups
            .folders()
            .map(|folder| {
                let encoder = Encoder::new(table, Arc::clone(&schema));
                encode_folder(if is_small { encoder.for_few_rows() } else { encoder }, folder)
            })
            .collect();
        let files: Vec<_> = stream::iter(folders).buffered(FOLDERS_MAX).try_collect().await?;
        Ok(files.into_iter().flatten().collect())
    })
}

/// The same rows as one batch, if they are few: each column is then looked at once, and not for each of the many
/// batches that a live end brings. Not if they are so large that a copy of them counts.
fn joined(table: Table, batches: &[RecordBatch]) -> Result<Option<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    let Some(first) = batches.first().filter(|_| rows < ZSTD_ROWS_MIN && bytes <= JOINED_BYTES_MAX) else {
        return Ok(None);
    };
    let joined = concat_batches(&first.schema(), batches);
    joined.map(Some).map_err(|error| LakeError::store(format!("{table}: joining the rows of a data file"), error))
}

fn encode_folder<'a>(
    mut encoder: Encoder,
    rows: impl Iterator<Item = Result<RecordBatch>> + Send + 'a,
) -> BoxFuture<'a, Result<Vec<DataFile>>> {
    Box::pin(async move {
        let mut files = Vec::new();
        for rows in rows {
            files.extend(encoder.push(&rows?).await?);
        }
        files.extend(encoder.finish().await?);
        Ok(files)
    })
}

/// Encodes rows of a table batch by batch, and holds one file at a time.
///
/// Rows should come folder by folder: each change of folder begins another file.
pub struct Encoder {
    table: Table,
    schema: SchemaRef,
    properties: WriterProperties,
    open: Option<OpenFile>,
}

/// A file that rows are added to.
struct OpenFile {
    folder: FolderValues,
    writer: DeltaWriter,
    /// delta-rs writes to a store; in memory that cannot fail, and a put that does need not encode again.
    held: Held,
}

impl Encoder {
    /// An encoder of rows with these columns.
    pub fn new(table: Table, schema: SchemaRef) -> Self {
        Self { table, schema, properties: properties(table), open: None }
    }

    /// The same encoder, for files of few rows.
    fn for_few_rows(self) -> Self {
        let properties = properties(self.table).into_builder().set_compression(Compression::SNAPPY).build();
        Self { properties, ..self }
    }

    /// Adds rows behind those added before. Returns the files that are full now, for the caller to put.
    pub fn push<'a>(&'a mut self, rows: &'a RecordBatch) -> BoxFuture<'a, Result<Vec<DataFile>>> {
        Box::pin(async move {
            let mut full = Vec::new();
            for (folder, run) in grouped::runs(self.table, rows)? {
                for first in (0..run.num_rows()).step_by(STRETCH_ROWS) {
                    let stretch = run.slice(first, STRETCH_ROWS.min(run.num_rows() - first));
                    full.extend(self.add(&folder, stretch).await?);
                }
            }
            Ok(full)
        })
    }

    /// Returns the last file; `None` if it has no rows.
    pub fn finish(mut self) -> BoxFuture<'static, Result<Option<DataFile>>> {
        Box::pin(async move { self.close().await })
    }

    async fn add(&mut self, folder: &FolderValues, rows: RecordBatch) -> Result<Option<DataFile>> {
        let is_open = |open: &OpenFile| open.folder == *folder && open.held.bytes() < FILE_BYTES;
        let full = if self.open.as_ref().is_none_or(is_open) { None } else { self.close().await? };
        let open = self.open.get_or_insert_with(|| {
            let held = Held::default();
            let config = config(self.table, Arc::clone(&self.schema), self.properties.clone());
            let writer = DeltaWriter::new(Arc::new(held.clone()), config);
            OpenFile { folder: folder.clone(), writer, held }
        });
        let written = open.writer.write_partition(rows, &folder.named(self.table)).await;
        written.while_doing(|| format!("{}: encoding a data file", self.table))?;
        Ok(full)
    }

    async fn close(&mut self) -> Result<Option<DataFile>> {
        let Some(OpenFile { writer, held, .. }) = self.open.take() else { return Ok(None) };
        let what = || format!("{}: encoding a data file", self.table);
        let Some(mut add) = writer.close().await.while_doing(what)?.pop() else { return Ok(None) };
        let named = |path: &str| Path::from_url_path(path).map_err(|error| LakeError::store(what(), error));
        let payload = held.take(&named(&add.path)?).while_doing(what)?;
        let own = ENDS.iter().find_map(|(end, own)| Some(format!("{}{own}", add.path.strip_suffix(end)?)));
        add.path = own.unwrap_or(add.path);
        let path = named(&add.path)?;
        Ok(Some(DataFile { add, table: self.table, path, payload }))
    }
}

fn config(table: Table, schema: SchemaRef, properties: WriterProperties) -> WriterConfig {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    WriterConfig::new(
        schema,
        owned(table.partition_columns()),
        Some(properties),
        None,
        None,
        DataSkippingNumIndexedCols::AllColumns,
        Some(owned(table.statistics_columns())),
    )
}

/// How the columns of a table are encoded. Ids that rarely repeat are not worth a dictionary, which costs most of the
/// time that writing takes; texts of any length have none, so that the metadata of a file tells how large its rows are.
/// Statistics are kept where readers can use them to skip.
pub fn properties(table: Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(concat!("clicklake ", env!("CARGO_PKG_VERSION")).to_owned());
    let detail = if table.source().is_some() {
        properties = properties.set_data_page_row_count_limit(PAGE_ROWS).set_write_batch_size(PAGE_ROWS);
        EnabledStatistics::Page
    } else {
        EnabledStatistics::Chunk
    };
    for &name in table.statistics_columns() {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), detail);
    }
    for name in DIFFERENCES {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [column::CLICK_ID, column::USER_ID, column::IP, column::EXTRA, column::KEY, column::PAYLOAD] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties.build()
}

#[cfg(test)]
mod tests;
