//! Encodes rows as data files: Parquet with zstd (small files with Snappy), with statistics on position, event time and
//! ad, and one `Add` for each file.
//!
//! Encoding and putting are separate steps, so that a put that fails is tried again without encoding again. A file that
//! no commit names does not exist for any reader; putting one changes nothing yet.
//!
//! ```text
//!   rows of many folders ──grouped──> a few folders at a time ──> files, each of bounded size ──> the store, in parts
//! ```
//!
//! The number of open files is bounded, whatever the rows are: anyone who may send clicks may send them with the time
//! of any hour since 2000, and each open file holds the buffers of all its columns.

mod chunks;
mod grouped;
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

use self::chunks::FileChunks;
use self::grouped::{FolderValues, Groups};
use crate::commit::CommitId;
use crate::error::{Context, LakeError, Result};
use crate::path::{OWN_ENDS, path_of};

/// Age from which clean-up takes a file that no commit names for forgotten. Writers commit no file that is older than a
/// quarter of that; the rest is a margin for clocks, and for commits that hang.
pub const UNCOMMITTED_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Rows in a row group: a few MB of Parquet, which bounds both what a writer holds and what a reader must skip over.
const ROW_GROUP_ROWS: usize = 131_072;

/// Bytes in an open row group, for rows much larger than a click: a rejected payload may have a megabyte.
const ROW_GROUP_BYTES: usize = if cfg!(test) { 1024 * 1024 } else { 32 * 1024 * 1024 };

/// Size at which a file is full and a new one begins, in bytes: a writer holds one file in memory. It is a quarter more
/// than the size that file compaction aims at, so that the files it merges stay one file.
pub const FILE_BYTES: u64 = if cfg!(test) { 8 * 1024 * 1024 } else { 160 * 1024 * 1024 };

/// Rows that are written between two checks of the file's size.
const STRETCH_ROWS: usize = 8_192;

/// Folders that one call encodes at a time. Jobs encode eight partitions at once, which makes 32 open files.
const FOLDERS_MAX: usize = 4;

/// Number of rows from which a file is compressed with zstd. Its contexts cost as much for each column as some hundred
/// rows do, which is most of the cost of encoding at the live end, where files are small; Snappy has none. Compaction
/// soon rewrites small files anyway.
const ZSTD_ROWS_MIN: usize = 4_096;

/// Bytes up to which the rows of a small file are joined before encoding. Clicks are far below that.
const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Ends of the file names that delta-rs gives, each with the end that replaces it: other programs that write with
/// delta-rs name their files as it does, so ours must differ.
const ENDS: [(&str, &str); 2] = [(".zstd.parquet", OWN_ENDS[0]), (".snappy.parquet", OWN_ENDS[1])];

/// Rows in a page of a roll-up: its files are sorted by ad, and a query for one ad then reads few pages of each.
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

/// A data file that is encoded, byte for byte as it will be in the store.
pub struct DataFile {
    /// Action with which a commit names the file.
    pub add: Add,
    table: Table,
    path: Path,
    payload: PutPayload,
}

impl DataFile {
    /// Puts the file into the store of its table, in parts if it is large. Putting it again changes nothing.
    pub async fn put(&self, store: &dyn ObjectStore) -> Result<()> {
        let put = parts::put(store, &self.path, &self.payload).await;
        put.while_doing(|| format!("{}: writing the data file {}", self.table, self.path))
    }
}

/// Deletes the files of a commit that was never put. Files of a commit that was put may be live, whatever was reported:
/// they are left to the sweep, as are those whose deletion fails.
pub async fn discard(store: &dyn ObjectStore, commit: &CommitId, files: &[Add]) {
    if !commit.was_put() {
        delete_uncommitted(store, files).await;
    }
}

/// Deletes files that were put but never named in a commit. It stops at the first failure of the store: the sweep takes
/// the rest.
pub async fn delete_uncommitted(store: &dyn ObjectStore, files: &[Add]) {
    let paths: Vec<_> = files.iter().filter_map(|file| path_of(&file.path)).map(Ok).collect();
    let mut deleted = store.delete_stream(stream::iter(paths).boxed());
    while let Some(done) = deleted.next().await {
        // With a store that is down, each further deletion would only wait.
        if !matches!(done, Ok(_) | Err(StoreError::NotFound { .. })) {
            return;
        }
    }
}

/// Encodes rows of a table as new files. The rows of each folder keep their order, even if rows of other folders lie
/// between them.
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

/// Joins the batches into one if they have few rows: each column is then encoded once, and not for each of the many
/// batches that come at the live end. `None` if they are too many, or so large that a copy would cost too much.
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

/// Encodes rows of a table batch by batch, holding one file at a time.
///
/// Rows should come folder by folder: each change of folder begins another file.
pub struct Encoder {
    table: Table,
    schema: SchemaRef,
    properties: WriterProperties,
    open: Option<OpenFile>,
}

/// A file that rows are being added to.
struct OpenFile {
    folder: FolderValues,
    writer: DeltaWriter,
    /// Content so far. delta-rs writes to a store: writing to memory cannot fail, and a put that fails later need not
    /// encode again.
    chunks: FileChunks,
}

impl Encoder {
    /// Makes an encoder of rows with these columns.
    pub fn new(table: Table, schema: SchemaRef) -> Self {
        Self { table, schema, properties: properties(table), open: None }
    }

    /// Returns the same encoder, set for files of few rows.
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
        let is_open = |open: &OpenFile| open.folder == *folder && open.chunks.bytes() < FILE_BYTES;
        let full = if self.open.as_ref().is_none_or(is_open) { None } else { self.close().await? };
        let open = self.open.get_or_insert_with(|| {
            let chunks = FileChunks::default();
            let config = config(self.table, Arc::clone(&self.schema), self.properties.clone());
            let writer = DeltaWriter::new(Arc::new(chunks.clone()), config);
            OpenFile { folder: folder.clone(), writer, chunks }
        });
        let written = open.writer.write_partition(rows, &folder.named(self.table)).await;
        written.while_doing(|| format!("{}: encoding a data file", self.table))?;
        Ok(full)
    }

    async fn close(&mut self) -> Result<Option<DataFile>> {
        let Some(OpenFile { writer, chunks, .. }) = self.open.take() else { return Ok(None) };
        let what = || format!("{}: encoding a data file", self.table);
        let Some(mut add) = writer.close().await.while_doing(what)?.pop() else { return Ok(None) };
        let named = |path: &str| Path::from_url_path(path).map_err(|error| LakeError::store(what(), error));
        let payload = chunks.take(&named(&add.path)?).while_doing(what)?;
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

/// Returns how the columns of a table are encoded. Ids that rarely repeat have no dictionary, because building one
/// would take most of the time of writing. Texts of any length have none either, so that the metadata of a file tells
/// how large its rows are. Statistics are kept where readers can use them to skip.
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
