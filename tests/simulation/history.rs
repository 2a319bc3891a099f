//! Reads all versions of a table from its log: the rows that each one added, and the stands of the partitions at it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use arrow::array::RecordBatch;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::Lake;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::minutes::{Counts, weigh_rows};

/// One version of a table.
pub struct Version {
    table: Table,
    /// Rows that it added, without the columns that the table is partitioned by.
    pub rows: Vec<RecordBatch>,
    /// Rows that it removed.
    pub removed: Vec<RecordBatch>,
    /// Job that wrote it.
    pub job: String,
    /// Properties of the table.
    pub properties: HashMap<String, String>,
    txns: HashMap<String, i64>,
}

impl Version {
    /// Returns the stand of a partition.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.txn(app_id))
    }

    /// Returns the value of a `txn`.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// Returns the parameters of the counts that the version records.
    pub fn parameters(&self) -> Parameters {
        Parameters::recorded(self.table, &self.properties).expect("they are recorded")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [came, went] =
            [&self.rows, &self.removed].map(|rows| rows.iter().map(RecordBatch::num_rows).sum::<usize>());
        let txns: BTreeMap<_, _> = self.txns.iter().collect();
        write!(f, "{} +{came} -{went} {txns:?}", self.job)
    }
}

/// Returns the counts that a table held at each of its versions.
pub fn contents(versions: &[Version]) -> impl Iterator<Item = Counts> {
    versions.iter().scan(Counts::new(), |counts, version| {
        version.removed.iter().for_each(|rows| weigh_rows(counts, rows, -1));
        version.rows.iter().for_each(|rows| weigh_rows(counts, rows, 1));
        Some(counts.clone())
    })
}

/// Returns the paths of the files that were live in each version of a table, from its first.
pub async fn live_files(lake: &Lake, table: Table) -> Vec<BTreeSet<String>> {
    let log_store = lake.log_store(table.name()).expect("an address");
    let (mut versions, mut live) = (Vec::new(), BTreeSet::new());
    while let Some(entry) = log_store.read_commit_entry(versions.len() as u64).await.expect("memory") {
        for action in get_actions(versions.len() as u64, &entry).expect("actions") {
            match action {
                Action::Add(add) => drop(live.insert(add.path)),
                Action::Remove(remove) => drop(live.remove(&remove.path)),
                _ => {}
            }
        }
        versions.push(live.clone());
    }
    versions
}

/// Returns the versions of a table, from its first.
pub async fn versions(lake: &Lake, table: Table) -> Vec<Version> {
    let log_store = lake.log_store(table.name()).expect("an address");
    let store = log_store.object_store(None);
    let (mut versions, mut txns, mut files, mut properties) =
        (Vec::new(), HashMap::new(), HashMap::new(), HashMap::new());
    while let Some(entry) = log_store.read_commit_entry(versions.len() as u64).await.expect("memory") {
        let (mut rows, mut removed, mut job) = (Vec::new(), Vec::new(), String::new());
        for action in get_actions(versions.len() as u64, &entry).expect("actions") {
            match action {
                Action::Txn(txn) => {
                    txns.insert(txn.app_id, txn.version);
                }
                Action::Add(add) => {
                    let file = store.get(&Path::from_url_path(&add.path).expect("a path")).await.expect("the file");
                    let bytes = file.bytes().await.expect("memory");
                    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build();
                    let added: Vec<_> = reader.expect("a reader").map(|batch| batch.expect("rows")).collect();
                    rows.extend(added.iter().cloned());
                    assert!(files.insert(add.path.clone(), added).is_none(), "{table} has {} twice", add.path);
                }
                Action::Remove(remove) => {
                    removed.extend(files.remove(&remove.path).expect("what is removed was live"));
                }
                Action::Metadata(metadata) => properties = metadata.configuration().clone(),
                Action::CommitInfo(info) => {
                    job = info.info.get("clicklake").and_then(|ours| ours["job"].as_str()).unwrap_or_default().into();
                }
                _ => {}
            }
        }
        versions.push(Version { table, rows, removed, job, properties: properties.clone(), txns: txns.clone() });
    }
    versions
}
