//! What a commit records of one partition, and how it is kept: as `txn` actions of the same commit.
//!
//! ```text
//! clicklake/clicks/<topic>/<partition>         the cut: the next offset to read
//! clicklake/clicks/<topic>/<partition>/read    messages read below the cut (offsets may have gaps)
//! ```
//!
//! An absent `txn` is a stand of its own: two writers that both start from nothing are told apart too.

use crate::position::TopicPartition;
use crate::table::Table;

/// Delta's name for what one writer counts by: the key of a `txn`.
pub type AppId = String;

/// Where one partition stands in one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// The cut: everything below this offset has been taken account of, nothing from it on.
    pub cut: Option<i64>,
    /// How many messages were read below the cut; recorded for `clicks` only.
    pub read: Option<i64>,
}

impl Stand {
    /// Reads a stand out of a table's `txn` values, by `value_of`.
    pub fn decode(table: Table, partition: &TopicPartition, value_of: impl Fn(&str) -> Option<i64>) -> Self {
        let [cut, read] = app_ids(table, partition);
        Self { cut: value_of(&cut), read: value_of(&read) }
    }

    /// The `txn` values it consists of, absent ones included.
    pub fn encode(self, table: Table, partition: &TopicPartition) -> [(AppId, Option<i64>); 2] {
        let [cut, read] = app_ids(table, partition);
        [(cut, self.cut), (read, self.read)]
    }

    /// Whether `later` stands strictly beyond this: the one step that an epoch may take.
    pub fn is_behind(self, later: Self) -> bool {
        // An absent cut is behind every offset, so `None < Some(_)` is what is meant.
        self.cut < later.cut
    }
}

fn app_ids(table: Table, partition: &TopicPartition) -> [AppId; 2] {
    let cut = format!("clicklake/{table}/{partition}");
    let read = format!("{cut}/read");
    [cut, read]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_stand_survives_its_encoding() {
        let partition = TopicPartition::new("clicks.eu-1", 7);
        for stand in
            [Stand::default(), Stand { cut: Some(0), read: None }, Stand { cut: Some(1_042), read: Some(1_000) }]
        {
            let txns: HashMap<_, _> = stand
                .encode(Table::Clicks, &partition)
                .into_iter()
                .filter_map(|(id, value)| Some((id, value?)))
                .collect();
            let decoded = Stand::decode(Table::Clicks, &partition, |id| txns.get(id).copied());
            assert_eq!(decoded, stand);
        }
    }

    #[test]
    fn the_ids_are_those_of_the_contract() {
        let partition = TopicPartition::new("clicks", 3);
        assert_eq!(app_ids(Table::Clicks, &partition), ["clicklake/clicks/clicks/3", "clicklake/clicks/clicks/3/read"]);
    }

    #[test]
    fn nothing_is_behind_everything() {
        let at = |cut| Stand { cut, read: None };
        assert!(at(None).is_behind(at(Some(0))));
        assert!(!at(Some(5)).is_behind(at(Some(5))));
        assert!(!at(Some(5)).is_behind(at(None)));
    }
}
