//! Rows into data files: Parquet with zstd (small ones with Snappy), statistics on position, event time and ad, one `Add` a file.
//!
//! Encoding is apart from putting: what fails is tried again as it is. A file that no commit names does not exist for
//! any reader; putting one changes nothing yet.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, partition};
use arrow::datatypes::{Date32Type, Int32Type, SchemaRef};
use bytes::Bytes;
use delta_kernel::expressions::Scalar;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use indexmap::IndexMap;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Context, LakeError, Result};
use crate::table::{Table, column};

/// How old a file may be that no commit names yet, before clean-up takes it for forgotten. Writers commit none that is
/// older than a quarter of that: what lies between is for clocks, and for commits that hang.
pub const UNCOMMITTED_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Rows a row group: a few MB of Parquet, which bounds both what a writer holds and what a reader must skip over.
const ROW_GROUP_ROWS: usize = 131_072;

/// Rows from which on a file is compressed by zstd. Its contexts cost as much for each column as some hundred rows do,
/// which is most of what encoding takes at the live end, where files are small; Snappy has none. Compaction writes what
/// is small again soon.
const ZSTD_ROWS_MIN: usize = 4_096;

/// Bytes of the rows of a small file up to which they are joined: as clicks they are far below that.
const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

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
    path: Path,
    bytes: Bytes,
}

impl DataFile {
    /// Puts it into the store of its table. Doing so again changes nothing.
    pub async fn put(&self, store: &dyn ObjectStore) -> Result<()> {
        let put = store.put(&self.path, self.bytes.clone().into()).await;
        put.map(|_| ()).while_doing(|| format!("writing the data file {}", self.path))
    }
}

/// Deletes files that no commit names. What is left behind when that fails is swept later.
pub async fn discard(store: &dyn ObjectStore, files: &[Add]) {
    for path in files.iter().filter_map(|file| Path::from_url_path(&file.path).ok()) {
        let _ = store.delete(&path).await;
    }
}

/// Encodes rows of a table, in their order, as new files: one for each combination of the values that the table is
/// partitioned by. An epoch's rows are bounded, and so is what is held here.
pub fn encode(table: Table, rows: &[RecordBatch]) -> BoxFuture<'_, Result<Vec<DataFile>>> {
    Box::pin(async move {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let mut encoder = Encoder::new(table, first.schema());
        if rows.iter().map(RecordBatch::num_rows).sum::<usize>() < ZSTD_ROWS_MIN {
            encoder = encoder.for_few();
            for batch in joined(table, first.schema(), rows.to_vec())? {
                encoder.push(&batch).await?;
            }
            return encoder.finish().await;
        }
        for batch in rows {
            encoder.push(batch).await?;
        }
        encoder.finish().await
    })
}

/// The same rows as one batch, so that each column is looked at once and not for each of the many batches that a live
/// end brings; unless they are so large that a copy of them counts.
fn joined(table: Table, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    if batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() > JOINED_BYTES_MAX {
        return Ok(batches);
    }
    let joined = concat_batches(&schema, &batches)
        .map_err(|error| LakeError::store(format!("{table}: joining the rows of a data file"), error))?;
    Ok(vec![joined])
}

/// Encodes rows of a table batch by batch, for who need not hold them all: what is held is the files.
pub struct Encoder {
    table: Table,
    /// delta-rs writes to a store; in memory that cannot fail, and a put that does need not encode again.
    memory: Arc<dyn ObjectStore>,
    writer: DeltaWriter,
}

impl Encoder {
    /// An encoder of rows with these columns.
    pub fn new(table: Table, schema: SchemaRef) -> Self {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let writer = DeltaWriter::new(Arc::clone(&memory), config(table, schema));
        Self { table, memory, writer }
    }

    /// The same encoder, for a file of few rows.
    fn for_few(self) -> Self {
        let properties = properties(self.table).into_builder().set_compression(Compression::SNAPPY).build();
        Self { writer: self.writer.with_writer_properties(properties), ..self }
    }

    /// Adds rows behind those that were added before.
    pub fn push<'a>(&'a mut self, rows: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let table = self.table;
            for (values, run) in runs(table, rows)? {
                let written = self.writer.write_partition(run, &values).await;
                written.while_doing(|| format!("{table}: encoding a data file"))?;
            }
            Ok(())
        })
    }

    /// The files; none if there were no rows.
    pub fn finish(self) -> BoxFuture<'static, Result<Vec<DataFile>>> {
        Box::pin(async move {
            let what = || format!("{}: encoding a data file", self.table);
            let mut files = Vec::new();
            for add in self.writer.close().await.while_doing(what)? {
                let path = Path::from_url_path(&add.path).map_err(|error| LakeError::store(what(), error))?;
                let bytes = self.memory.get(&path).await.while_doing(what)?.bytes().await.while_doing(what)?;
                files.push(DataFile { add, path, bytes });
            }
            Ok(files)
        })
    }
}

/// Rows in a row that belong into one file, and the values that say which.
type Run = (IndexMap<String, Scalar>, RecordBatch);

/// Splits a batch where a value changes that the table is partitioned by.
fn runs(table: Table, batch: &RecordBatch) -> Result<Vec<Run>> {
    let lacking = || LakeError::Refused(format!("{table}: rows without the columns it is partitioned by"));
    let names = table.partition_columns();
    let columns: Option<Vec<_>> = names.iter().map(|name| batch.column_by_name(name).cloned()).collect();
    let columns = columns.ok_or_else(lacking)?;
    let Ok(partitions) = partition(&columns) else { return Err(lacking()) };
    let run = |range: Range<usize>| {
        let values = names.iter().zip(&columns).map(|(name, column)| {
            let date = column.as_primitive_opt::<Date32Type>().map(|dates| Scalar::Date(dates.value(range.start)));
            let number = || column.as_primitive_opt::<Int32Type>().map(|all| Scalar::Integer(all.value(range.start)));
            Some(((*name).to_owned(), date.or_else(number)?))
        });
        let values = values.collect::<Option<_>>().ok_or_else(lacking)?;
        Ok((values, batch.slice(range.start, range.len())))
    };
    partitions.ranges().into_iter().map(run).collect()
}

fn config(table: Table, schema: SchemaRef) -> WriterConfig {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    WriterConfig::new(
        schema,
        owned(table.partition_columns()),
        Some(properties(table)),
        None,
        None,
        DataSkippingNumIndexedCols::AllColumns,
        Some(owned(table.statistics_columns())),
    )
}

/// How the columns of a table are encoded. Ids that rarely repeat are not worth a dictionary, which costs most of the
/// time that writing takes; statistics are kept where readers can use them to skip.
pub fn properties(table: Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
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
    for name in [column::CLICK_ID, column::USER_ID, column::IP, column::PAYLOAD] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties.build()
}
