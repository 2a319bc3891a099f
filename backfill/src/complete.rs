//! Whether a staging table has all that its backfill was asked for: only then it may become the lake's minutes, or be
//! counted live.
//!
//! A table that is counted live goes on behind the end of its backfill, so offsets are compared by their order.

use std::collections::HashMap;

use lake_schemas::{Code, History, Stand, Table, TopicPartition};
use lake_store::LakeError;

/// Refuses a table of minutes that is of a part of history, or that lacks something below the end of its backfill. A
/// table that no backfill has made has nothing to lack.
pub fn has_all_of_history(
    table: Table,
    properties: &HashMap<String, String>,
    stand: impl Fn(&TopicPartition) -> Stand,
) -> Result<(), LakeError> {
    let history = History::recorded(table, properties)?;
    if !history.is_whole() {
        let why = format!("{table} is of a part of history; make one of all of it, by backfill --into without a range");
        return Err(LakeError::Refused(Code::StagingIncomplete.because(why)));
    }
    let lacking = history.until.iter().find(|(of, until)| !has_all_below(stand(of), **until));
    let why = |(of, until): (&TopicPartition, &i64)| {
        format!("{table} is not complete: of {of} it lacks something below {until}; run backfill --into {table} again")
    };
    lacking.map_or(Ok(()), |lacking| Err(LakeError::Refused(Code::StagingIncomplete.because(why(lacking)))))
}

/// Returns whether a table in which a partition stands here has all of the partition below an offset.
pub(crate) fn has_all_below(stand: Stand, until: i64) -> bool {
    stand.cut >= Some(until) && stand.drained >= Some(until)
}

#[cfg(test)]
mod tests {
    use lake_schemas::history::PROPERTY_BACKFILL;
    use lake_schemas::{Cut, EventTime, Windows};

    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("clicks", number)
    }

    /// Looks at a table of two partitions, which end at 5 and at 7, where one stands at the end and the other here.
    fn looked_at(history: &History, cut: Option<i64>, drained: Option<i64>) -> Result<(), LakeError> {
        let table = Table::Staging("again".parse().expect("a name"));
        let properties = HashMap::from([(PROPERTY_BACKFILL.to_owned(), history.to_property("no range"))]);
        let other = Stand { cut: Some(5), drained: Some(5), ..Stand::default() };
        let here = Stand { cut, drained, ..Stand::default() };
        has_all_of_history(table, &properties, |of| if *of == partition(0) { other } else { here })
    }

    #[test]
    fn a_table_is_complete_at_the_end_of_its_backfill_and_behind_it() {
        let until: Cut = [(partition(0), 5), (partition(1), 7)].into();
        let whole = History { until, ..History::default() };
        for (cut, drained) in [(7, 7), (8, 7), (100, 99)] {
            assert!(looked_at(&whole, Some(cut), Some(drained)).is_ok(), "{cut}, drained {drained}");
        }
        for (cut, drained) in [(None, None), (Some(7), None), (Some(6), Some(6)), (Some(100), Some(6))] {
            let error = looked_at(&whole, cut, drained).expect_err("it lacks something");
            assert_eq!(error.code(), Some(Code::StagingIncomplete));
            let said = error.to_string();
            assert!(said.contains("of clicks/1 it lacks something below 7") && said.contains("backfill"), "{said}");
        }
    }

    #[test]
    fn a_table_of_a_part_of_history_is_not_one_of_all_of_it() {
        let windows = Windows::between(EventTime::from_millis(0), None).expect("a range");
        let since: Cut = [(partition(1), 3)].into();
        for part in [History { windows, ..History::default() }, History { since, ..History::default() }] {
            let error = looked_at(&part, Some(7), Some(7)).expect_err("it is of a part");
            assert_eq!(error.code(), Some(Code::StagingIncomplete));
            assert!(error.to_string().contains("again is of a part of history"), "{error}");
        }
    }

    #[test]
    fn minutes_that_no_backfill_has_made_lack_nothing() {
        assert!(has_all_of_history(Table::ClicksMinute, &HashMap::new(), |_| Stand::default()).is_ok());
    }
}
