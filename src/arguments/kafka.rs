//! The flags that say which topic is read, and how.

use std::path::PathBuf;

use clap::Args;

use super::values::{property, topic};

/// A topic, and the cluster that it is in.
#[derive(Clone, Debug, Args)]
pub struct Kafka {
    /// The Kafka brokers to connect to first, host:port[,…]
    #[arg(long, env = "CLICKLAKE_BOOTSTRAP_SERVERS", value_name = "H:P[,…]")]
    pub bootstrap_servers: String,
    #[command(flatten)]
    pub topic: Topic,
}

/// A topic, and how it is read.
#[derive(Clone, Debug, Args)]
pub struct Topic {
    /// The topic to use
    #[arg(long, env = "CLICKLAKE_TOPIC", default_value = "clicks", value_parser = topic)]
    pub topic: String,
    /// The name under which positions are recorded, for a topic that was created again or moved
    #[arg(long, env = "CLICKLAKE_TOPIC_AS", value_name = "NAME", value_parser = topic)]
    pub topic_as: Option<String>,
    /// The consumer group [default: one for each job and lake]
    #[arg(long, env = "CLICKLAKE_GROUP")]
    pub group: Option<String>,
    /// A librdkafka property; may be given several times
    #[arg(short = 'X', value_name = "key=value", value_parser = property)]
    pub properties: Vec<(String, String)>,
    /// A file of librdkafka properties, one in each line; put passwords here
    #[arg(short = 'F', value_name = "FILE")]
    pub properties_file: Option<PathBuf>,
}
