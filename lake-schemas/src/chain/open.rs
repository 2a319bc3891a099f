//! The open part of a chain: its cells, found by window, by number and by ad.
//!
//! A job sends new sums of the cells that changed, so taking them in costs by their number, and not by how many cells
//! are open. There are few windows at a time, each with its own index by ad: a window that leaves takes its index with
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType, UInt32Type};

use super::cells;
use crate::measure::MEASURES;
use crate::minute::Parameters;
use crate::table::{column, timestamp};
use crate::time::MICROS_PER_MILLI;

/// Sums of one combination of dimensions in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Values of the dimensions, in the order of [`Parameters::dimension_columns`]: the ad is the first.
    pub dimensions: Box<[Option<Arc<str>>]>,
    /// Sums by measure, in the order of [`crate::Measure::ALL`]: 0 for those that the table lacks.
    pub measures: [i64; MEASURES],
}

/// All that an operator holds and has not handed over.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// Columns of its [cells](super::cells).
    schema: SchemaRef,
    /// Number of the dimensions, and of the measures that the table has.
    dimensions: usize,
    measures: usize,
    /// Windows by their start, in milliseconds.
    windows: BTreeMap<i64, OpenWindow>,
}

/// Cells of one window.
#[derive(Clone, Debug, Default)]
struct OpenWindow {
    /// Cells by their numbers.
    cells: Vec<Cell>,
    of_ad: BTreeMap<Arc<str>, Vec<u32>>,
}

impl OpenPart {
    /// Creates one without cells, for a table with these parameters.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            schema: cells::schema(parameters),
            dimensions: parameters.dimension_columns().len(),
            measures: parameters.measures.iter().count(),
            windows: BTreeMap::new(),
        }
    }

    /// Yields its cells, each with the start of its window in milliseconds and its number: those of windows that start
    /// in a range, and of these ads if any are given. An ad is looked up, and not searched for.
    pub fn cells<'a>(
        &'a self,
        starts_ms: Range<i64>,
        ads: Option<&'a [&'a str]>,
    ) -> impl Iterator<Item = (i64, u32, &'a Cell)> {
        // A range whose end lies before its start has no windows, and must not panic.
        let windows = self.windows.iter().filter(move |(start_ms, _)| starts_ms.contains(*start_ms));
        windows.flat_map(move |(&start_ms, window)| {
            let cells = window.numbers(ads).into_iter();
            cells.map(move |number| (start_ms, number, &window.cells[number as usize]))
        })
    }

    /// Returns the [cells](super::cells) of windows that start in a range, and of these ads if any are given, as a
    /// batch.
    pub fn rows(&self, starts_ms: Range<i64>, ads: Option<&[&str]>) -> RecordBatch {
        let found: Vec<_> = self.cells(starts_ms, ads).collect();
        let starts = found.iter().map(|(start_ms, ..)| start_ms * MICROS_PER_MILLI);
        let starts = TimestampMicrosecondArray::from_iter_values(starts).with_data_type(timestamp());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        columns.extend((0..self.dimensions).map(|at| -> ArrayRef {
            Arc::new(found.iter().map(|(_, _, cell)| cell.dimensions[at].as_deref()).collect::<StringArray>())
        }));
        columns.extend((0..self.measures).map(|at| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(found.iter().map(|(_, _, cell)| cell.measures[at])))
        }));
        columns.push(Arc::new(UInt32Array::from_iter_values(found.iter().map(|(_, number, _)| *number))));
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("the columns of cells, in their order")
    }

    /// Takes in new sums of cells, and cells that are new. Refuses, with a predicate, what no operator can have said.
    pub(super) fn take(&mut self, changed: &RecordBatch) -> Result<(), &'static str> {
        if *changed.schema_ref() != self.schema {
            return Err("has cells of other columns than its spec says");
        }
        let starts = changed.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let dimensions = changed.columns()[1..].iter().take(self.dimensions);
        let dimensions: Vec<_> = dimensions.map(|column| column.as_string::<i32>()).collect();
        let measures = changed.columns()[1 + self.dimensions..].iter().take(self.measures);
        let measures: Vec<_> = measures.map(|column| column.as_primitive::<Int64Type>().values()).collect();
        let numbers = changed.column(1 + self.dimensions + self.measures).as_primitive::<UInt32Type>().values();
        for row in 0..changed.num_rows() {
            let start_ms = starts[row].div_euclid(MICROS_PER_MILLI);
            let window = self.windows.entry(start_ms).or_default();
            let sums = std::array::from_fn(|place| measures.get(place).map_or(0, |sums| sums[row]));
            let number = numbers[row];
            let next = u32::try_from(window.cells.len()).expect("each of them had a number of 32 bits");
            if let Some(cell) = window.cells.get_mut(number as usize) {
                cell.measures = sums;
            } else if number == next {
                let values =
                    dimensions.iter().map(|values| values.is_valid(row).then(|| Arc::<str>::from(values.value(row))));
                window.begin(number, Cell { dimensions: values.collect(), measures: sums });
            } else {
                return Err("has a cell, and not the cells of its window before it");
            }
        }
        Ok(())
    }

    /// Gives up all windows that have a row here. Refuses, with a predicate, rows that are of no window.
    pub(super) fn leave(&mut self, rows: &RecordBatch) -> Result<(), &'static str> {
        let starts = rows.column_by_name(column::WINDOW_START);
        let starts = starts.and_then(|starts| starts.as_primitive_opt::<TimestampMicrosecondType>());
        let starts = starts.ok_or("has a step whose rows have no windows")?;
        let starts: BTreeSet<_> = starts.values().iter().map(|start| start.div_euclid(MICROS_PER_MILLI)).collect();
        for start_ms in starts {
            self.windows.remove(&start_ms);
        }
        Ok(())
    }
}

impl OpenWindow {
    fn begin(&mut self, number: u32, cell: Cell) {
        if let Some(Some(ad)) = cell.dimensions.first() {
            self.of_ad.entry(Arc::clone(ad)).or_default().push(number);
        }
        self.cells.push(cell);
    }

    /// Returns the numbers of its cells, each once, in their order: of these ads, or of all.
    fn numbers(&self, ads: Option<&[&str]>) -> Vec<u32> {
        match ads {
            None => (0..).take(self.cells.len()).collect(),
            Some(ads) => {
                let found: BTreeSet<_> = ads.iter().filter_map(|ad| self.of_ad.get(*ad)).flatten().copied().collect();
                found.into_iter().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Range<i64> = i64::MIN..i64::MAX;

    /// Makes cells: of each the start of its window, its ad, its first measure, and its number.
    fn changed(rows: &[(i64, &str, i64, u32)]) -> RecordBatch {
        let starts = rows.iter().map(|row| row.0 * MICROS_PER_MILLI);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_data_type(timestamp())),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(rows.iter().map(|_| None::<&str>).collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        columns.extend((1..MEASURES).map(|_| -> ArrayRef { Arc::new(Int64Array::from_value(0, rows.len())) }));
        columns.push(Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.3))));
        RecordBatch::try_new(cells::schema(&Parameters::default()), columns).expect("cells")
    }

    fn shown(part: &OpenPart, starts_ms: Range<i64>, ads: Option<&[&str]>) -> Vec<(i64, u32, i64)> {
        part.cells(starts_ms, ads).map(|(start_ms, number, cell)| (start_ms, number, cell.measures[0])).collect()
    }

    #[test]
    fn cells_are_found_by_window_and_by_ad_and_have_their_newest_sums() {
        let mut part = OpenPart::new(&Parameters::default());
        part.take(&changed(&[(0, "a", 1, 0), (60, "b", 2, 0), (0, "b", 3, 1)])).expect("new cells");
        part.take(&changed(&[(0, "b", 7, 1), (0, "b", 4, 2)])).expect("a new sum, and a further cell of one ad");
        assert_eq!(shown(&part, ALL, None), [(0, 0, 1), (0, 1, 7), (0, 2, 4), (60, 0, 2)]);
        assert_eq!(shown(&part, ALL, Some(&["b", "b", "c"])), [(0, 1, 7), (0, 2, 4), (60, 0, 2)]);
        assert_eq!(shown(&part, 1..61, Some(&["b"])), [(60, 0, 2)]);
        let nothing = Range { start: 5, end: 4 };
        assert!(shown(&part, nothing, None).is_empty());
        let mut again = OpenPart::new(&Parameters::default());
        again.take(&part.rows(ALL, None)).expect("they are cells");
        assert_eq!(shown(&again, ALL, None), shown(&part, ALL, None));
    }

    #[test]
    fn a_window_leaves_with_its_index_and_begins_anew() {
        let mut part = OpenPart::new(&Parameters::default());
        part.take(&changed(&[(0, "a", 1, 0), (60, "a", 2, 0)])).expect("new cells");
        part.leave(&changed(&[(0, "a", 1, 0)])).expect("rows of windows");
        assert_eq!(shown(&part, ALL, Some(&["a"])), [(60, 0, 2)]);
        part.take(&changed(&[(0, "b", 5, 0)])).expect("numbers begin again");
        assert_eq!(shown(&part, ALL, None), [(0, 0, 5), (60, 0, 2)]);
    }

    #[test]
    fn what_an_operator_cannot_have_said_is_refused() {
        let mut part = OpenPart::new(&Parameters::default());
        assert!(part.take(&changed(&[(0, "a", 1, 1)])).is_err(), "the cell before it is missing");
        let rows = changed(&[(0, "a", 1, 0)]);
        let fewer = rows.project(&[0, 1]).expect("two of its columns");
        assert!(part.take(&fewer).is_err());
        assert!(part.leave(&rows.project(&[1]).expect("a column")).is_err());
    }
}
