//! The folders of a table: each holds the files of one stretch of time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array};
use chrono::NaiveDate;

use crate::table::{Table, column};
use crate::time::{HOURS_PER_DAY, MILLIS_PER_HOUR};

/// A folder of a table, by the start of its stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Folder {
    table: Table,
    /// Date of the folder, in days since 1970.
    date: i32,
    /// Hour of the day; 0 in tables whose folders are no hours.
    hour: i32,
}

impl Folder {
    /// Returns the folder for rows of this time, in milliseconds since 1970.
    pub fn at(table: Table, time_ms: i64) -> Self {
        let hours = table.folder_width().start_ms(time_ms).div_euclid(MILLIS_PER_HOUR);
        let (date, hour) = (hours.div_euclid(HOURS_PER_DAY), hours.rem_euclid(HOURS_PER_DAY));
        let number = |value: i64| i32::try_from(value).expect("event times end with the year 9999");
        Self { table, date: number(date), hour: number(hour) }
    }

    /// Returns the folder with these values of the table's partition columns, as Delta's log gives them for a file;
    /// `None` if clicklake has no such folder.
    pub fn named(table: Table, values: &HashMap<String, Option<String>>) -> Option<Self> {
        let mut folder = Self { table, date: 0, hour: 0 };
        for &name in table.partition_columns() {
            let value = values.get(name)?.as_deref()?;
            match name {
                column::HOUR => folder.hour = value.parse().ok()?,
                _ => folder.date = value.parse::<NaiveDate>().ok()?.to_epoch_days(),
            }
        }
        Some(folder)
    }

    /// Returns the start of the folder's time, in milliseconds since 1970.
    pub fn start_ms(self) -> i64 {
        (i64::from(self.date) * HOURS_PER_DAY + i64::from(self.hour)) * MILLIS_PER_HOUR
    }

    /// Returns the end of the folder's time, in milliseconds since 1970.
    pub fn end_ms(self) -> i64 {
        self.table.folder_width().end_ms(self.start_ms())
    }

    /// Returns one of the table's partition columns, with `rows` rows of this folder; `None` if the name is none of
    /// them.
    pub fn column(self, name: &str, rows: usize) -> Option<ArrayRef> {
        match name {
            _ if !self.table.partition_columns().contains(&name) => None,
            column::HOUR => Some(Arc::new(Int32Array::from_value(self.hour, rows))),
            _ => Some(Arc::new(Date32Array::from_value(self.date, rows))),
        }
    }
}
