//! Finds where the table and the recount differ, and which clicks make the difference.
//!
//! Each row of the table names the stretch of the log from which it was made. Laid over the clicks of its window, the
//! rows show which clicks no row has, which ones two rows have, and which row does not match its stretch.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use indexmap::IndexSet;
use lake_schemas::measure::{Amount, MEASURES, Measure};
use lake_schemas::table::column;
use lake_schemas::{OffsetRange, Table, TopicPartition, Verdict};

use super::compared::Differing;
use super::keys::{Key, MeasureSums, sums_of, text};
use super::partition::{Partition, is_taken_for, timestamp};
use super::session::run;
use crate::error::QueryError;
use crate::output::visible;

/// Greatest number of sums of a partition whose clicks are examined: enough to see what is wrong.
pub(super) const PINNED_MAX: usize = 20;

/// Greatest number of events of a partition that are examined for that: each takes some hundred bytes, and all are held
/// at once. Sums of more events are reported without their clicks.
const EVENTS_MAX: i128 = 100_000;

/// Greatest number of ids that are named of a difference.
const IDS_MAX: usize = 10;

/// Sums of the table that differ from those of the raw clicks.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Partition of the sums.
    pub partition: TopicPartition,
    /// Window and dimensions of the sums.
    pub key: Key,
    /// Names of the dimensions.
    pub dimensions: Vec<&'static str>,
    /// Sums of the raw clicks.
    pub recounted: MeasureSums,
    /// Sums of the table.
    pub found: MeasureSums,
    /// Ids of the clicks that make the difference, by cause.
    pub clicks: Vec<(Cause, Vec<String>)>,
}

/// Reason why clicks make a difference between the table and the recount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No row of the table has the clicks.
    Missing,
    /// More than one row has the clicks.
    Twice,
    /// A row that has the clicks does not match their sums.
    Among,
}

/// An event of a window, with what the recount adds for it.
struct Event {
    offset: i64,
    click_id: Option<String>,
    adds: MeasureSums,
}

/// A row of the table.
struct Row {
    offsets: OffsetRange,
    sums: MeasureSums,
}

/// Finds the causes of differences, and the clicks behind the first of them.
pub(super) async fn pin_down(of: &Partition<'_>, differing: Vec<Differing>) -> Result<Vec<Difference>, QueryError> {
    let named = of.parameters.dimension_columns();
    let keys: Vec<_> = looked_at(&differing).map(|one| is_of_key(&one.key, &named)).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (dimensions, keys) = (of.dimensions(), keys.join(" or "));
    let first_offsets = of.parameters.measures.first_offsets(of.partition);
    let adds: Vec<_> = Measure::ALL.into_iter().zip(first_offsets).map(added).collect();
    let adds = adds.join(", ");
    let sql = format!(
        "select window_start, {dimensions}, {adds}, kafka_offset, click_id from due \
         where {keys} order by kafka_offset"
    );
    let mut events: BTreeMap<Key, Vec<Event>> = BTreeMap::new();
    let measures = 1 + of.parameters.dimension_columns().len();
    for batch in of.of_recount(&sql).await? {
        let (adds, after) = (sums_of(&batch.columns()[measures..])?, measures + MEASURES);
        let (offsets, ids) = (batch.column(after).as_primitive::<Int64Type>(), text(batch.column(after + 1)));
        for (((key, adds), &offset), click_id) in of.keys(&batch).into_iter().zip(adds).zip(offsets.values()).zip(ids) {
            events.entry(key).or_default().push(Event { offset, click_id, adds });
        }
    }
    let sql = format!(
        "select window_start, {dimensions}, {}, offset_first, offset_next from {} where {} and ({keys})",
        Measure::ALL.map(Measure::column).join(", "),
        Table::ClicksMinute,
        of.is_this()
    );
    let mut rows: BTreeMap<Key, Vec<Row>> = BTreeMap::new();
    for batch in run(of.context, &sql).await? {
        let (sums, after) = (sums_of(&batch.columns()[measures..])?, measures + MEASURES);
        let offset = |at: usize| batch.column(at).as_primitive::<Int64Type>().values();
        let offsets = offset(after).iter().zip(offset(after + 1));
        for ((key, sums), (&first, &next)) in of.keys(&batch).into_iter().zip(sums).zip(offsets) {
            rows.entry(key).or_default().push(Row { offsets: OffsetRange { first, next }, sums });
        }
    }
    let difference = |Differing { key, recounted, found }| {
        let (events, rows) = (events.remove(&key).unwrap_or_default(), rows.remove(&key).unwrap_or_default());
        let dimensions = of.parameters.dimension_columns();
        let clicks = causes(&events, &rows);
        Difference { partition: of.partition.clone(), key, dimensions, recounted, found, clicks }
    };
    Ok(differing.into_iter().map(difference).collect())
}

/// Builds the expression of what an event of the recount adds to a measure, which has a first offset that counts.
fn added((measure, first): (Measure, i64)) -> String {
    let amount = match measure.amount() {
        Amount::One => "1".to_owned(),
        Amount::Cost => format!("coalesce({}, 0)", column::COST_MICROS),
    };
    let is_of_type = measure.event_type().map(|name| format!(" and {} = '{name}'", column::EVENT_TYPE));
    let is_of_it = is_taken_for(measure.verdict());
    let is_since = (first > 0).then(|| format!(" and {} >= {first}", column::KAFKA_OFFSET));
    let further = [is_of_type, is_since].map(Option::unwrap_or_default).concat();
    format!("case when {is_of_it}{further} then {amount} else 0 end")
}

/// Selects the first differences whose events are few enough to be held together.
fn looked_at(differing: &[Differing]) -> impl Iterator<Item = &Differing> {
    let mut room = EVENTS_MAX;
    differing.iter().take(PINNED_MAX).filter(move |one| {
        let events: i128 = Verdict::ALL.into_iter().map(|verdict| Measure::counting(verdict).of(&one.recounted)).sum();
        let is_room = events <= room;
        room -= if is_room { events } else { 0 };
        is_room
    })
}

/// Builds the condition that a row is of a window and of these dimensions.
fn is_of_key(key: &Key, names: &[&'static str]) -> String {
    let window = format!("window_start = {}", timestamp(Some(key.window.millis()), 0));
    let dimensions = names.iter().zip(&key.dimensions).map(|(name, value)| match value {
        Some(value) => format!("{name} = '{}'", value.replace('\'', "''")),
        None => format!("{name} is null"),
    });
    let all: Vec<_> = std::iter::once(window).chain(dimensions).collect();
    format!("({})", all.join(" and "))
}

/// Finds which of the events make the difference.
fn causes(events: &[Event], rows: &[Row]) -> Vec<(Cause, Vec<String>)> {
    let holds = |row: &Row, event: &Event| (row.offsets.first..row.offsets.next).contains(&event.offset);
    let mut causes: BTreeMap<Cause, IndexSet<String>> = BTreeMap::new();
    let mut blame = |cause: Cause, event: &Event| {
        let named = event.click_id.clone().unwrap_or_else(|| format!("the click without an id at {}", event.offset));
        causes.entry(cause).or_default().insert(named);
    };
    for event in events {
        match rows.iter().filter(|row| holds(row, event)).count() {
            0 => blame(Cause::Missing, event),
            1 => {}
            _ => blame(Cause::Twice, event),
        }
    }
    for row in rows {
        let held: Vec<_> = events.iter().filter(|event| holds(row, event)).collect();
        let says = held.iter().fold(MeasureSums::default(), |mut sums, event| {
            sums.iter_mut().zip(event.adds).for_each(|(sum, add)| *sum += add);
            sums
        });
        if says != row.sums {
            held.iter().for_each(|event| blame(Cause::Among, event));
        }
    }
    causes.into_iter().map(|(cause, ids)| (cause, ids.into_iter().collect())).collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.named(&self.dimensions);
        write!(f, "{} {}:{}", self.partition, visible(&key), differ(&self.found, &self.recounted, "recounted"))?;
        for (cause, ids) in &self.clicks {
            let more = ids.len().saturating_sub(IDS_MAX);
            let named = ids.iter().take(IDS_MAX).map(|id| visible(id)).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            write!(f, "; {cause}: {named}{more}")?;
        }
        Ok(())
    }
}

/// Lists the measures that differ, with both values.
pub(super) fn differ(found: &MeasureSums, other: &MeasureSums, says: &str) -> String {
    let measures = Measure::ALL.into_iter().zip(found).zip(other).filter(|((_, found), other)| found != other);
    let said = measures.map(|((measure, found), other)| format!(" {} {found}, {says} {other}", measure.column()));
    said.collect::<Vec<_>>().join(";")
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Twice => "counted in two rows",
            Self::Among => "miscounted in a row of",
        })
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::EventTime;

    use super::*;

    #[test]
    fn clicks_of_minutes_with_too_many_events_are_not_searched() {
        let differing = |(minute, events): (i64, i128)| {
            let window = EventTime::from_millis(minute * 60_000).expect("a time");
            let recounted = Measure::ALL.map(|measure| match (measure.counts_events(), measure.verdict()) {
                (true, Verdict::Counted) => events - 1,
                (true, Verdict::Late) => 1,
                (true, _) => 0,
                // A cost counts no events, so it takes no room.
                (false, _) => i128::MAX,
            });
            Differing { key: Key { window, dimensions: Vec::new() }, recounted, found: MeasureSums::default() }
        };
        let many = [EVENTS_MAX - 5, 6, 5, EVENTS_MAX, 1];
        let all: Vec<_> = (0..).zip(many).map(differing).collect();
        let minutes: Vec<_> = looked_at(&all).map(|one| one.key.window.millis() / 60_000).collect();
        assert_eq!(minutes, [0, 2]);
        let few: Vec<_> = (0..30).map(|minute| differing((minute, 1))).collect();
        assert_eq!(looked_at(&few).count(), PINNED_MAX);
    }
}
