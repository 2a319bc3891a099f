//! Typed views of batches of the raw tables: each column is found once, by name, and then read by row.
//!
//! Readers name their columns, so a view finds them wherever they are, and whatever else the batch has.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, StringArray};
use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use crate::code::Code;
use crate::dimension::Dimension;
use crate::error::{Invalid, Result};
use crate::measure::{Addition, Amount};
use crate::rejection::COST_MICROS_MAX;
use crate::table::column;
use crate::time::{EventTime, LogTime};

/// Event type of clicks.
pub const CLICK: &str = "click";

/// Positions in the log of the rows of a raw table.
pub struct Positions<'a> {
    offsets: &'a Int64Array,
    log_times: Option<&'a TimestampMicrosecondArray>,
}

impl<'a> Positions<'a> {
    /// Makes the view of a batch of `clicks` or `clicks_rejected`.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            offsets: primitive::<Int64Type>(batch, column::KAFKA_OFFSET)?,
            log_times: primitive::<TimestampMicrosecondType>(batch, column::KAFKA_TIMESTAMP).ok(),
        })
    }

    /// Returns the time of the message of a row, if it has one and the batch has that column.
    pub fn log_time(&self, row: usize) -> Option<LogTime> {
        let times = self.log_times.filter(|times| times.is_valid(row))?;
        LogTime::from_micros(times.value(row))
    }

    /// Returns the offsets of all rows. They ascend if the rows are of one partition.
    pub fn offsets(&self) -> &'a [i64] {
        self.offsets.values()
    }
}

/// The events of a batch of `clicks`, with the columns that computations need.
pub struct Events<'a> {
    batch: &'a RecordBatch,
    event_times: &'a TimestampMicrosecondArray,
    event_types: &'a StringArray,
    ad_ids: &'a StringArray,
    campaign_ids: &'a StringArray,
    click_ids: &'a StringArray,
    costs_micros: &'a Int64Array,
}

impl<'a> Events<'a> {
    /// Columns of `clicks` that it reads, beside those of dimensions.
    pub const COLUMNS: [&'static str; 6] = [
        column::EVENT_TIME,
        column::EVENT_TYPE,
        column::AD_ID,
        column::CAMPAIGN_ID,
        column::CLICK_ID,
        column::COST_MICROS,
    ];

    /// Makes the view of a batch of `clicks`.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            batch,
            event_times: primitive::<TimestampMicrosecondType>(batch, column::EVENT_TIME)?,
            event_types: text(batch, column::EVENT_TYPE)?,
            ad_ids: text(batch, column::AD_ID)?,
            campaign_ids: text(batch, column::CAMPAIGN_ID)?,
            click_ids: text(batch, column::CLICK_ID)?,
            costs_micros: primitive::<Int64Type>(batch, column::COST_MICROS)?,
        })
    }

    /// Returns when the event happened, by its own account.
    pub fn event_time(&self, row: usize) -> EventTime {
        EventTime::from_micros(self.event_times.value(row))
    }

    /// Returns the type of the event; an event without one is a click.
    pub fn event_type(&self, row: usize) -> &'a str {
        value(self.event_types, row).unwrap_or(CLICK)
    }

    /// Returns whether the event is a click.
    pub fn is_click(&self, row: usize) -> bool {
        self.event_type(row) == CLICK
    }

    /// Returns the ad of the event.
    pub fn ad_id(&self, row: usize) -> &'a str {
        self.ad_ids.value(row)
    }

    /// Returns the campaign, if the event names one.
    pub fn campaign_id(&self, row: usize) -> Option<&'a str> {
        value(self.campaign_ids, row)
    }

    /// Returns the event's id; an event without one is never a duplicate.
    pub fn click_id(&self, row: usize) -> Option<&'a str> {
        value(self.click_ids, row)
    }

    /// Returns the column of a dimension.
    pub fn dimension(&self, dimension: Dimension) -> Result<TextColumn<'a>> {
        Ok(TextColumn(text(self.batch, dimension.column())?))
    }

    /// Returns the cost of the click, if the event names one that is possible: see [`is_cost`].
    pub fn cost_micros(&self, row: usize) -> Option<i64> {
        self.costs_micros.is_valid(row).then(|| self.costs_micros.value(row)).filter(|cost| is_cost(*cost))
    }

    /// Returns what an event adds to a measure of its verdict; `None` if its type is not that of the measure.
    #[inline]
    pub fn added(&self, row: usize, addition: &Addition) -> Option<i64> {
        if addition.event_type.is_some_and(|event_type| event_type != self.event_type(row)) {
            return None;
        }
        Some(match addition.amount {
            Amount::One => 1,
            Amount::Cost => self.cost_micros(row).unwrap_or(0),
        })
    }
}

/// Returns whether a number can be the cost of an event, in millionths. Earlier versions of this program accepted more
/// than [`COST_MICROS_MAX`], and rows of `clicks` from then stay as they are: such an event counts, but without a cost.
pub fn is_cost(micros: i64) -> bool {
    (0..=COST_MICROS_MAX).contains(&micros)
}

/// Returns the offsets of events whose cost is not counted, because [it cannot be one](is_cost). A batch that lacks the
/// column has none.
pub fn offsets_without_their_cost(batch: &RecordBatch) -> impl Iterator<Item = i64> {
    let costs = primitive::<Int64Type>(batch, column::COST_MICROS).ok();
    let offsets = primitive::<Int64Type>(batch, column::KAFKA_OFFSET).ok();
    costs.zip(offsets).into_iter().flat_map(|(costs, offsets)| {
        let rows = costs.iter().zip(offsets.values());
        rows.filter(|(cost, _)| cost.is_some_and(|cost| !is_cost(cost))).map(|(_, offset)| *offset)
    })
}

/// A column of text, null where a row has no value.
pub struct TextColumn<'a>(&'a StringArray);

impl<'a> TextColumn<'a> {
    /// Returns the value of a row.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        value(self.0, row)
    }
}

/// Returns the reasons of a batch of `clicks_rejected`, row by row. A batch that lacks the column has none.
pub fn reasons(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let reasons = text(batch, column::REASON).ok().into_iter();
    reasons.flat_map(|reasons| reasons.iter().flatten())
}

fn value(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn primitive<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>> {
    batch.column_by_name(name).and_then(|column| column.as_primitive_opt()).ok_or_else(|| lacking(name))
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    batch.column_by_name(name).and_then(|column| column.as_string_opt()).ok_or_else(|| lacking(name))
}

fn lacking(name: &str) -> Invalid {
    Invalid(Code::ColumnUnfit.because(format!("a batch of a raw table has no column {name} of the type it should be")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::table::Table;

    /// Makes a batch of `clicks` in which only offsets and costs matter.
    fn clicks(costs: &[Option<i64>]) -> RecordBatch {
        let schema = Table::Clicks.schema();
        let columns = schema.fields().iter().map(|field| -> arrow::array::ArrayRef {
            match field.name().as_str() {
                column::KAFKA_OFFSET => Arc::new(Int64Array::from_iter_values(10..10 + costs.len() as i64)),
                column::COST_MICROS => Arc::new(Int64Array::from(costs.to_vec())),
                column::AD_ID => Arc::new(StringArray::from(vec!["a"; costs.len()])),
                _ => arrow::array::new_null_array(field.data_type(), costs.len()),
            }
        });
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns.collect()).expect("a batch")
    }

    #[test]
    fn an_event_adds_one_its_cost_or_nothing() {
        let batch = clicks(&[None, Some(7), Some(-1)]);
        let events = Events::of(&batch).expect("all columns");
        let added = |amount, event_type| {
            let addition = Addition { place: 0, amount, event_type };
            [0, 1, 2].map(|row| events.added(row, &addition))
        };
        assert_eq!(added(Amount::One, None), [Some(1); 3]);
        assert_eq!(added(Amount::Cost, None), [Some(0), Some(7), Some(0)]);
        assert_eq!(added(Amount::Cost, Some("click")), [Some(0), Some(7), Some(0)], "they say no type");
        assert_eq!(added(Amount::One, Some("view")), [None; 3]);
    }

    #[test]
    fn a_cost_beyond_the_bound_is_none_and_is_known_by_its_offset() {
        let costs = [None, Some(0), Some(COST_MICROS_MAX), Some(COST_MICROS_MAX + 1), Some(i64::MAX), Some(-1)];
        let batch = clicks(&costs);
        let events = Events::of(&batch).expect("all columns");
        let counted: Vec<_> = (0..costs.len()).map(|row| events.cost_micros(row)).collect();
        assert_eq!(counted, [None, Some(0), Some(COST_MICROS_MAX), None, None, None]);
        assert_eq!(offsets_without_their_cost(&batch).collect::<Vec<_>>(), [13, 14, 15]);
    }
}
