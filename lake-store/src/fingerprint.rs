//! Finds the fingerprint ([`Fingerprint`]) of a partition: the last row that a raw table holds of it.
//!
//! Only the newest versions are searched: a partition that none of them touched starts without a fingerprint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::table::column;
use lake_schemas::{Table, TopicPartition};
use object_store::ObjectStore;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::commit::{TableLog, VersionFiles};
use crate::error::{LakeError, Result};
use crate::raw_file::RawFile;
use crate::stored_file::{StoredFile, is_gone, unread};

/// How many versions back a fingerprint is searched: enough for a topic whose partitions are all in use, and a second
/// of small reads from a bucket for one that is not.
const VERSIONS_MAX: u64 = 100;

/// Number of concurrent reads.
const READS_MAX: usize = 8;

/// Finds the fingerprints of partitions that stand at these offsets, in the raw tables: among events first.
pub fn find<'a>(
    logs: &'a [TableLog],
    stands: &'a [(TopicPartition, i64)],
) -> BoxFuture<'a, Result<HashMap<TopicPartition, Fingerprint>>> {
    Box::pin(async move {
        let mut found = HashMap::new();
        for table in Table::RAW {
            let Some(log) = logs.iter().find(|log| log.table() == table) else { continue };
            let sought: HashMap<_, _> =
                stands.iter().filter(|(partition, _)| !found.contains_key(partition)).cloned().collect();
            let files = newest_files(log, &sought).await?;
            let reads = files.into_iter().map(|(partition, file)| {
                let (store, below) = (log.object_store(), sought[&partition]);
                async move {
                    let row = last_row(table, store, (&partition, below), &file).await?;
                    Ok::<_, LakeError>((row, partition))
                }
            });
            let rows: Vec<_> = stream::iter(reads).buffer_unordered(READS_MAX).try_collect().await?;
            found.extend(rows.into_iter().filter_map(|(row, partition)| Some((partition, row?))));
        }
        Ok(found)
    })
}

/// Reads the last row of a file of a raw table, in the table's store. `None` if it is not of that partition, or not
/// below that offset, or if the file is gone.
pub fn of_file<'a>(
    table: Table,
    store: Arc<dyn ObjectStore>,
    (partition, below): (&'a TopicPartition, i64),
    file: &'a RawFile,
) -> BoxFuture<'a, Result<Option<Fingerprint>>> {
    Box::pin(last_row(table, store, (partition, below), file))
}

/// Finds the file with the highest offsets of each partition, as far as the newest versions have one.
///
/// The search for a partition ends at the newest version that added messages of it. A version that only merged files
/// does not end it, because it may have merged files of days that are long over.
async fn newest_files(
    log: &TableLog,
    sought: &HashMap<TopicPartition, i64>,
) -> Result<HashMap<TopicPartition, RawFile>> {
    let mut found: HashMap<TopicPartition, RawFile> = HashMap::new();
    if sought.is_empty() {
        return Ok(found);
    }
    let newest = log.version();
    let versions = (newest.saturating_sub(VERSIONS_MAX)..=newest).rev();
    let mut versions = stream::iter(versions.map(|version| log.files_of(version))).buffered(READS_MAX);
    let (mut removed, mut appended) = (HashSet::new(), HashSet::new());
    while let Some(VersionFiles { adds, removes, .. }) = versions.try_next().await?.flatten() {
        for add in adds {
            let Some(file) = RawFile::of(&add) else { continue };
            for partition in sought.keys().filter(|partition| file.may_be_of(partition)) {
                if add.data_change {
                    appended.insert(partition);
                }
                let is_newer = found.get(partition).is_none_or(|known| known.offsets.next < file.offsets.next);
                if is_newer && !removed.contains(&add.path) {
                    found.insert(partition.clone(), file.clone());
                }
            }
        }
        removed.extend(removes);
        if appended.len() == sought.len() {
            break;
        }
    }
    Ok(found)
}

/// Reads the last row of a file, if it is of that partition, and from below that offset. A file holds one partition, in
/// offset order.
async fn last_row(
    table: Table,
    store: Arc<dyn ObjectStore>,
    (partition, below): (&TopicPartition, i64),
    file: &RawFile,
) -> Result<Option<Fingerprint>> {
    let doing = "reading the last row of";
    let reader = StoredFile::new(store, file.path.clone(), file.size);
    let corrupt = |error| unread(table, doing, file.path.as_ref(), error);
    let builder = match ParquetRecordBatchStreamBuilder::new(reader).await {
        Ok(builder) => builder,
        // The file was cleaned up since.
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(corrupt(error)),
    };
    let groups = builder.metadata().row_groups();
    let Some(group) = groups.len().checked_sub(1) else { return Ok(None) };
    let rows = usize::try_from(groups[group].num_rows()).unwrap_or_default();
    let position = [column::TOPIC, column::KAFKA_OFFSET];
    let names = position.iter().chain(Fingerprint::columns(table)).copied();
    let columns = ProjectionMask::columns(builder.parquet_schema(), names);
    let row = builder.with_projection(columns).with_row_groups(vec![group]).with_offset(rows.saturating_sub(1));
    let rows: Vec<_> = row.build().map_err(corrupt)?.try_collect().await.map_err(corrupt)?;
    let Some(row) = rows.into_iter().find(|batch| batch.num_rows() == 1) else { return Ok(None) };
    let row =
        table.as_written(&row).map_err(|error| LakeError::store(format!("{table}: {doing} {}", file.path), error))?;
    let topic = row.column_by_name(column::TOPIC).and_then(|column| column.as_string_opt::<i32>());
    let offset = row.column_by_name(column::KAFKA_OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(topic), Some(offset)) = (topic, offset) else { return Ok(None) };
    let (topic, offset) = (topic.value(0), offset.value(0));
    Ok((topic == partition.topic && offset < below).then(|| Fingerprint::new(table, offset, row)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray};
    use arrow::array::{TimestampMicrosecondArray, new_null_array};
    use deltalake::kernel::Add;
    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::commit::{Commit, Outcome};
    use crate::files;
    use crate::lake::Lake;

    /// Makes a click at an offset of a partition, of a day.
    fn click(partition: i32, offset: i64, day: i32) -> RecordBatch {
        let schema = Table::Clicks.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                column::TOPIC | column::AD_ID => Arc::new(StringArray::from(vec!["clicks"])),
                column::EVENT_TYPE => Arc::new(StringArray::from(vec!["click"])),
                column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![partition])),
                column::KAFKA_OFFSET => Arc::new(Int64Array::from(vec![offset])),
                column::EVENT_TIME => Arc::new(TimestampMicrosecondArray::from(vec![offset]).with_timezone("UTC")),
                column::LOG_DATE => Arc::new(Date32Array::from(vec![day])),
                _ => new_null_array(field.data_type(), 1),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a click")
    }

    async fn commit(log: &mut TableLog, rows: &[RecordBatch], removes: Vec<Add>) -> Vec<Add> {
        let mut adds = Vec::new();
        for file in files::encode(Table::Clicks, rows).await.expect("files") {
            file.put(log.object_store().as_ref()).await.expect("memory");
            adds.push(file.add);
        }
        let data_change = removes.is_empty();
        let commit = Commit { adds: adds.clone(), removes, data_change, ..Commit::new("test") };
        assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
        adds
    }

    #[tokio::test]
    async fn a_witness_is_the_last_row_whatever_is_put_together_behind_it() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("a URL"));
        let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
        let (mut old, mut last) = (Vec::new(), Vec::new());
        for offset in 0..2 {
            old.extend(commit(&mut log, &[click(0, offset, 1)], Vec::new()).await);
        }
        old.extend(commit(&mut log, &[click(1, 50, 1)], Vec::new()).await);
        for offset in 2..4 {
            last.extend(commit(&mut log, &[click(0, offset, 2)], Vec::new()).await);
        }
        commit(&mut log, &[click(1, 60, 2)], Vec::new()).await;
        // A day that is over is merged when all of that is there.
        let together = [click(0, 0, 1), click(0, 1, 1)];
        let gone = old.iter().filter(|file| RawFile::of(file).is_some_and(|file| file.offsets.next <= 2));
        let gone = gone.cloned().collect();
        commit(&mut log, &[arrow::compute::concat_batches(&together[0].schema(), &together).expect("rows")], gone)
            .await;
        let partitions = [0, 1].map(|number| TopicPartition::new("clicks", number));
        let fingerprints = async |log: TableLog| {
            let stands = [(partitions[0].clone(), 100), (partitions[1].clone(), 100)];
            let found = find(&[log], &stands).await.expect("memory");
            partitions.clone().map(|of| found.get(&of).map(Fingerprint::offset))
        };
        let again = TableLog::open(&lake, Table::Clicks).await.expect("the table");
        assert_eq!(fingerprints(again).await, [Some(3), Some(60)]);
        // The result stays if the files of the last day are merged, too.
        let together = [click(0, 2, 2), click(0, 3, 2)];
        let together = arrow::compute::concat_batches(&together[0].schema(), &together).expect("rows");
        commit(&mut log, &[together], last).await;
        assert_eq!(fingerprints(log).await, [Some(3), Some(60)]);
    }
}
