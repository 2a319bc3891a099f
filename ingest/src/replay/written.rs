//! Raw tables in memory, for tests of those who read them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use lake_schemas::job::Step;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::path::path_of;
use lake_store::{Lake, files};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::raw_table::RawTable;
use crate::decode::{BatchBuilder, Message};

/// Raw tables, and the one process that writes them.
pub(crate) struct Written {
    lake: Lake,
    rejected: TableLog,
    clicks: TableLog,
}

/// Names a partition of the topic.
pub(crate) fn named(partition: i32) -> TopicPartition {
    TopicPartition::new("clicks", partition)
}

/// Decodes messages with this payload at these offsets of a partition.
fn decoded(partition: i32, offsets: Range<i64>, payload: &[u8]) -> (RecordBatch, RecordBatch) {
    let mut batch = BatchBuilder::new(named(partition), offsets.start, TIME_IN_FUTURE_MS);
    for offset in offsets {
        let log_time = LogTime::from_millis(1_772_884_800_000);
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload) });
    }
    let batch = batch.finish();
    (batch.events, batch.rejected)
}

/// Writes rows as new files of a table, which no version names yet.
async fn put(log: &TableLog, rows: &[RecordBatch]) -> Vec<Add> {
    let files = files::encode(log.table(), rows).await.expect("rows of the table");
    let store = log.object_store();
    for file in &files {
        file.put(store.as_ref()).await.expect("memory");
    }
    files.into_iter().map(|file| file.add).collect()
}

async fn commit(log: &mut TableLog, commit: &Commit) {
    let outcome = log.commit(commit).await.expect("memory");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

/// Moves a partition of a table to a cut, with rows that lie below it.
async fn append(log: &mut TableLog, partition: TopicPartition, rows: RecordBatch, cut: i64) {
    let from = log.stand(&partition);
    let read = from.read.unwrap_or(0) + rows.num_rows() as i64;
    let read = (log.table() == Table::Clicks).then_some(read);
    let to = Stand { cut: Some(cut), read, ..Stand::default() };
    let rows = if rows.num_rows() > 0 { vec![rows] } else { Vec::new() };
    let adds = put(log, &rows).await;
    let step = Step { table: log.table(), partition, rows, from, to };
    commit(log, &Commit::epoch("ingest", &[step], adds)).await;
}

impl Written {
    pub async fn new() -> Self {
        let lake = Lake::on(Arc::new(InMemory::new()), "memory:///lake".parse().expect("an address"));
        let [rejected, clicks] =
            [TableLog::open(&lake, Table::ClicksRejected).await, TableLog::open(&lake, Table::Clicks).await];
        Self { lake, rejected: rejected.expect("memory"), clicks: clicks.expect("memory") }
    }

    /// Opens a table, as another process does.
    pub async fn open(&self, table: Table) -> TableLog {
        TableLog::open(&self.lake, table).await.expect("memory")
    }

    /// Opens the raw table, as another process does.
    pub async fn raw(&self) -> RawTable {
        RawTable::new(self.open(Table::Clicks).await)
    }

    /// Writes events at these offsets, and moves the partition to a cut at or behind their end.
    pub async fn events(&mut self, partition: i32, offsets: Range<i64>, cut: i64) {
        let (events, _) = decoded(partition, offsets, br#"{"ad_id":"a","event_time":1772884800000}"#);
        append(&mut self.clicks, named(partition), events, cut).await;
    }

    /// Writes rejected messages at these offsets, and moves the partition behind them.
    pub async fn rejected(&mut self, partition: i32, offsets: Range<i64>) {
        let (cut, (events, rejected)) = (offsets.end, decoded(partition, offsets, b"nonsense"));
        append(&mut self.rejected, named(partition), rejected, cut).await;
        append(&mut self.clicks, named(partition), events, cut).await;
    }

    /// Deletes the data files of `clicks` from the store. The table goes on to name them.
    pub async fn lose_files(&mut self) {
        let store = self.clicks.object_store();
        for file in self.clicks.live_files().await.expect("memory") {
            store.delete(&path_of(&file.path).expect("a path")).await.expect("memory");
        }
    }

    /// Writes the events of a partition anew, in the place of all files of `clicks`, and deletes these.
    pub async fn replace(&mut self, partition: i32, offsets: Range<i64>) {
        let removes = self.clicks.live_files().await.expect("memory");
        self.lose_files().await;
        let (events, _) = decoded(partition, offsets, br#"{"ad_id":"a","event_time":1772884800000}"#);
        let adds = put(&self.clicks, &[events]).await;
        commit(&mut self.clicks, &Commit { removes, adds, ..Commit::new("compact") }).await;
    }
}
