//! Converts the options of the command line to the types of the libraries.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ingest::Until;
use ingest::kafka::KafkaOptions;
use lake_schemas::minute::Requested;
use lake_schemas::{EventTime, Invalid, Windows};

use super::failure::Usage;
use crate::arguments::{Running, Settings, Topic};

/// Returns the windows between two times of the command line.
pub fn windows(from: Option<EventTime>, to: Option<EventTime>) -> Result<Windows, Usage> {
    Windows::between(from, to).map_err(|Invalid(refusal)| Usage(refusal))
}

/// Returns the options for Kafka from the command line.
pub fn kafka(bootstrap_servers: &str, topic: &Topic) -> anyhow::Result<KafkaOptions> {
    let mut properties = Vec::new();
    if let Some(file) = &topic.properties_file {
        properties.extend(read_properties(file)?);
    }
    properties.extend(topic.properties.iter().cloned());
    let options = KafkaOptions {
        bootstrap_servers: bootstrap_servers.to_owned(),
        topic: topic.topic.clone(),
        topic_as: topic.topic_as.clone(),
        group: topic.group.clone(),
        instance: None,
        properties,
    };
    options.are_known()?;
    Ok(options)
}

/// Reads librdkafka properties, one in each line; blank lines and those that begin with '#' are skipped.
fn read_properties(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("properties file {}", file.display()))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| anyhow!("properties file {}, line {number}: expected key=value", file.display()))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Returns the parameters that the command line asks for.
pub fn requested(settings: &Settings) -> Requested {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Requested {
        out_of_orderness_ms: settings.out_of_orderness.map(millis),
        allowed_lateness_ms: settings.allowed_lateness.map(millis),
        dedup_horizon_ms: settings.dedup_horizon.map(millis),
        dimensions: settings.dimensions.clone(),
    }
}

/// Returns when a job is done, by the command line.
pub fn until(running: &Running) -> Until {
    if running.until_caught_up { Until::CaughtUp } else { Until::Stopped }
}
