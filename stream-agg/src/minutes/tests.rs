//! Laws of the operator: what it writes, and when.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Int64Type};
use lake_schemas::table::column;
use lake_schemas::time::MILLIS_PER_MINUTE as WINDOW_MS;
use lake_schemas::{Measure, Measures, Table};

use super::*;

const NOON_MS: i64 = 1_772_884_800_000;
const HOUR_MS: i64 = 60 * WINDOW_MS;

/// Begins a partition with this stand.
fn beginning(stand: Stand) -> Minutes {
    Minutes::begin(TopicPartition::new("clicks", 0), Parameters::default(), stand)
}

fn minute(number: i64) -> i64 {
    NOON_MS + number * WINDOW_MS
}

/// Makes clicks with these offsets and event times.
fn clicks(events: &[(i64, i64)]) -> RecordBatch {
    let offsets = events.iter().map(|(offset, _)| *offset);
    let times = events.iter().map(|(_, time_ms)| time_ms * 1_000);
    let nothing = |data_type: DataType| new_null_array(&data_type, events.len());
    let columns: [(&str, ArrayRef); 7] = [
        (column::KAFKA_OFFSET, Arc::new(Int64Array::from_iter_values(offsets.clone()))),
        (column::EVENT_TIME, Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
        (column::EVENT_TYPE, nothing(DataType::Utf8)),
        (column::AD_ID, Arc::new(StringArray::from(vec!["a"; events.len()]))),
        (column::CAMPAIGN_ID, nothing(DataType::Utf8)),
        (column::CLICK_ID, Arc::new(StringArray::from_iter_values(offsets.map(|offset| offset.to_string())))),
        (column::COST_MICROS, nothing(DataType::Int64)),
    ];
    RecordBatch::try_from_iter(columns).expect("rows")
}

fn push(minutes: &mut Minutes, events: &[(i64, i64)], next: i64) {
    minutes.push(&clicks(events), next).expect("rows of clicks");
}

/// Begins a partition whose log has messages up to an offset, and no event among them.
fn without_events(next: i64) -> Minutes {
    let mut minutes = beginning(Stand::default());
    minutes.push(&RecordBatch::new_empty(Table::Clicks.schema()), next).expect("no rows");
    minutes
}

fn drained(emission: Option<Emission>) -> Option<i64> {
    emission?.to.drained
}

#[test]
fn the_end_of_history_is_drained_even_if_nothing_is_open() {
    let mut minutes = without_events(10).only(i64::MIN, Windows::default());
    let closed = minutes.emit(Flush::Closed).expect("the cut advances");
    assert_eq!((closed.to.cut, closed.to.drained), (Some(10), None));
    assert_eq!(drained(minutes.emit(Flush::Everything)), Some(10));
    assert!(minutes.emit(Flush::Everything).is_none(), "it is said once");
}

#[test]
fn a_live_partition_with_nothing_open_is_not_drained_again_and_again() {
    let mut minutes = without_events(10);
    assert!(minutes.emit(Flush::Closed).is_some());
    assert!(minutes.emit(Flush::Everything).is_none());
}

#[test]
fn rows_are_told_from_a_stand_that_moves_alone() {
    let mut minutes = without_events(3);
    assert_eq!((minutes.next(), minutes.has_rows(Flush::Everything)), (Some(3), false));
    // The watermark is five seconds behind the last click, and then passes the end of the first minute.
    for (offset, time_ms, is_closed) in [(3, minute(0), false), (4, minute(1), false), (5, minute(2), true)] {
        push(&mut minutes, &[(offset, time_ms)], offset + 1);
        assert_eq!(minutes.has_rows(Flush::Closed), is_closed, "at {offset}");
        assert!(minutes.has_rows(Flush::Everything));
    }
    let emission = minutes.emit(Flush::Closed).expect("the cut advances");
    assert_eq!(emission.rows.num_rows(), 1);
    assert!(!minutes.has_rows(Flush::Closed), "the others are open");
    assert!(minutes.emit(Flush::Closed).is_none());
    // Below the cut of the table nothing is handed over.
    let stand = Stand { cut: Some(9), restore: Some(0), ..Stand::default() };
    let mut minutes = beginning(stand);
    push(&mut minutes, &[(0, minute(0)), (1, minute(9))], 2);
    assert!(!minutes.has_rows(Flush::Closed) && !minutes.has_rows(Flush::Everything));
}

#[test]
fn a_recorded_watermark_counts_from_the_cut_on_though_its_click_is_gone() {
    let stand = Stand { cut: Some(10), watermark_ms: Some(minute(30)), restore: Some(0), ..Stand::default() };
    let behind = Behind { replayed_ms: Some(minute(2) - 5_000), recorded_ms: minute(30) };
    let (below, above) = ([(0, minute(0)), (7, minute(2))], [(10, minute(3)), (11, minute(29))]);
    // The replay ends at the cut, or a batch reaches across it; below, nothing at all is left of the clicks.
    let across = [below, above].concat();
    for batches in [vec![(&below[..], 10), (&above[..], 12)], vec![(&across[..], 12)]] {
        let mut minutes = beginning(stand);
        batches.iter().for_each(|(events, next)| push(&mut minutes, events, *next));
        assert_eq!(minutes.take_behind(), Some(behind));
        assert_eq!(minutes.take_behind(), None, "it is said once");
        let emission = minutes.emit(Flush::Closed).expect("the cut advances");
        assert_eq!(emission.to.watermark_ms, Some(minute(30)));
        // The minutes of both clicks are over, and for one of them the allowed lateness is too.
        let firsts = emission.rows["offset_first"].as_primitive::<Int64Type>().values().to_vec();
        let late = emission.rows["late"].as_primitive::<Int64Type>().values().to_vec();
        assert_eq!((firsts, late), (vec![10, 11], vec![1, 0]), "nothing from below the cut is written again");
        assert!(minutes.emit(Flush::Everything).is_none(), "all is written");
    }
    let mut minutes = beginning(stand);
    push(&mut minutes, &[], 10);
    assert_eq!(minutes.take_behind(), Some(Behind { replayed_ms: None, ..behind }));
}

#[test]
fn a_replay_that_comes_to_the_recorded_watermark_says_nothing() {
    let stand = Stand { cut: Some(2), watermark_ms: Some(minute(9) - 5_000), restore: Some(0), ..Stand::default() };
    let mut minutes = beginning(stand);
    push(&mut minutes, &[(0, minute(9)), (1, minute(4))], 2);
    assert_eq!(minutes.take_behind(), None);
    // A partition without events says nothing either, in a table that replaced one in which it had some.
    let replaced = Stand { cut: Some(0), restore: Some(0), ..Stand::default() }.in_place_of(stand);
    let mut minutes = beginning(replaced);
    push(&mut minutes, &[], 5);
    assert_eq!(minutes.take_behind(), None);
    let emission = minutes.emit(Flush::Closed).expect("the cut advances");
    assert_eq!(emission.to.watermark_ms, replaced.watermark_ms);
}

#[test]
fn a_measure_that_came_in_later_counts_from_its_offset_on() {
    let (partition, mut parameters) = (TopicPartition::new("clicks", 0), Parameters::default());
    assert!(parameters.measures.begin(Measure::ALL[0], [(partition.clone(), 2)].into()));
    let mut minutes = Minutes::begin(partition, parameters, Stand::default());
    push(&mut minutes, &[(0, minute(0)), (1, minute(1)), (2, minute(0)), (3, minute(0))], 4);
    let rows = minutes.emit(Flush::Everything).expect("the cut advances").rows;
    let numbers = |name: &str| rows[name].as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((numbers("offset_first"), numbers("clicks")), (vec![0, 1], vec![2, 0]));
}

#[test]
fn rows_have_the_measures_of_their_table_and_no_others() {
    let parameters = Parameters { measures: Measures::of_format_1(), ..Parameters::default() };
    let schema = parameters.schema(Table::ClicksMinute);
    let mut minutes = Minutes::begin(TopicPartition::new("clicks", 0), parameters, Stand::default());
    push(&mut minutes, &[(0, minute(0))], 1);
    assert_eq!(minutes.emit(Flush::Everything).expect("the cut advances").rows.schema(), schema);
}

#[test]
fn hours_that_would_be_written_are_counted_but_for_the_newest_two() {
    let hour = |number: i64| NOON_MS + number * HOUR_MS;
    let mut minutes = beginning(Stand::default());
    push(&mut minutes, &[(0, hour(0) + WINDOW_MS)], 1);
    assert_eq!(minutes.hours_behind(), 0);
    // A producer may send events of any time.
    let old: Vec<_> = (1..=20).map(|number| (number, hour(-(number % 10)))).collect();
    push(&mut minutes, &old, 21);
    assert_eq!(minutes.hours_behind(), 8, "ten hours, two of which are the newest");
    minutes.emit(Flush::Closed).expect("the cut advances");
    assert_eq!(minutes.hours_behind(), 0, "they are written");
    // Clicks in the order of time, one an hour.
    let sparse: Vec<_> = (1..=30).map(|number| (20 + number, hour(number) + WINDOW_MS)).collect();
    push(&mut minutes, &sparse, 51);
    assert_eq!(minutes.hours_behind(), 29, "of 31 hours, one of which was open before");
    // Events below the stand of the table are not written, so no hour waits for them.
    let stand = Stand { cut: Some(100), watermark_ms: Some(hour(-20)), restore: Some(0), ..Stand::default() };
    let mut minutes = beginning(stand);
    push(&mut minutes, &sparse, 51);
    assert_eq!(minutes.hours_behind(), 0);
}
