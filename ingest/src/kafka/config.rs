//! Settings of Kafka clients: the brokers and topic, and the settings of librdkafka that clicklake fixes.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::source::SourceError;
use lake_schemas::Code;

/// Settings that the guarantees rest on; changing one is refused.
const OURS: [(&str, &str); 6] = [
    // Positions come from the tables.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // An offset that the log has lost is an error, never skipped silently.
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    // Messages of aborted transactions must not be read.
    ("isolation.level", "read_committed"),
    // Data that has changed on a disk or a wire must never be billed.
    ("check.crcs", "true"),
];

/// Defaults that suit most; `-X` overrides them.
const DEFAULTS: [(&str, &str); 9] = [
    // Partitions that stay with a member are not interrupted by those that move.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // Limit on what librdkafka may read ahead, in all: it bounds memory whatever the backlog.
    ("queued.max.messages.kbytes", "32768"),
    ("queued.min.messages", "20000"),
    // A queue that was full is filled again soon: the default of a second starves a fast reader.
    ("fetch.queue.backoff.ms", "50"),
    // At the live end the broker would answer for every few messages, and each answer costs as much as hundreds of
    // them, on both sides. With these it waits until there is a batch worth sending, or this long; a backlog is sent at
    // once.
    ("fetch.min.bytes", "262144"),
    ("fetch.wait.max.ms", "150"),
    ("socket.connection.setup.timeout.ms", "5000"),
    ("allow.auto.create.topics", "false"),
    // Interval at which the ends of the logs are reported.
    (STATISTICS, "5000"),
];

/// Setting that makes librdkafka report statistics, for a client that reads.
const STATISTICS: &str = "statistics.interval.ms";

/// Setting that gives a member of a group its name.
const INSTANCE: &str = "group.instance.id";

/// Setting that chooses the protocol of groups, and its value for the newer one.
const PROTOCOL: &str = "group.protocol";
const NEWER_PROTOCOL: &str = "consumer";

/// Setting whose default must be left out with the newer group protocol: there the brokers assign, and a client that
/// asks for that protocol may not set it.
const ASSIGNMENT: &str = "partition.assignment.strategy";

/// Address of a topic, and how to read it.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers as `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// Name of the topic in Kafka.
    pub topic: String,
    /// Name under which positions are recorded, if not the topic's.
    pub topic_as: Option<String>,
    /// Consumer group, if not the job's own.
    pub group: Option<String>,
    /// Name of this process in its group. A process that begins under a name has the partitions of the one before it.
    pub instance: Option<String>,
    /// Properties for librdkafka, in order; a later one wins.
    pub properties: Vec<(String, String)>,
}

impl KafkaOptions {
    /// Returns the name under which positions are recorded.
    pub fn recorded_topic(&self) -> &str {
        self.topic_as.as_deref().unwrap_or(&self.topic)
    }

    /// Refuses properties that librdkafka does not know, or that cannot have their value. The value itself is not told,
    /// since it may be a password.
    pub fn are_known(&self) -> Result<(), SourceError> {
        let mut config = ClientConfig::new();
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        match config.create_native_config() {
            Err(KafkaError::ClientConfig(_, why, key, _)) => Err(SourceError::Refused(
                Code::KafkaSetting.because(format!("kafka setting {key}: {why}; correct it in -X or -F")),
            )),
            // What cannot be said of one property alone is said when a client is made.
            _ => Ok(()),
        }
    }

    /// Returns the settings of a consumer.
    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, SourceError> {
        let mut config = self.client();
        for (key, ours) in OURS.iter().chain(&[("group.id", ""), (INSTANCE, "")]) {
            if self.properties.iter().any(|(name, value)| name == key && value != ours) {
                let instead = match *key {
                    "group.id" => "; use --group",
                    INSTANCE => "; use --instance",
                    _ => ": what clicklake promises rests on it",
                };
                return Err(SourceError::Refused(
                    Code::KafkaSetting.because(format!("kafka setting {key} cannot be changed{instead}")),
                ));
            }
        }
        let is_newer = config.get(PROTOCOL).is_some_and(|value| value.eq_ignore_ascii_case(NEWER_PROTOCOL));
        for (key, value) in DEFAULTS {
            let is_the_brokers = key == ASSIGNMENT && is_newer;
            if config.get(key).is_none() && !is_the_brokers {
                config.set(key, value);
            }
        }
        for (key, value) in OURS {
            config.set(key, value);
        }
        config.set("group.id", group);
        if let Some(instance) = &self.instance {
            // There the brokers refuse whoever begins under a name, as long as the session of the one before lasts.
            if is_newer {
                return Err(SourceError::Refused(Code::KafkaSetting.because(format!(
                    "kafka setting {PROTOCOL}={NEWER_PROTOCOL} and --instance exclude each other: there, a process \
                     that takes over a name is refused until the one before it is forgotten; take one of them out"
                ))));
            }
            config.set(INSTANCE, instance);
        }
        Ok(config)
    }

    /// Returns the settings of a client that asks about a topic and does not read it as a member of a group.
    pub(super) fn asking(&self) -> Result<ClientConfig, SourceError> {
        // A consumer must name a group; this one does not join it.
        let mut config = self.consumer("clicklake")?;
        config.remove(STATISTICS);
        config.remove(INSTANCE);
        Ok(config)
    }

    /// Returns the settings of any client.
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
    fn properties_that_nobody_knows_are_named_without_their_values() {
        let options = |key: &str, value: &str| KafkaOptions {
            bootstrap_servers: "kafka:9092".to_owned(),
            topic: "clicks".to_owned(),
            topic_as: None,
            group: None,
            instance: None,
            properties: vec![(key.to_owned(), value.to_owned())],
        };
        for (key, value) in [("sasl.pasword", "hunter2"), ("session.timeout.ms", "hunter2")] {
            let refused = options(key, value).are_known().expect_err(key);
            assert_eq!(refused.code(), Some(Code::KafkaSetting));
            let said = refused.to_string();
            assert!(said.contains(key) && said.contains("-X") && !said.contains("hunter2"), "{said}");
        }
        options("session.timeout.ms", "6000").are_known().expect("it is a setting");
    }

    #[test]
    fn a_consumer_that_only_asks_has_our_settings_and_no_statistics() {
        let properties = vec![(STATISTICS.to_owned(), "100".to_owned())];
        let (bootstrap_servers, topic) = ("kafka:9092".to_owned(), "clicks".to_owned());
        let options =
            KafkaOptions { bootstrap_servers, topic, topic_as: None, group: None, instance: None, properties };
        let (reading, asking) =
            (options.consumer("group").expect("settings"), options.asking().expect("the same settings"));
        assert_eq!((reading.get(STATISTICS), asking.get(STATISTICS)), (Some("100"), None));
        for (key, ours) in OURS {
            assert_eq!((reading.get(key), asking.get(key)), (Some(ours), Some(ours)), "{key}");
        }
        let other = vec![("auto.offset.reset".to_owned(), "latest".to_owned())];
        assert!(KafkaOptions { properties: other, ..options }.asking().is_err());
    }

    #[test]
    fn a_process_with_a_name_has_it_in_its_group_alone_and_not_in_the_newer_protocol() {
        let named = |properties: &[(&str, &str)]| KafkaOptions {
            bootstrap_servers: "kafka:9092".to_owned(),
            topic: "clicks".to_owned(),
            topic_as: None,
            group: None,
            instance: Some("one".to_owned()),
            properties: properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let (reading, asking) = (named(&[]).consumer("group"), named(&[]).asking());
        let (reading, asking) = (reading.expect("settings"), asking.expect("settings"));
        assert_eq!((reading.get(INSTANCE), asking.get(INSTANCE)), (Some("one"), None));
        for (property, word) in [((PROTOCOL, NEWER_PROTOCOL), "--instance"), ((INSTANCE, "two"), "use --instance")] {
            let refused = named(&[property]).consumer("group").expect_err("it is refused");
            assert_eq!(refused.code(), Some(Code::KafkaSetting));
            assert!(refused.to_string().contains(word) && refused.to_string().contains(property.0), "{refused}");
        }
    }
}
