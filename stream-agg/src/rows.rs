//! Turns sums into rows of `clicks_minute`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use lake_schemas::measure::MEASURES;
use lake_schemas::minute::{Pane, Parameters};
use lake_schemas::table::timestamp;
use lake_schemas::time::{HOURS_PER_DAY, MICROS_PER_MILLI};
use lake_schemas::{Table, TopicPartition};

use crate::sums::WindowSums;
use crate::window::Window;

/// Rows of one partition that are written together.
pub struct MinuteRows<'a> {
    partition: &'a TopicPartition,
    parameters: &'a Parameters,
    windows: Vec<Window>,
    dimensions: Vec<StringBuilder>,
    measures: [Vec<i64>; MEASURES],
    panes: Vec<&'static str>,
    offsets_first: Vec<i64>,
    offsets_next: Vec<i64>,
}

impl<'a> MinuteRows<'a> {
    /// Begins without rows.
    pub fn new(partition: &'a TopicPartition, parameters: &'a Parameters) -> Self {
        let dimensions = parameters.dimension_columns().iter().map(|_| StringBuilder::new()).collect();
        Self {
            partition,
            parameters,
            windows: Vec::new(),
            dimensions,
            measures: Default::default(),
            panes: Vec::new(),
            offsets_first: Vec::new(),
            offsets_next: Vec::new(),
        }
    }

    /// Adds the rows of a window.
    pub fn push(&mut self, window: Window, sums: &WindowSums, pane: Pane) {
        for (values, row) in sums.rows() {
            self.windows.push(window);
            for (column, value) in self.dimensions.iter_mut().zip(values) {
                column.append_option(value);
            }
            for (column, value) in self.measures.iter_mut().zip(row.measures) {
                column.push(value);
            }
            self.panes.push(pane.as_str());
            self.offsets_first.push(row.offsets.first);
            self.offsets_next.push(row.offsets.next);
        }
    }

    /// Finishes all rows, in the columns of the table.
    pub fn finish(self) -> RecordBatch {
        let rows = self.windows.len();
        let windowing = self.parameters.windowing;
        let times = |millis: &dyn Fn(Window) -> i64| -> ArrayRef {
            let micros = self.windows.iter().map(|window| millis(*window) * MICROS_PER_MILLI);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
        };
        let hours = || self.windows.iter().map(|window| window.hour());
        let days =
            hours().map(|hour| i32::try_from(hour.div_euclid(HOURS_PER_DAY)).expect("event times end with 9999"));
        let hours_of_day = hours().map(|hour| hour.rem_euclid(HOURS_PER_DAY) as i32);
        let mut columns: Vec<ArrayRef> = vec![times(&Window::start_ms), times(&|window| window.end_ms(windowing))];
        let (dates, hours): (ArrayRef, ArrayRef) =
            (Arc::new(Date32Array::from_iter_values(days)), Arc::new(Int32Array::from_iter_values(hours_of_day)));
        columns.extend(self.dimensions.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef));
        // Those that the table has, and no others: its columns are only ever added by `clicklake upgrade`.
        let measures = self.parameters.measures.iter().zip(self.measures);
        let measures = measures.map(|(measure, column)| (measure, Arc::new(Int64Array::from(column)) as ArrayRef));
        let (first, added): (Vec<_>, Vec<_>) = measures.partition(|(measure, _)| !measure.is_added());
        columns.extend(first.into_iter().map(|(_, column)| column));
        columns.push(Arc::new(StringArray::from(self.panes)));
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.partition.topic, rows))));
        columns.push(Arc::new(Int32Array::from_value(self.partition.partition, rows)));
        columns.push(Arc::new(Int64Array::from(self.offsets_first)));
        columns.push(Arc::new(Int64Array::from(self.offsets_next)));
        columns.extend([dates, hours]);
        columns.extend(added.into_iter().map(|(_, column)| column));
        RecordBatch::try_new(self.parameters.schema(Table::ClicksMinute), columns)
            .expect("the columns are the table's, in its order")
    }
}
