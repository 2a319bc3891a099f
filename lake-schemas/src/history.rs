//! What of the log a table is computed from once and for all: where it ends, and what of it is asked for.
//!
//! A shadow records it when it is made. So a run that was interrupted goes on with the same work, however far the raw
//! table has come since.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::{Invalid, Result};
use crate::position::{Cut, TopicPartition};
use crate::table::Table;
use crate::time::EventTime;
use crate::windows::Windows;

/// The property of a shadow that holds it.
pub const PROPERTY_BACKFILL: &str = "clicklake.backfill";

/// A bounded part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By partition, the first offset whose event counts. What is below it is read, as far as it decides what an event
    /// is taken for. A partition that is not named counts from its first.
    pub since: Cut,
    /// By partition, where it ends. A partition that is not named is not read.
    pub until: Cut,
    /// The windows that are asked for.
    pub windows: Windows,
}

impl History {
    /// Whether it is all of the log up to where it ends.
    pub fn is_whole(&self) -> bool {
        self.since.is_empty() && self.windows.are_all()
    }

    /// The offset from which on a partition's events count.
    pub fn since(&self, partition: &TopicPartition) -> i64 {
        self.since.get(partition).copied().unwrap_or(0)
    }

    /// As a property, beside how it was asked for.
    pub fn to_property(&self, asked: &str) -> String {
        let time = |time: Option<EventTime>| time.map(|time| time.millis());
        let (from, to) = (time(self.windows.from()), time(self.windows.to()));
        json!({ "asked": asked, "since": json_of(&self.since), "until": json_of(&self.until), "from": from, "to": to })
            .to_string()
    }

    /// What a table of minutes records that it is of: of a live table, all of the log.
    pub fn recorded(table: Table, properties: &HashMap<String, String>) -> Result<Self> {
        match properties.get(PROPERTY_BACKFILL) {
            Some(property) => Ok(Self::of_property(table.name(), property)?.1),
            None => Ok(Self::default()),
        }
    }

    /// From a property: how it was asked for, and what it is.
    pub fn of_property(table: &str, property: &str) -> Result<(String, Self)> {
        let parsed = serde_json::from_str(property).ok().and_then(|value: Value| {
            let time = |name: &str| value[name].as_i64().and_then(EventTime::from_millis);
            let windows = Windows::between(time("from"), time("to")).ok()?;
            let history = Self { since: cut_of(&value["since"])?, until: cut_of(&value["until"])?, windows };
            Some((value["asked"].as_str()?.to_owned(), history))
        });
        let unknown = || Invalid(format!("{table}: its property {PROPERTY_BACKFILL} is not what was written"));
        parsed.ok_or_else(unknown)
    }
}

/// A cut in JSON: by topic and partition, the next offset.
pub fn json_of(cut: &Cut) -> Value {
    let mut topics = Map::new();
    for (partition, next) in cut {
        topics.entry(partition.topic.clone()).or_insert_with(|| json!({}))[partition.partition.to_string()] =
            json!(next);
    }
    Value::Object(topics)
}

/// A cut from JSON.
pub fn cut_of(value: &Value) -> Option<Cut> {
    let mut cut = Cut::new();
    for (topic, partitions) in value.as_object()? {
        for (number, next) in partitions.as_object()? {
            cut.insert(TopicPartition::new(topic, number.parse().ok()?), next.as_i64()?);
        }
    }
    Some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back() {
        let partition = |number| TopicPartition::new("clicks.eu", number);
        let history = History {
            since: [(partition(1), 5)].into(),
            until: [(partition(0), 7), (partition(1), 9)].into(),
            windows: Windows::between(EventTime::from_millis(0), None).expect("a range"),
        };
        let read = History::of_property("t", &history.to_property("--from 1970")).expect("it is read");
        assert_eq!(read, ("--from 1970".to_owned(), history));
        assert!(History::of_property("t", "{}").is_err());
    }
}
