//! A lake whose minutes are written, replaced and rolled up, in any order, as a function of a seed.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use deltalake::kernel::Add;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::table::{column, timestamp};
use lake_schemas::{Folder, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Move, Outcome, TableLog};
use lake_store::{Lake, files};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{DAY_MS, HOUR_MS, MINUTE_MS, START_MS};
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{compact, lake_on};

/// A lake, with everything that writes it.
pub struct World {
    pub rng: ChaCha8Rng,
    pub store: Arc<dyn ObjectStore>,
    pub lake: Lake,
    pub parameters: Parameters,
    pub log: TableLog,
    /// Time up to which clicks have come.
    now_ms: i64,
}

impl World {
    pub async fn of_seed(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let lake = lake_on(Arc::clone(&store));
        let dimensions = Dimension::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect();
        let parameters = Parameters { dimensions, ..Parameters::default() };
        let definition = parameters.definition(Table::ClicksMinute);
        let log = TableLog::open_or_make(&lake, &definition).await.expect("a table");
        Self { rng, store, lake, parameters, log, now_ms: START_MS }
    }

    /// Returns the same lake, on a store that counts requests.
    pub fn counted_lake(&self) -> (Lake, FaultStore) {
        let counted = FaultStore::new(Arc::clone(&self.store), Box::new(|_| Fault::None));
        (lake_on(Arc::new(counted.clone())), counted)
    }

    /// Returns the same lake, on a store that takes up to four seconds for a read.
    pub fn slow_lake(&self) -> Lake {
        let plan = |operation| Fault::Slow(Duration::from_secs(operation % 256));
        lake_on(Arc::new(FaultStore::by_nature(Arc::clone(&self.store), Box::new(plan))))
    }

    /// Returns the same world before anything has happened, in another lake.
    pub async fn moved_to(self, lake: Lake) -> Self {
        let definition = self.parameters.definition(Table::ClicksMinute);
        let log = TableLog::open_or_make(&lake, &definition).await.expect("a table");
        Self { lake, log, ..self }
    }

    /// Lets something happen: any of the following.
    pub async fn step(&mut self) {
        match self.rng.random_range(0..12) {
            0..5 => self.append().await,
            5 | 6 => self.replace().await,
            7 => self.promote().await,
            8 | 9 => compact(&self.lake, 1).await.expect("memory works"),
            // One that is killed may have rolled up hours, and not days.
            _ => {
                let last = self.rng.random_range(5..120);
                let plan = move |operation| if operation < last { Fault::None } else { Fault::Fail };
                let faulty = FaultStore::new(Arc::clone(&self.store), Box::new(plan));
                let _ = compact(&lake_on(Arc::new(faulty)), 1).await;
            }
        }
    }

    /// Appends clicks, some of them late.
    pub async fn append(&mut self) {
        self.now_ms += self.rng.random_range(0..10) * HOUR_MS / 2;
        let starts: Vec<_> = (0..self.rng.random_range(1..30))
            .map(|_| {
                let late_ms = if self.rng.random_ratio(1, 10) { 3 * DAY_MS } else { 2 * HOUR_MS };
                self.now_ms - self.rng.random_range(0..late_ms / MINUTE_MS) * MINUTE_MS
            })
            .collect();
        let adds = self.files(starts).await;
        let partition = TopicPartition::new("clicks", 0);
        let from = self.log.stand(&partition);
        let to = Stand { cut: Some(from.cut.unwrap_or(0) + 1), ..from };
        let moves = from.encode(Table::ClicksMinute, &partition).into_iter();
        let moves = moves.zip(to.encode(Table::ClicksMinute, &partition));
        let moves = moves.map(|((app_id, from), (_, to))| Move { app_id, from, to }).collect();
        self.commit(Commit { adds, moves, ..Commit::new("test") }).await;
    }

    /// Replaces some rows by others, or by none, as a backfill in place does.
    async fn replace(&mut self) {
        let live = self.log.live_files().await.expect("memory works");
        let removes: Vec<_> = live.into_iter().filter(|_| self.rng.random_ratio(1, 6)).collect();
        let starts: Vec<_> = removes.iter().map(|file| self.start_in(file)).collect();
        let starts = starts.into_iter().filter(|_| self.rng.random_ratio(3, 4)).collect();
        let adds = self.files(starts).await;
        if !(adds.is_empty() && removes.is_empty()) {
            self.commit(Commit { adds, removes, ..Commit::new("test") }).await;
        }
    }

    /// Replaces all minutes by others, perhaps with other dimensions, as a promotion does.
    async fn promote(&mut self) {
        if self.rng.random_ratio(1, 2) {
            self.parameters.dimensions = Dimension::ALL.into_iter().filter(|_| self.rng.random_ratio(1, 3)).collect();
        }
        let removes = self.log.live_files().await.expect("memory works");
        let starts = removes.iter().map(|file| self.start_in(file)).collect();
        let adds = self.files(starts).await;
        let definition = Some(self.parameters.definition(Table::ClicksMinute));
        self.commit(Commit { adds, removes, definition, ..Commit::new("test") }).await;
        self.log = TableLog::open(&self.lake, Table::ClicksMinute).await.expect("a table");
    }

    /// Returns a minute of the hour that a file is of.
    fn start_in(&mut self, file: &Add) -> i64 {
        let folder = Folder::named(Table::ClicksMinute, &file.partition_values).expect("a folder");
        folder.start_ms() + self.rng.random_range(0..60) * MINUTE_MS
    }

    /// Writes files with a row for each of these minutes.
    async fn files(&mut self, mut starts: Vec<i64>) -> Vec<Add> {
        starts.sort_unstable();
        let rows = self.rows(&starts);
        let mut adds = Vec::new();
        for file in files::encode(Table::ClicksMinute, &rows).await.expect("files") {
            file.put(self.log.object_store().as_ref()).await.expect("memory works");
            adds.push(file.add);
        }
        adds
    }

    /// Makes a row for each of these minutes, which are in order; folder by folder.
    fn rows(&mut self, starts: &[i64]) -> Vec<RecordBatch> {
        let schema = self.parameters.schema(Table::ClicksMinute);
        let hours = starts.chunk_by(|one, other| one / HOUR_MS == other / HOUR_MS);
        let rng = &mut self.rng;
        let batch = |starts: &[i64]| {
            let folder = Folder::at(Table::ClicksMinute, starts[0]);
            let times = |after: i64| -> ArrayRef {
                let micros = starts.iter().map(|start| (start + after) * 1_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
            };
            let columns = schema.fields().iter().map(|field| -> ArrayRef {
                if let Some(column) = folder.column(field.name(), starts.len()) {
                    return column;
                }
                match field.name().as_str() {
                    column::WINDOW_START => times(0),
                    column::WINDOW_END => times(MINUTE_MS),
                    column::OFFSET_FIRST | column::OFFSET_NEXT => Arc::new(Int64Array::from(vec![0; starts.len()])),
                    column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; starts.len()])),
                    column::PANE | column::TOPIC => Arc::new(StringArray::from(vec!["clicks"; starts.len()])),
                    name if field.data_type() == &DataType::Utf8 => {
                        let of = ["a", "b", "c"].map(|value| format!("{name}-{value}"));
                        let value = |_| of.iter().choose(rng).filter(|_| !field.is_nullable() || rng.random());
                        Arc::new(starts.iter().map(value).collect::<StringArray>())
                    }
                    _ => Arc::new(starts.iter().map(|_| Some(rng.random_range(1..1_000))).collect::<Int64Array>()),
                }
            });
            RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
        };
        hours.map(batch).collect()
    }

    async fn commit(&mut self, commit: Commit) {
        let outcome = self.log.commit(&commit).await.expect("memory works");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
}
