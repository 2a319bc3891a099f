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

/// What a restore comes to, for a table.
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
