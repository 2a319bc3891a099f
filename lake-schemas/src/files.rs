//! Rows into data files: Parquet with zstd, statistics on position, event time and ad, one `Add` a file.
//!
//! Encoding is apart from putting: what fails is tried again as it is. A file that no commit names does not exist for
//! any reader; putting one changes nothing yet.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
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
use crate::rows::Positions;
use crate::table::{Table, column};
use crate::time::LogDate;

/// Rows a row group: a few MB of Parquet, which bounds both what a writer holds and what a reader must skip over.
const ROW_GROUP_ROWS: usize = 131_072;

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

/// Encodes rows of a raw table, which are in offset order and all of one Kafka partition, as new files: one for each
/// `log_date` among them. An epoch's rows are bounded, and so is what is held here.
pub fn encode(table: Table, rows: &[RecordBatch]) -> BoxFuture<'_, Result<Vec<DataFile>>> {
    Box::pin(async move {
        let what = || format!("{table}: encoding a data file");
        // delta-rs writes to a store; in memory that cannot fail, and a put that does need not encode again.
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut writer = DeltaWriter::new(Arc::clone(&memory), config(table));
        for batch in rows {
            for (date, run) in runs_of_one_day(batch)? {
                let day = IndexMap::from([(column::LOG_DATE.to_owned(), Scalar::Date(date.days()))]);
                writer.write_partition(run, &day).await.while_doing(what)?;
            }
        }
        let mut files = Vec::new();
        for add in writer.close().await.while_doing(what)? {
            let path = Path::from_url_path(&add.path).map_err(|error| LakeError::store(what(), error))?;
            let bytes = memory.get(&path).await.while_doing(what)?.bytes().await.while_doing(what)?;
            files.push(DataFile { add, path, bytes });
        }
        Ok(files)
    })
}

/// Splits a batch where `log_date` changes.
fn runs_of_one_day(batch: &RecordBatch) -> Result<Vec<(LogDate, RecordBatch)>> {
    let positions = Positions::of(batch)?;
    let (mut runs, mut first, rows) = (Vec::new(), 0, batch.num_rows());
    for row in 1..=rows {
        let day = positions.log_date(first);
        if row == rows || positions.log_date(row) != day {
            runs.push((day, batch.slice(first, row - first)));
            first = row;
        }
    }
    Ok(runs)
}

fn config(table: Table) -> WriterConfig {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    WriterConfig::new(
        table.schema(),
        owned(table.partition_columns()),
        Some(properties(table)),
        None,
        None,
        DataSkippingNumIndexedCols::AllColumns,
        Some(owned(table.statistics_columns())),
    )
}

/// How the columns of a table are encoded. Ascending numbers are stored as differences; ids that rarely repeat are
/// not worth a dictionary; statistics are kept where readers can use them to skip.
pub fn properties(table: Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(concat!("clicklake ", env!("CARGO_PKG_VERSION")).to_owned());
    for &name in table.statistics_columns() {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Chunk);
    }
    for name in [column::KAFKA_OFFSET, column::KAFKA_TIMESTAMP, column::EVENT_TIME] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [column::CLICK_ID, column::PAYLOAD] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    properties.build()
}
