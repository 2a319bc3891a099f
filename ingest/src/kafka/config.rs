//! How Kafka is addressed, and what of librdkafka's settings is ours to set.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::source::SourceError;

/// Settings that the promises rest on; whoever sets one is told so.
const OURS: [(&str, &str); 6] = [
    // Positions come from the tables.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // What the log has lost is never skipped in silence.
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    // Messages of aborted transactions are not in the log.
    ("isolation.level", "read_committed"),
    // What has changed on a disk or a wire is never billed.
    ("check.crcs", "true"),
];

/// Settings that suit most; `-X` overrides them.
const DEFAULTS: [(&str, &str); 9] = [
    // Partitions that stay are not interrupted by those that move.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // What librdkafka may read ahead, in all: it bounds memory whatever the backlog.
    ("queued.max.messages.kbytes", "32768"),
    ("queued.min.messages", "20000"),
    // A queue that was full is filled again soon: the default of a second starves a fast reader.
    ("fetch.queue.backoff.ms", "50"),
    // At the live end the broker would answer for every few messages, and each answer costs as much as hundreds of
    // them, on both sides. It waits until there is a batch worth sending, or for so long; a backlog is sent at once.
    ("fetch.min.bytes", "262144"),
    ("fetch.wait.max.ms", "150"),
    ("socket.connection.setup.timeout.ms", "5000"),
    ("allow.auto.create.topics", "false"),
    // How often the ends of the logs are told.
    (STATISTICS, "5000"),
];

/// What has librdkafka tell of itself, to who reads.
const STATISTICS: &str = "statistics.interval.ms";

/// The default that brokers of the newer protocol of groups choose for themselves: one who asks for it may not set it.
const ASSIGNMENT: &str = "partition.assignment.strategy";

/// Which topic of which cluster.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// The topic.
    pub topic: String,
    /// The name that positions are recorded under, if not the topic's.
    pub topic_as: Option<String>,
    /// The consumer group, if not the job's own.
    pub group: Option<String>,
    /// librdkafka properties, in order; a later one wins.
    pub properties: Vec<(String, String)>,
}

impl KafkaOptions {
    /// The name that positions are recorded under.
    pub fn recorded_topic(&self) -> &str {
        self.topic_as.as_deref().unwrap_or(&self.topic)
    }

    /// A consumer's settings.
    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, SourceError> {
        let mut config = self.client();
        for (key, ours) in OURS.iter().chain(&[("group.id", "")]) {
            if self.properties.iter().any(|(name, value)| name == key && value != ours) {
                let instead =
                    if *key == "group.id" { "; use --group" } else { ": what clicklake promises rests on it" };
                return Err(SourceError::Refused(format!("kafka setting {key} cannot be changed{instead}")));
            }
        }
        for (key, value) in DEFAULTS {
            let is_the_brokers = key == ASSIGNMENT && config.get("group.protocol") == Some("consumer");
            if config.get(key).is_none() && !is_the_brokers {
                config.set(key, value);
            }
        }
        for (key, value) in OURS {
            config.set(key, value);
        }
        config.set("group.id", group);
        Ok(config)
    }

    /// The settings of who asks something of a topic and does not read it as a member of a group.
    pub(super) fn asking(&self) -> Result<ClientConfig, SourceError> {
        // A group is named because a consumer must; it is not joined.
        let mut config = self.consumer("clicklake")?;
        config.remove(STATISTICS);
        Ok(config)
    }

    /// The settings of any client.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("client.id", "clicklake");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_asks_gets_no_statistics_and_promises_the_same() {
        let properties = vec![(STATISTICS.to_owned(), "100".to_owned())];
        let (bootstrap_servers, topic) = ("kafka:9092".to_owned(), "clicks".to_owned());
        let options = KafkaOptions { bootstrap_servers, topic, topic_as: None, group: None, properties };
        let (reading, asking) =
            (options.consumer("group").expect("settings"), options.asking().expect("the same settings"));
        assert_eq!((reading.get(STATISTICS), asking.get(STATISTICS)), (Some("100"), None));
        for (key, ours) in OURS {
            assert_eq!((reading.get(key), asking.get(key)), (Some(ours), Some(ours)), "{key}");
        }
        let other = vec![("auto.offset.reset".to_owned(), "latest".to_owned())];
        assert!(KafkaOptions { properties: other, ..options }.asking().is_err());
    }
}
