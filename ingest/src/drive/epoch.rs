//! One epoch on its way into the tables: puts its files, then makes one commit for each table, retried until the
//! outcome is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use lake_schemas::job::Step;
use lake_schemas::{Code, Stand, Table, TopicPartition, rows};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::files::{self, DataFile};
use lake_store::{LakeError, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::progress::{Committed, Progress};
use crate::backoff::{Backoff, unless_stopped};

/// Number of files encoded at a time: each holds the buffers of its columns.
const ENCODES_MAX: usize = 8;

/// Number of files on their way to the store at a time: enough to hide its latency, few enough not to be throttled.
const PUTS_MAX: usize = 32;

/// Steps that are committed together.
pub(super) struct Epoch {
    pub job: &'static str,
    pub steps: Vec<Step>,
    pub give_up: CancellationToken,
}

/// Outcome of an epoch.
pub(super) enum EpochOutcome {
    /// All of the epoch is in the tables.
    Committed(Done),
    /// Another writer owns one of the epoch's partitions.
    Fenced { table: Table, app_id: String, expected: Option<i64>, found: Option<i64>, partitions: Vec<TopicPartition> },
    /// The epoch was given up; the tables tell how much of it they have.
    Abandoned { partitions: Vec<TopicPartition>, error: LakeError },
    /// The epoch cannot be committed by trying again.
    Failed(LakeError),
}

/// Result of a committed epoch: what it added to the tables.
#[derive(Default)]
pub(super) struct Done {
    /// Stands of its partitions in the last of the job's tables that it moved.
    stands: Vec<(TopicPartition, Stand)>,
    /// Stands of its partitions in each table that it moved.
    moves: Vec<(Table, TopicPartition, Stand)>,
    /// Number of folders that the epoch wrote into, in all tables.
    folders: usize,
    tables: BTreeMap<Table, Committed>,
    rejected: BTreeMap<String, u64>,
    read: i64,
    took: Duration,
}

impl Done {
    fn take(&mut self, log: &TableLog, steps: &[Step], adds: &[Add]) {
        self.stands = steps.iter().map(|step| (step.partition.clone(), step.to)).collect();
        self.moves.extend(steps.iter().map(|step| (step.table, step.partition.clone(), step.to)));
        self.folders += adds.iter().map(|add| folder(&add.path)).collect::<BTreeSet<_>>().len();
        // Only rows of rejected messages have a reason.
        for batch in steps.iter().flat_map(|step| &step.rows) {
            for reason in rows::reasons(batch) {
                *self.rejected.entry(reason.to_owned()).or_default() += 1;
            }
        }
        let rows: usize = steps.iter().flat_map(|step| &step.rows).map(RecordBatch::num_rows).sum();
        let bytes: u64 = adds.iter().map(|add| add.size.unsigned_abs()).sum();
        let (table, version) = (log.table(), log.version());
        let committed = Committed { rows: rows as u64, files: adds.len() as u64, bytes, commits: 1, version };
        self.tables.insert(table, committed);
        // Only one of a job's tables records how many messages were read: none is counted twice.
        let read = |stand: Stand| stand.read.unwrap_or(0);
        self.read += steps.iter().map(|step| read(step.to) - read(step.from)).sum::<i64>();
    }

    /// Returns the cuts that are committed now.
    pub fn cuts(&self) -> Vec<(TopicPartition, i64)> {
        self.stands.iter().filter_map(|(partition, stand)| Some((partition.clone(), stand.cut?))).collect()
    }

    /// Returns where its partitions stand now, in each table in which it moved them.
    pub fn moves(&self) -> &[(Table, TopicPartition, Stand)] {
        &self.moves
    }

    /// Returns the number of folders that the epoch wrote into.
    pub fn folders(&self) -> usize {
        self.folders
    }

    pub fn add_to(&self, progress: &mut Progress) {
        progress.read += self.read;
        progress.commit_took(self.took);
        for (partition, stand) in &self.stands {
            progress.stands(partition, *stand);
        }
        for (reason, rows) in &self.rejected {
            *progress.rejected.entry(reason.clone()).or_default() += rows;
        }
        for (&table, done) in &self.tables {
            let sum = progress.tables.entry(table).or_default();
            sum.rows += done.rows;
            sum.files += done.files;
            sum.bytes += done.bytes;
            sum.commits += done.commits;
            sum.version = done.version;
        }
    }
}

impl Epoch {
    /// Commits the epoch to the tables, in their order.
    pub async fn settle(self, mut logs: Vec<TableLog>) -> (Vec<TableLog>, EpochOutcome) {
        let (mut done, began) = (Done::default(), Instant::now());
        for log in &mut logs {
            let steps: Vec<_> = self.steps.iter().filter(|step| step.table == log.table()).cloned().collect();
            if steps.is_empty() {
                continue;
            }
            let table = log.table();
            let given_up = || LakeError::store(format!("{table}: committing an epoch"), "it took too long");
            // The store may never answer. If the commit succeeds all the same, the table tells at the next refresh.
            let settled = unless_stopped(self.settle_table(log, &steps, &mut done), &self.give_up).await;
            let settled = match settled.unwrap_or_else(|| Err(given_up())) {
                Ok(Outcome::Committed(_)) => continue,
                Ok(Outcome::Fenced { app_id, expected, found }) => {
                    EpochOutcome::Fenced { table: log.table(), app_id, expected, found, partitions: self.partitions() }
                }
                Ok(outcome @ (Outcome::InputGone { .. } | Outcome::Overtaken { .. })) => {
                    unreachable!("an append removes nothing, and goes onto any version: {outcome:?}")
                }
                Err(error) if error.is_retryable() => EpochOutcome::Abandoned { partitions: self.partitions(), error },
                Err(error) => EpochOutcome::Failed(error),
            };
            return (logs, settled);
        }
        done.took = began.elapsed();
        (logs, EpochOutcome::Committed(done))
    }

    /// Tries one table until the outcome is known, or the epoch is given up.
    async fn settle_table(&self, log: &mut TableLog, steps: &[Step], done: &mut Done) -> Result<Outcome> {
        let mut backoff = Backoff::default();
        let files = encode(log.table(), steps).await.map_err(|error| lasting(log.table(), error))?;
        // Each round puts only the files that are still missing; the commit follows when all are in the store.
        let mut missing: Vec<_> = files.iter().collect();
        while let Err(error) = put_files(&mut missing, log).await {
            backoff.again(error, &self.give_up).await?;
        }
        let commit = Commit::epoch(self.job, steps, files.into_iter().map(|file| file.add).collect());
        loop {
            // A commit whose answer was lost is recognised when it is tried again: the commit id is that of the epoch.
            match log.commit(&commit).await {
                Ok(outcome) => {
                    if let Outcome::Committed(version) = outcome {
                        info!(job = self.job, table = %log.table(), version, files = commit.adds.len(), "committed");
                        done.take(log, steps, &commit.adds);
                    }
                    return Ok(outcome);
                }
                Err(error) => backoff.again(error, &self.give_up).await?,
            }
        }
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let partitions: BTreeSet<_> = self.steps.iter().map(|step| step.partition.clone()).collect();
        partitions.into_iter().collect()
    }
}

/// Returns the folder of a file's path.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Turns an error of encoding into one that is not retried: the same rows would fail again.
fn lasting(table: Table, error: LakeError) -> LakeError {
    match error {
        LakeError::Store { what, source } => LakeError::Refused(
            Code::Bug
                .because(format!("{table}: its rows cannot be written ({what}: {source}); this is a bug, report it")),
        ),
        other => other,
    }
}

/// Encodes the files of all steps.
async fn encode(table: Table, steps: &[Step]) -> Result<Vec<DataFile>> {
    if !table.keeps_partitions_apart() {
        let rows: Vec<_> = steps.iter().flat_map(|step| step.rows.iter().cloned()).collect();
        return files::encode(table, &rows).await;
    }
    let files: Vec<_> = steps.iter().map(|step| files::encode(table, &step.rows)).collect();
    let files: Vec<_> = stream::iter(files).buffered(ENCODES_MAX).try_collect().await?;
    Ok(files.into_iter().flatten().collect())
}

/// Puts files that are missing. Tries all of them, and leaves in `missing` those that fail; returns the first error.
async fn put_files(missing: &mut Vec<&DataFile>, log: &TableLog) -> Result<()> {
    let store = log.object_store();
    let store = store.as_ref();
    let puts: Vec<_> = missing.drain(..).map(|file| async move { (file, file.put(store).await) }.boxed()).collect();
    let done: Vec<_> = stream::iter(puts).buffered(PUTS_MAX).collect().await;
    let mut first = Ok(());
    for (file, put) in done {
        if let Err(error) = put {
            missing.push(file);
            first = first.and(Err(error));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Schema};
    use lake_schemas::job::{Flush, Job, Operator};
    use lake_schemas::table::TIME_IN_FUTURE_MS;
    use lake_store::Lake;
    use object_store::memory::InMemory;

    use super::*;
    use crate::append::Append;
    use crate::decode::{BatchBuilder, Message};

    fn partition() -> TopicPartition {
        TopicPartition::new("clicks", 0)
    }

    /// An event, as a row of `clicks`.
    fn row(offset: i64) -> RecordBatch {
        let mut batch = BatchBuilder::new(partition(), offset, TIME_IN_FUTURE_MS);
        let payload = br#"{"ad_id":"a","event_time":1772884800000}"#;
        batch.push(&Message { offset, log_time: None, key: None, payload: Some(payload) });
        batch.finish().events
    }

    /// Returns the same row with its offset as text, where the table has a number.
    fn misshapen(rows: &RecordBatch) -> RecordBatch {
        let at = rows.schema().index_of("kafka_offset").expect("a column");
        let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
        let mut columns = rows.columns().to_vec();
        fields[at] = Arc::new(Field::new("kafka_offset", DataType::Utf8, false));
        columns[at] = cast(&columns[at], &DataType::Utf8).expect("a number is a text");
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("rows")
    }

    async fn settle(rows: Vec<RecordBatch>) -> EpochOutcome {
        let to = Stand { cut: Some(2), read: Some(2), ..Stand::default() };
        let step = Step { table: Table::Clicks, partition: partition(), rows, from: Stand::default(), to };
        settle_steps(vec![step], &[Table::Clicks]).await
    }

    /// Settles an epoch of these steps in new tables.
    async fn settle_steps(steps: Vec<Step>, tables: &[Table]) -> EpochOutcome {
        let url = "memory:///lake".parse().expect("an address");
        let logs = TableLog::open_all(&Lake::on(Arc::new(InMemory::new()), url), tables).await;
        let epoch = Epoch { job: "ingest", steps, give_up: CancellationToken::new() };
        epoch.settle(logs.expect("tables in memory")).await.1
    }

    #[tokio::test]
    async fn rows_that_cannot_be_encoded_end_the_job_and_name_the_table() {
        match settle(vec![row(0), misshapen(&row(1))]).await {
            EpochOutcome::Failed(error) => assert!(error.to_string().starts_with("clicks: "), "{error}"),
            _ => panic!("the same rows would be read, and fail, again and again"),
        }
    }

    #[tokio::test]
    async fn an_epoch_knows_the_folders_that_it_wrote_into() {
        let EpochOutcome::Committed(done) = settle(vec![row(0), row(1)]).await else { panic!("nothing fails") };
        assert_eq!((done.folders(), done.moves().len()), (1, 1));
        assert_eq!(done.cuts(), [(partition(), 2)]);
    }

    #[tokio::test]
    async fn each_message_of_an_epoch_is_counted_once_and_each_reason_for_which_one_was_rejected() {
        let mut batch = BatchBuilder::new(partition(), 0, TIME_IN_FUTURE_MS);
        let event = br#"{"ad_id":"a","event_time":1772884800000}"#;
        let payloads: [&[u8]; 3] = [event, b"nonsense", event];
        for (offset, payload) in (0..).zip(payloads) {
            batch.push(&Message { offset, log_time: None, key: None, payload: Some(payload) });
        }
        let (mut operator, _) = Append.begin(&partition(), &[Stand::default(); 2]);
        operator.push(batch.finish()).expect("rows of the decoder");
        let settled = settle_steps(operator.flush(Flush::Closed), &Append.tables()).await;
        let EpochOutcome::Committed(done) = settled else { panic!("nothing fails") };
        assert_eq!((done.read, done.tables.len()), (3, 2));
        assert_eq!(done.rejected.values().sum::<u64>(), 1, "{:?}", done.rejected);
    }
}
