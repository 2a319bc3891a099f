//! The bounded part of the log that a table is computed from once: where it ends, and which part of it counts.
//!
//! A staging table records it when it is made, so that a run that was interrupted goes on with the same work, however
//! far the raw table has grown since.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::error::{AS_IT_WAS, Invalid, Result};
use crate::position::{Cut, TopicPartition};
use crate::table::Table;
use crate::time::EventTime;
use crate::windows::Windows;

/// Property of a staging table that records it.
pub const PROPERTY_BACKFILL: &str = "clicklake.backfill";

/// A bounded part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// First offset whose event counts, by partition. Events below it are read as far as they decide the verdicts of
    /// others. A partition that is missing here counts from its first offset.
    pub since: Cut,
    /// Offset at which a partition ends, by partition. A partition that is missing here is not read.
    pub until: Cut,
    /// Windows that are asked for.
    pub windows: Windows,
}

impl History {
    /// Returns whether this part of history is all of the log up to its end.
    pub fn is_whole(&self) -> bool {
        self.since.is_empty() && self.windows.are_all()
    }

    /// Returns the offset from which on a partition's events count.
    pub fn since(&self, partition: &TopicPartition) -> i64 {
        self.since.get(partition).copied().unwrap_or(0)
    }

    /// Returns the part of history as the text of the property, together with the words in which it was asked for.
    pub fn to_property(&self, asked: &str) -> String {
        let time = |time: Option<EventTime>| time.map(|time| time.millis());
        let (from, to) = (time(self.windows.from()), time(self.windows.to()));
        json!({ "asked": asked, "since": json_of(&self.since), "until": json_of(&self.until), "from": from, "to": to })
            .to_string()
    }

    /// Reads which part of the log a table of minutes records. A live table records none, and is of all of the log.
    pub fn recorded(table: Table, properties: &HashMap<String, String>) -> Result<Self> {
        match properties.get(PROPERTY_BACKFILL) {
            Some(property) => Ok(Self::of_property(table.name(), property)?.1),
            None => Ok(Self::default()),
        }
    }

    /// Reads the text of the property: how it was asked for, and the part of the log.
    pub fn of_property(table: &str, property: &str) -> Result<(String, Self)> {
        let parsed = serde_json::from_str(property).ok().and_then(|value: Value| {
            let time = |name: &str| value[name].as_i64().and_then(EventTime::from_millis);
            let windows = Windows::between(time("from"), time("to")).ok()?;
            let history = Self { since: cut_of(&value["since"])?, until: cut_of(&value["until"])?, windows };
            Some((value["asked"].as_str()?.to_owned(), history))
        });
        let unknown = || {
            Invalid(
                Code::PropertyUnreadable
                    .because(format!("{table}: its property {PROPERTY_BACKFILL} is not what was written; {AS_IT_WAS}")),
            )
        };
        parsed.ok_or_else(unknown)
    }
}

/// Returns a cut as JSON: the next offset by topic and partition.
pub fn json_of(cut: &Cut) -> Value {
    let mut topics = Map::new();
    for (partition, next) in cut {
        topics.entry(partition.topic.clone()).or_insert_with(|| json!({}))[partition.partition.to_string()] =
            json!(next);
    }
    Value::Object(topics)
}

/// Reads a cut from JSON.
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
    fn a_recorded_history_is_read_back() {
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
