//! Rows into data files: Parquet with zstd, statistics on position, event time and ad, one `Add` a file.
//!
//! A file that no commit names does not exist for any reader; writing one changes nothing yet.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use delta_kernel::expressions::Scalar;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use indexmap::IndexMap;
use object_store::ObjectStore;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Context, Result};
use crate::rows::Positions;
use crate::table::{Table, column};
use crate::time::LogDate;

/// Rows a row group: a few MB of Parquet, which bounds both what a writer holds and what a reader must skip over.
const ROW_GROUP_ROWS: usize = 131_072;

/// Writes rows of a raw table, which are in offset order and all of one Kafka partition, into new files: one for each
/// `log_date` among them. Nothing is left half-written on failure.
pub fn write(store: Arc<dyn ObjectStore>, table: Table, rows: &[RecordBatch]) -> BoxFuture<'_, Result<Vec<Add>>> {
    Box::pin(async move {
        let what = || format!("{table}: writing a data file");
        let mut writer = DeltaWriter::new(store, config(table));
        for batch in rows {
            for (date, run) in runs_of_one_day(batch)? {
                let day = IndexMap::from([(column::LOG_DATE.to_owned(), Scalar::Date(date.days()))]);
                if let Err(error) = writer.write_partition(run, &day).await {
                    // The first failure is the one to report; an upload that cannot be aborted either expires.
                    let _ = writer.abort().await;
                    return Err(error).while_doing(what);
                }
            }
        }
        writer.close().await.while_doing(what)
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
