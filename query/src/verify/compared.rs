//! Compares two sides of sums as they stream by, each of one window and its dimensions: counts those that differ, and
//! keeps the first of them.
//!
//! Whatever a lake holds, memory is bounded here: the statement that adds up spills to disk beyond its memory, and no
//! more differences are kept than anyone reads.

use std::collections::BTreeMap;

use datafusion::prelude::SessionContext;
use futures::StreamExt;
use lake_schemas::exact::exact;
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::{EventTime, Verdict, Windowing};

use super::keys::{Key, MeasureSums, keys_of, sums_of};
use crate::error::QueryError;

/// Greatest number of differences that are kept: each is some hundred bytes, and nobody reads more of them.
pub(super) const KEPT_MAX: usize = 1_000;

/// Number of minutes that are kept together, each a bit.
const TOGETHER: i64 = u64::BITS as i64;

/// Sums of one key that differ.
pub(super) struct Differing {
    pub key: Key,
    pub recounted: MeasureSums,
    pub found: MeasureSums,
}

/// Result of a comparison.
#[derive(Default)]
pub(super) struct Compared {
    /// Windows that were recounted.
    pub windows: Minutes,
    /// Number of clicks in these windows.
    pub clicks: i128,
    /// Number of sums that differ.
    pub differing: usize,
    /// The first of these, by key.
    first: BTreeMap<Key, (MeasureSums, MeasureSums)>,
}

impl Compared {
    /// Returns the first sums that differ, in the order of their windows.
    pub fn first(self) -> Vec<Differing> {
        self.first.into_iter().map(|(key, (recounted, found))| Differing { key, recounted, found }).collect()
    }

    /// Runs a statement of [`both_sides`], and compares the windows for which `is_asked_for` holds.
    pub async fn take(
        &mut self,
        context: &SessionContext,
        sql: &str,
        dimensions: usize,
        is_asked_for: impl Fn(EventTime) -> bool,
    ) -> Result<(), QueryError> {
        let mut rows = context.sql(sql).await?.execute_stream().await?;
        let measures = 1 + dimensions;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let found = sums_of(&batch.columns()[measures..])?;
            let recounted = sums_of(&batch.columns()[measures + MEASURES..])?;
            for ((key, found), recounted) in keys_of(&batch, dimensions).into_iter().zip(found).zip(recounted) {
                if is_asked_for(key.window) {
                    self.compare(key, found, recounted);
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, key: Key, found: MeasureSums, recounted: MeasureSums) {
        if recounted != MeasureSums::default() {
            self.windows.insert(key.window);
            self.clicks += Measure::counting(Verdict::Counted).of(&recounted);
        }
        if found == recounted {
            return;
        }
        self.differing += 1;
        self.first.insert(key, (recounted, found));
        if self.first.len() > KEPT_MAX {
            self.first.pop_last();
        }
    }
}

/// One side of a comparison: rows and their window.
pub(super) struct Side {
    /// Expression of the window of a row.
    pub window: String,
    /// Text behind FROM.
    pub rows: String,
}

/// Builds a statement that puts the sums of found rows beside those of recounted rows: the window, the dimensions, each
/// measure that was found, each that was recounted.
pub(super) fn both_sides(dimensions: &str, found: &Side, recounted: &[Side]) -> String {
    let rows_of = |Side { window, rows }: &Side, is_found: bool| {
        let sums = Measure::ALL.map(|measure| {
            let (found, recounted) = if is_found { (measure.column(), "0") } else { ("0", measure.column()) };
            format!("{} as found_{2}, {} as recounted_{2}", exact(found), exact(recounted), measure.column())
        });
        format!("select {window} as window_start, {dimensions}, {} from {rows}", sums.join(", "))
    };
    let rows = std::iter::once(rows_of(found, true)).chain(recounted.iter().map(|side| rows_of(side, false)));
    let sums = ["found", "recounted"]
        .map(|side| Measure::ALL.map(|measure| format!("sum({side}_{0}) as {side}_{0}", measure.column())).join(", "));
    format!(
        "select window_start, {dimensions}, {} from ({}) both_sides group by window_start, {dimensions}",
        sums.join(", "),
        rows.collect::<Vec<_>>().join(" union all "),
    )
}

/// Set of minutes, the windows of a table, with a bit for each: a year of them takes some hundred kilobytes.
#[derive(Default)]
pub(super) struct Minutes(BTreeMap<i64, u64>);

impl Minutes {
    fn insert(&mut self, start: EventTime) {
        let minute = start.millis().div_euclid(Windowing::default().width_ms());
        *self.0.entry(minute.div_euclid(TOGETHER)).or_default() |= 1 << minute.rem_euclid(TOGETHER);
    }

    /// Adds the minutes of another set.
    pub fn extend(&mut self, others: &Self) {
        for (together, minutes) in &others.0 {
            *self.0.entry(*together).or_default() |= minutes;
        }
    }

    /// Counts the minutes.
    pub fn len(&self) -> usize {
        self.0.values().map(|minutes| minutes.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::time::MILLIS_PER_MINUTE;

    use super::*;

    fn key(minute: i64) -> Key {
        let window = EventTime::from_millis(minute * MILLIS_PER_MINUTE).expect("a time");
        Key { window, dimensions: vec![Some("a".to_owned())] }
    }

    #[test]
    fn the_first_differences_are_kept_and_all_are_counted() {
        let (mut compared, many) = (Compared::default(), KEPT_MAX as i64 + 5);
        let click = Measure::ALL.map(|measure| i128::from(measure == Measure::counting(Verdict::Counted)));
        for minute in (0..many).rev() {
            compared.compare(key(minute), MeasureSums::default(), click);
        }
        compared.compare(key(many), [1; MEASURES], [1; MEASURES]);
        assert_eq!((compared.differing, compared.clicks), (KEPT_MAX + 5, i128::from(many) + 1));
        assert_eq!(compared.windows.len(), KEPT_MAX + 6);
        let first = compared.first();
        assert_eq!((first.len(), first[0].key.clone()), (KEPT_MAX, key(0)));
        assert!(first.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn minutes_are_counted_once_also_before_1970() {
        let (mut all, mut others) = (Minutes::default(), Minutes::default());
        for minute in [-65, -1, 0, 63, 64, 63] {
            all.insert(key(minute).window);
        }
        others.insert(key(-1).window);
        others.insert(key(7).window);
        all.extend(&others);
        assert_eq!(all.len(), 6);
    }
}
