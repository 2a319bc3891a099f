//! The mocked cluster, what is sent to it, and a consumer that reads of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{DataQueue, MessageRef};

pub const TOPIC: &str = "clicks";

/// Longest wait for one thing to happen. Under valgrind all is slower.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Number of such waits in vain after which a test fails.
const WAITS_MAX: u32 = 12;

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Makes a cluster with a topic of so many partitions.
pub fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, partitions, 1).expect("a topic");
    cluster
}

/// Returns the payload of a message: it tells where it is, but some have none, and some an empty one.
pub fn text_of(partition: i32, offset: i64) -> Option<String> {
    match offset % 7 {
        5 => None,
        6 => Some(String::new()),
        _ => Some(format!("{partition}:{offset}")),
    }
}

/// Sends messages to partitions, at the offsets that they will have.
pub fn produce(cluster: &Cluster, partitions: Range<i32>, offsets: Range<i64>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "1");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    for partition in partitions {
        for offset in offsets.clone() {
            let payload = text_of(partition, offset);
            let mut record = BaseRecord::<str, str>::to(TOPIC).partition(partition).timestamp(1_000 + offset);
            record.payload = payload.as_deref();
            record.key = (offset % 2 == 0).then_some("key");
            producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
        }
    }
    producer.flush(PATIENCE).expect("the cluster answers");
}

/// Returns the settings of a consumer, as far as these laws need clicklake's.
pub fn config(cluster: &Cluster) -> ClientConfig {
    let settings = [
        ("group.id", "readers"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "true"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        // The mocked cluster answers late otherwise, and the laws wait for each answer.
        ("fetch.wait.max.ms", "20"),
        ("fetch.error.backoff.ms", "20"),
    ];
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    for (key, value) in settings {
        config.set(key, value);
    }
    config
}

/// Returns positions in partitions.
pub fn list(positions: &[(i32, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in positions {
        list.add_partition_offset(TOPIC, *partition, Offset::Offset(*offset)).expect("an offset");
    }
    list
}

/// A consumer that is assigned partitions by hand, and its queue.
pub struct Reader {
    pub consumer: Arc<BaseConsumer>,
    pub queue: DataQueue<rdkafka::consumer::DefaultConsumerContext>,
}

impl Reader {
    pub fn new(cluster: &Cluster) -> Self {
        let consumer: Arc<BaseConsumer> = Arc::new(config(cluster).create().expect("a consumer"));
        let queue = DataQueue::new(&consumer);
        Self { consumer, queue }
    }

    /// Diverts partitions, and reads them from these offsets on.
    pub fn assign(&self, positions: &[(i32, i64)]) {
        positions.iter().for_each(|(partition, _)| self.queue.divert(c"clicks", *partition).expect("a partition"));
        self.consumer.assign(&list(positions)).expect("it is assigned");
    }

    /// Takes batches until somebody has seen enough: what follows in the last batch is not looked at.
    pub fn until(&mut self, most: usize, mut is_enough: impl FnMut(MessageRef<'_>) -> bool) {
        for _ in 0..WAITS_MAX {
            let mut batch = self.queue.take(most, PATIENCE);
            while !batch.is_empty() {
                assert!(self.consumer.poll(Duration::ZERO).is_none(), "the consumer's own queue has a message");
                if batch.iter().any(&mut is_enough) {
                    return;
                }
                batch = self.queue.take(most, PATIENCE);
            }
        }
        panic!("nothing came for {WAITS_MAX} times {PATIENCE:?}");
    }
}
