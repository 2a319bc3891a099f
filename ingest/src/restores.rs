//! Restores of count tables beside the loop: replays of the raw table, each for one table and one partition, that go on
//! as the raw table grows until they are ended.
//!
//! A restart may have to restore hundreds of partitions. A few are read at a time up to the raw table's cut; the others
//! wait, and hold no memory.

use std::sync::Arc;

use lake_schemas::job::LogBatch;
use lake_schemas::{Table, TopicPartition};
use lake_store::LakeError;
use tokio::sync::Mutex;

use crate::replay::{Followed, Follows, Growth, RawTable};

/// Message of a restore to the loop.
#[derive(Debug)]
pub enum Restored {
    /// The next stretch of a partition.
    Batch(Table, LogBatch),
    /// The cut of the raw table, below which all of a partition was given; `None` if the raw table does not know the
    /// partition.
    At(Table, TopicPartition, Option<i64>),
    /// The error that has ended a restore.
    Failed(Table, TopicPartition, LakeError),
}

/// Restores of a process.
pub struct Restores {
    follows: Follows<(Table, TopicPartition)>,
}

impl Restores {
    /// Makes restores from a table without a bound, at most `at_once` at a time: each has its turn until it has come to
    /// the table's cut.
    pub fn new(raw: Arc<Mutex<RawTable>>, growth: Growth, at_once: usize) -> Self {
        Self { follows: Follows::new(raw, growth).at_once(at_once) }
    }

    /// Begins the restore of a partition for a table, from an offset on. Nothing that an earlier one read comes any
    /// more.
    pub fn begin(&mut self, table: Table, partition: TopicPartition, from: Option<i64>, columns: Vec<String>) {
        let columns: Arc<[String]> = columns.into();
        self.follows.begin((table, partition.clone()), partition, from, &columns);
    }

    /// Ends a restore: its operator has joined the stream, or is lost.
    pub fn end(&mut self, table: Table, partition: &TopicPartition) {
        self.follows.end(&(table, partition.clone()));
    }

    /// Returns whether anything is being restored.
    pub fn is_any(&self) -> bool {
        self.follows.is_any()
    }

    /// Waits for what comes next of any restore; for ever if there is none. Safe to cancel.
    pub async fn next(&mut self) -> Restored {
        let ((table, partition), followed) = self.follows.next().await;
        match followed {
            Ok(Followed::Batch(batch)) => Restored::Batch(table, batch),
            Ok(Followed::At(cut)) => Restored::At(table, partition, cut),
            Ok(Followed::End) => unreachable!("the raw table of a restore has no bound"),
            Err(error) => Restored::Failed(table, partition, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::replay::{Grower, Meter, Written, named};

    const MINUTE: Duration = Duration::from_secs(60);
    const PARTITIONS: i32 = 20;
    const ROWS: i64 = 10;

    fn columns() -> Vec<String> {
        vec!["ad_id".to_owned()]
    }

    #[tokio::test(start_paused = true)]
    async fn few_partitions_are_restored_at_a_time_and_all_go_on_until_they_are_ended() {
        let mut written = Written::new().await;
        for partition in 0..PARTITIONS {
            written.events(partition, 0..ROWS, ROWS).await;
        }
        let meter = Arc::new(Meter::default());
        let raw = written.raw().await.counted_by(&meter).shared();
        let (grower, growth) = Grower::new(&raw, 60 * MINUTE);
        let mut restores = Restores::new(raw, growth, 1);
        assert!(!restores.is_any() && timeout(MINUTE, restores.next()).await.is_err());
        for partition in 0..PARTITIONS {
            restores.begin(Table::ClicksMinute, named(partition), None, columns());
        }
        // Nobody takes what was read, so what is under way stays so.
        sleep(MINUTE).await;
        let (read, all) = (meter.rows().0, i64::from(PARTITIONS) * ROWS);
        assert!(read > 0 && read <= all as u64 / 2, "{read} of {all} rows were read ahead");
        let (mut rows, mut there) = (0, 0);
        while there < PARTITIONS {
            match restores.next().await {
                Restored::Batch(Table::ClicksMinute, batch) => rows += batch.events.num_rows() as i64,
                Restored::At(Table::ClicksMinute, _, Some(ROWS)) => there += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(rows, all);
        written.events(3, ROWS..ROWS + 2, ROWS + 2).await;
        grower.bump();
        match timeout(MINUTE, restores.next()).await.expect("it goes on") {
            Restored::Batch(_, batch) => assert_eq!((batch.partition, batch.events.num_rows()), (named(3), 2)),
            other => panic!("{other:?}"),
        }
        for partition in 0..PARTITIONS {
            restores.end(Table::ClicksMinute, &named(partition));
        }
        assert!(!restores.is_any() && timeout(MINUTE, restores.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_is_restored_for_each_table_by_itself() {
        let mut written = Written::new().await;
        written.events(0, 0..ROWS, ROWS).await;
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, MINUTE);
        let mut restores = Restores::new(raw, growth, 2);
        let other: Table = Table::ClicksHourly;
        restores.begin(Table::ClicksMinute, named(0), None, columns());
        restores.begin(other, named(0), Some(4), columns());
        let mut first = Vec::new();
        for _ in 0..4 {
            if let Restored::Batch(table, batch) = restores.next().await {
                first.push((table, batch.offsets.first));
            }
        }
        first.sort_unstable();
        assert_eq!(first, [(Table::ClicksMinute, 0), (other, 4)]);
        restores.end(Table::ClicksMinute, &named(0));
        assert!(restores.is_any());
        // What is lost of one is said of that one.
        written.lose_files().await;
        restores.begin(other, named(0), None, columns());
        match restores.next().await {
            Restored::Failed(table, partition, error) => {
                assert_eq!((table, partition), (other, named(0)));
                assert!(!error.is_retryable(), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!restores.is_any());
    }
}
