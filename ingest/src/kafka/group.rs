//! Handles rebalances of the group, which librdkafka calls back inside `poll`, on the reader's thread.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, OnceLock};

use consume_batch::{DataQueue, Diverter};
use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::{Code, OffsetRange, TopicPartition};
use lake_store::locked::lock;
use rdkafka::Statistics;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

use super::config::KafkaOptions;
use super::fault::failed;
use super::instruction::{Begin, Command, Control, Generation, Hold};
use super::watermarks;
use crate::source::{SourceError, Start};

/// A partition that is assigned to this member, and where to read it.
pub(super) struct Assigned {
    pub partition: TopicPartition,
    pub generation: Generation,
    pub hold: Hold,
    /// First offset to pass on.
    pub first: i64,
    /// Fingerprint of a row below `first` that the log must still hold, if retention has left it: reading begins there.
    pub fingerprint: Option<Fingerprint>,
    /// End of the log when it was assigned; `None` once it has been reached and reported.
    pub end: Option<i64>,
}

impl Assigned {
    /// Returns the offset at which reading begins.
    pub fn position(&self) -> i64 {
        self.fingerprint.as_ref().map_or(self.first, Fingerprint::offset)
    }
}

/// The last error that librdkafka reported in a callback, and not as the result of a poll.
#[derive(Clone)]
pub(super) struct Complaint {
    pub reason: String,
    /// Whether a retry would fail in the same way, as with a wrong password or an untrusted certificate.
    pub is_hopeless: bool,
}

/// Context that receives librdkafka's callbacks.
pub(super) struct GroupContext {
    options: KafkaOptions,
    control: UnboundedSender<Control>,
    commands: Mutex<Receiver<Command>>,
    /// Handle for the queue that the reader takes messages from.
    diverter: OnceLock<Diverter<Self>>,
    /// Changes of the assignment, by partition, that the reader applies after a poll: `None` if it was revoked.
    changes: Mutex<HashMap<i32, Option<Assigned>>>,
    /// Whether a rebalance has run since the reader looked: checked after every poll, without taking the lock.
    was_rebalanced: AtomicBool,
    complaint: Mutex<Option<Complaint>>,
}

impl GroupContext {
    pub fn new(options: &KafkaOptions, control: UnboundedSender<Control>, commands: Receiver<Command>) -> Self {
        Self {
            options: options.clone(),
            control,
            commands: Mutex::new(commands),
            diverter: OnceLock::new(),
            changes: Mutex::default(),
            was_rebalanced: AtomicBool::new(false),
            complaint: Mutex::default(),
        }
    }

    /// Makes all partitions that are assigned from now on come to this queue. It is told once, before the consumer
    /// subscribes.
    pub fn divert_to(&self, queue: &DataQueue<Self>) {
        let told = self.diverter.set(queue.diverter());
        assert!(told.is_ok(), "a consumer has one reader");
    }

    /// Returns the topic's name in Kafka.
    pub fn topic(&self) -> &str {
        &self.options.topic
    }

    /// Returns how Kafka is addressed.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// Returns the last error that librdkafka reported.
    pub fn complaint(&self) -> Option<Complaint> {
        lock(&self.complaint).clone()
    }

    /// Takes the changes of the assignment since the last call: partitions that begin, begin again, or were revoked.
    /// `None`: no rebalance has run. One that has run may have changed nothing, and paused partitions all the same.
    pub fn take_changes(&self) -> Option<HashMap<i32, Option<Assigned>>> {
        let was_rebalanced = self.was_rebalanced.swap(false, Ordering::Relaxed);
        was_rebalanced.then(|| std::mem::take(&mut *lock(&self.changes)))
    }

    fn change(&self, partition: i32, change: Option<Assigned>) {
        lock(&self.changes).insert(partition, change);
    }

    /// Takes a command, if there is one, without waiting. Returns `Err` once the loop is gone.
    pub fn try_command(&self) -> Result<Option<Command>, std::sync::mpsc::TryRecvError> {
        match lock(&self.commands).try_recv() {
            Ok(command) => Ok(Some(command)),
            Err(std::sync::mpsc::TryRecvError::Empty) => Ok(None),
            Err(gone) => Err(gone),
        }
    }

    /// Resolves the offset at which each partition begins, by the offsets that its log has now. Refuses a log that no
    /// longer has the offset that the table needs next.
    pub fn resolve(
        &self,
        consumer: &BaseConsumer<Self>,
        begins: impl IntoIterator<Item = Begin>,
    ) -> Result<Vec<Assigned>, SourceError> {
        let begins: Vec<_> = begins.into_iter().collect();
        let partitions: Vec<_> = begins.iter().map(|begin| begin.start.partition.partition).collect();
        let logs = watermarks::until_told(consumer, self.topic(), &partitions, || self.control.is_closed())?;
        let assigned = |begin: Begin| {
            let log = logs[&begin.start.partition.partition];
            begin.within(log)
        };
        let assigned: Vec<_> = begins.into_iter().map(assigned).collect::<Result<_, _>>()?;
        // Reports the ends at once, so that the lag is known from the start and not only after librdkafka's first
        // statistics.
        let ends = assigned.iter().filter_map(|one| Some((one.partition.clone(), one.end?)));
        self.tell(Control::Ends(ends.collect()));
        Ok(assigned)
    }

    /// Asks the loop where to begin, and begins there.
    fn assign(&self, consumer: &BaseConsumer<Self>, tpl: &TopicPartitionList) -> Result<(), SourceError> {
        let wanted = self.partitions(tpl);
        // The tables say where to begin, and the offsets of the group never do; only the loop knows the tables.
        self.tell(Control::Assigned(wanted.clone()));
        // This callback runs inside `poll` and may wait: the group completes the rebalance only when it returns. The
        // loop looks at the tables meanwhile. It may also restart partitions that are being read already; those do not
        // count here.
        let mut positions = TopicPartitionList::new();
        while positions.count() < wanted.len() {
            // The loop is gone: nobody would take what is read, and the reader ends as soon as it looks for commands.
            let Some(command) = self.wait() else { return Ok(()) };
            // No release: that answers a revocation, and none is under way.
            let begins = self.begins(consumer, command).unwrap_or_default();
            for assigned in self.resolve(consumer, begins)? {
                // A partition that is being read already is not assigned anew: the reader applies its start, with a
                // seek, right after this poll.
                if wanted.contains(&assigned.partition) {
                    add(&mut positions, self.topic(), &assigned)?;
                }
                self.change(assigned.partition.partition, Some(assigned));
            }
        }
        self.divert(&wanted)?;
        // The assignment itself carries the positions: by the time of a seek, librdkafka would already have fetched
        // from wherever it begins without one.
        let done = match consumer.rebalance_protocol() {
            // Cooperative rebalances name only the partitions that move; eager ones name the whole assignment.
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&positions),
            _ => consumer.assign(&positions),
        };
        done.map_err(|error| failed(self.topic(), &error))
    }

    /// Makes what comes of partitions go to the reader's queue. The end of an assignment ends that, so it must be done
    /// before each; otherwise a partition seems to be silent.
    fn divert(&self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        let what = || format!("topic {}", self.topic());
        let topic = CString::new(self.topic()).map_err(|error| SourceError::failed(what(), error))?;
        let diverter = self.diverter.get().expect("it is told before the consumer subscribes");
        let divert = |partition: &TopicPartition| diverter.divert(&topic, partition.partition);
        partitions.iter().try_for_each(divert).map_err(|error| SourceError::failed(what(), error))
    }

    /// Tells the loop that partitions are revoked, and waits until it has released them. Another member begins them
    /// only after this returns, unless this one was taken for dead: their last epoch is settled by then.
    fn revoke(&self, consumer: &BaseConsumer<Self>, tpl: &TopicPartitionList) -> Result<(), SourceError> {
        let leaving = self.partitions(tpl);
        self.tell(Control::Revoked(leaving.clone()));
        // Until the loop releases them, or is gone, it may begin only other partitions. Commands that it sent before it
        // heard of the revocation come before the release in the channel: those for the leaving partitions are void.
        while let Some(begins) = self.wait().and_then(|command| self.begins(consumer, command)) {
            let staying = begins.into_iter().filter(|begin| !leaving.contains(&begin.start.partition));
            for assigned in self.resolve(consumer, staying)? {
                self.change(assigned.partition.partition, Some(assigned));
            }
        }
        // Recorded before librdkafka is called, which may fail: no message of a released partition may be passed on.
        leaving.iter().for_each(|partition| self.change(partition.partition, None));
        let done = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(tpl),
            // An eager rebalance takes everything away, and gives back what stays.
            _ => consumer.unassign(),
        };
        done.map_err(|error| failed(self.topic(), &error))
    }

    /// Carries out a command: reports its cuts to the group, or returns the partitions that it begins. `None`: the
    /// command is a release.
    pub fn begins(&self, consumer: &BaseConsumer<Self>, command: Command) -> Option<Vec<Begin>> {
        match command {
            Command::Begin(begins) => Some(begins),
            Command::Committed(cuts) => {
                self.commit(consumer, &cuts);
                Some(Vec::new())
            }
            Command::Release => None,
        }
    }

    /// Reports committed cuts to the group, for tools that show its lag. A member that is about to lose its partitions
    /// may be refused; nothing is lost by it.
    fn commit(&self, consumer: &BaseConsumer<Self>, cuts: &[(TopicPartition, i64)]) {
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in cuts {
            let added = offsets.add_partition_offset(self.topic(), partition.partition, Offset::Offset(*next));
            added.expect("a cut is a valid offset");
        }
        if let Err(error) = consumer.commit(&offsets, CommitMode::Async) {
            debug!(%error, "group offsets");
        }
    }

    fn partitions(&self, tpl: &TopicPartitionList) -> Vec<TopicPartition> {
        tpl.elements().iter().map(|one| TopicPartition::new(self.options.recorded_topic(), one.partition())).collect()
    }

    /// Sends a message to the loop. If the loop is gone already, the reader ends soon.
    fn tell(&self, control: Control) {
        let _ = self.control.send(control);
    }

    fn wait(&self) -> Option<Command> {
        lock(&self.commands).recv().ok()
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka");
        let is_hopeless =
            matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL));
        *lock(&self.complaint) = Some(Complaint { reason: reason.to_owned(), is_hopeless });
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.get(self.topic()).into_iter().flat_map(|topic| topic.partitions.values());
        // `ls_offset` is the end for a consumer of committed messages; it is negative as long as it is not known.
        let known = partitions.filter(|one| one.partition >= 0 && one.ls_offset >= 0);
        let ends = known.map(|one| (TopicPartition::new(self.options.recorded_topic(), one.partition), one.ls_offset));
        self.tell(Control::Ends(ends.collect()));
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: rd_kafka_resp_err_t, tpl: &mut TopicPartitionList) {
        self.was_rebalanced.store(true, Ordering::Relaxed);
        let done = match event {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, tpl),
            _ => self.revoke(consumer, tpl),
        };
        if let Err(error) = done {
            self.tell(Control::Ended(error));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            debug!(%error, "group offsets");
        }
    }
}

impl Begin {
    /// Resolves the offset at which the partition begins, in a log that has the offsets `log`.
    fn within(self, log: OffsetRange) -> Result<Assigned, SourceError> {
        let Self { start: Start { partition, from, fingerprint }, generation, hold } = self;
        let OffsetRange { first: low, next: high } = log;
        let first = from.unwrap_or(low);
        has_next(&partition, first, log)?;
        // A row that retention has removed can no longer confirm the log.
        let fingerprint = fingerprint.filter(|fingerprint| fingerprint.offset() >= low);
        Ok(Assigned { partition, generation, hold, first, fingerprint, end: Some(high) })
    }
}

/// Refuses a log that lacks the offset that must be read next.
pub(super) fn has_next(partition: &TopicPartition, next: i64, log: OffsetRange) -> Result<(), SourceError> {
    let OffsetRange { first: low, next: high } = log;
    if next < low {
        return Err(SourceError::Refused(Code::OffsetsGone.because(format!(
            "{partition}: offset {next} must be read next, but kafka has dropped what is below {low} and the lake does \
             not have it; to go on without it, record the topic under a new name with --topic-as"
        ))));
    }
    if next > high {
        return Err(SourceError::Refused(Code::TopicAnew.because(format!(
            "{partition}: offset {next} must be read next, but the topic ends at {high}: it is not the topic that the \
             lake knows; to read it as a new one, use --topic-as"
        ))));
    }
    Ok(())
}

/// Adds the position at which a partition begins to a list for librdkafka.
pub(super) fn add(list: &mut TopicPartitionList, topic: &str, assigned: &Assigned) -> Result<(), SourceError> {
    list.add_partition_offset(topic, assigned.partition.partition, Offset::Offset(assigned.position()))
        .map_err(|error| failed(topic, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_lacks_what_comes_next_is_refused_by_partition_and_offset() {
        let (partition, log) = (TopicPartition::new("clicks", 3), OffsetRange { first: 100, next: 200 });
        for next in [100, 150, 200] {
            assert!(has_next(&partition, next, log).is_ok(), "{next}");
        }
        for (next, words) in [(99, ["offset 99", "below 100"]), (201, ["offset 201", "ends at 200"])] {
            let error = has_next(&partition, next, log).expect_err("it is not there").to_string();
            assert!(error.starts_with("clicks/3: ") && error.contains("--topic-as"), "{error}");
            words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
        }
    }
}
