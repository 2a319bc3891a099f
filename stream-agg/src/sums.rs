//! Sums of one window, by dimensions.
//!
//! The values of dimensions are stored once, one after the other, in one buffer, and each row knows the range of its
//! own. A batch brings many events of few rows, so finding a row must be fast: one hash, one comparison, and no copy.
//!
//! No sum wraps around. Rows of a window always add, so an event that would take a sum beyond 64 bits begins a further
//! row with the same dimensions: the job goes on, for this ad and for all others.

use hashbrown::HashTable;
use lake_schemas::OffsetRange;
use lake_schemas::measure::MEASURES;
use xxhash_rust::xxh3::xxh3_64;

/// Mark of sums that no change was noted of. With this mark, [`WindowSums::add`] notes none.
pub const UNMARKED: u32 = 0;

/// Length that stands for a null value.
const NULL: u32 = u32::MAX;

/// Dimensions of an event, encoded as bytes: each value follows its length.
#[derive(Default)]
pub struct Key {
    bytes: Vec<u8>,
}

impl Key {
    /// Sets the key to these values, in their order.
    #[inline]
    pub fn set<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        self.bytes.clear();
        for value in values {
            let length = value.map_or(NULL, |value| u32::try_from(value.len()).expect("a value fits in a message"));
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
    }
}

/// Amounts that one event adds to its window.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// Measures that it adds to, by their place in [the list](lake_schemas::Measure::ALL), each once, and the amounts.
    pub amounts: &'a [(usize, i64)],
    /// Offset of the event.
    pub offset: i64,
}

/// Sums of one combination of dimensions in one window.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Range of its dimensions in the buffer of keys.
    key: (usize, usize),
    /// Sums by measure, in the order of [the list](lake_schemas::Measure::ALL).
    pub measures: [i64; MEASURES],
    /// Offsets from the first to behind the last event that contributed.
    pub offsets: OffsetRange,
    /// Mark of the last change.
    mark: u32,
}

impl Sums {
    /// Makes the sums of a single event.
    fn of(key: (usize, usize), event: Added<'_>) -> Self {
        let offsets = OffsetRange { first: event.offset, next: event.offset + 1 };
        let mut sums = Self { key, measures: [0; MEASURES], offsets, mark: UNMARKED };
        assert!(sums.add(event), "one event fits");
        sums
    }

    /// Adds an event. Returns `false`, and adds nothing, if a sum would not fit into 64 bits.
    #[must_use]
    fn add(&mut self, Added { amounts, offset }: Added<'_>) -> bool {
        let mut overflows = false;
        for &(place, amount) in amounts {
            let (sum, has_overflowed) = self.measures[place].overflowing_add(amount);
            self.measures[place] = sum;
            overflows |= has_overflowed;
        }
        // Rare, so taking it back is cheaper than checking each event beforehand.
        if overflows {
            for &(place, amount) in amounts {
                self.measures[place] = self.measures[place].wrapping_sub(amount);
            }
            return false;
        }
        self.offsets.first = self.offsets.first.min(offset);
        self.offsets.next = self.offsets.next.max(offset + 1);
        true
    }

    /// Marks a change, and returns whether it is the first one of its mark.
    fn changes_first(&mut self, mark: u32) -> bool {
        std::mem::replace(&mut self.mark, mark) != mark
    }
}

/// Sums of one window, for all combinations of dimensions.
///
/// A row is named by its number, also outside of this crate: see [cells](lake_schemas::chain::cells). So rows are only
/// ever added, at the end, and never move.
#[derive(Default)]
pub struct WindowSums {
    keys: Vec<u8>,
    rows: Vec<Sums>,
    index: HashTable<u32>,
    /// Numbers of the rows that changed, each once.
    changed: Vec<u32>,
}

impl WindowSums {
    /// Adds an event to the row of a key: to the last one, if there are several. Notes that the row has changed, unless
    /// its last change had the same mark.
    pub fn add(&mut self, key: &Key, event: Added<'_>, mark: u32) {
        let Self { keys, rows, index, changed } = self;
        let next = u32::try_from(rows.len()).expect("a window has fewer rows than memory has bytes");
        let hash = xxh3_64(&key.bytes);
        let row = match index.find_mut(hash, |&row| key_of(keys, &rows[row as usize]) == key.bytes) {
            Some(row) => {
                let sums = &mut rows[*row as usize];
                if sums.add(event) {
                    if sums.changes_first(mark) {
                        changed.push(*row);
                    }
                    return;
                }
                // A sum would overflow: a further row with the same key begins, and takes over in the index.
                let further = Sums::of(sums.key, event);
                *row = next;
                rows.push(further);
                next
            }
            None => {
                let first = keys.len();
                keys.extend_from_slice(&key.bytes);
                rows.push(Sums::of((first, keys.len()), event));
                index.insert_unique(hash, next, |&row| xxh3_64(key_of(keys, &rows[row as usize])));
                next
            }
        };
        if rows[row as usize].changes_first(mark) {
            changed.push(row);
        }
    }

    /// Yields all rows, with the values of their dimensions.
    pub fn rows(&self) -> impl Iterator<Item = (Values<'_>, &Sums)> {
        self.rows.iter().map(|row| (Values(key_of(&self.keys, row)), row))
    }

    /// Yields the rows that changed since [`WindowSums::forget_changes`], each once, with their numbers and the values
    /// of their dimensions.
    pub fn changed(&self) -> impl Iterator<Item = (u32, Values<'_>, &Sums)> {
        self.changed.iter().map(|&number| {
            let row = &self.rows[number as usize];
            (number, Values(key_of(&self.keys, row)), row)
        })
    }

    /// Forgets which rows have changed. Events that come later have another mark.
    pub fn forget_changes(&mut self) {
        self.changed.clear();
    }

    /// Returns the memory that the sums take, in bytes.
    pub fn bytes(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Sums>() + self.changed.capacity() * size_of::<u32>();
        self.keys.capacity() + rows + self.index.allocation_size()
    }
}

fn key_of<'a>(keys: &'a [u8], row: &Sums) -> &'a [u8] {
    &keys[row.key.0..row.key.1]
}

/// Values of a row's dimensions, in their order.
pub struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Option<&'a str>> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == NULL {
            self.0 = rest;
            return Some(None);
        }
        let (value, rest) = rest.split_at(length as usize);
        self.0 = rest;
        Some(Some(std::str::from_utf8(value).expect("it was text when it was put here")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Returns what a click adds to the measures: one to the first, and its cost to the second.
    fn click(cost_micros: i64) -> [(usize, i64); 2] {
        [(0, 1), (1, cost_micros)]
    }

    /// Returns the next pseudo-random number; the sequence is the same in each run.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 16
    }

    /// Whatever the costs are, the rows of a key add up to exactly what its events do, each event is in one row, and a
    /// further row begins only where the one before it is full.
    #[test]
    fn a_sum_beyond_64_bits_goes_on_in_a_further_row() {
        for seed in 0..500_u64 {
            let mut state = seed;
            let (mut sums, mut key) = (WindowSums::default(), Key::default());
            let mut expected: BTreeMap<String, (i128, i64)> = BTreeMap::new();
            for offset in 0..200 {
                let ad = format!("ad-{}", next(&mut state) % 3);
                let cost = (next(&mut state) << 16).cast_signed().unsigned_abs() >> (next(&mut state) % 40);
                let cost_micros = i64::try_from(cost).unwrap_or(i64::MAX);
                key.set([Some(ad.as_str()), None].into_iter());
                sums.add(&key, Added { amounts: &click(cost_micros), offset }, UNMARKED);
                let (cost, clicks) = expected.entry(ad).or_default();
                (*cost, *clicks) = (*cost + i128::from(cost_micros), *clicks + 1);
            }
            let mut found: BTreeMap<String, (i128, i64)> = BTreeMap::new();
            let mut last: BTreeMap<String, &Sums> = BTreeMap::new();
            for (values, row) in sums.rows() {
                let ad = values.flatten().collect::<String>();
                let (cost, clicks) = found.entry(ad.clone()).or_default();
                *cost += i128::from(row.measures[1]);
                *clicks += row.measures[0];
                if let Some(before) = last.insert(ad, row) {
                    assert!(before.offsets.next <= row.offsets.first, "seed {seed}: an event is in two rows");
                    let both = before.measures[1].checked_add(row.measures[1]);
                    assert_eq!(both, None, "seed {seed}: two rows, where one would do");
                }
            }
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    #[test]
    fn two_clicks_at_the_limit_are_two_rows_and_other_ads_one_each() {
        let (mut sums, mut key) = (WindowSums::default(), Key::default());
        for (offset, ad, cost_micros) in [(0, "a", i64::MAX), (1, "b", 7), (2, "a", i64::MAX), (3, "b", 8)] {
            key.set([Some(ad)].into_iter());
            sums.add(&key, Added { amounts: &click(cost_micros), offset }, UNMARKED);
        }
        let row = |row: &Sums| (row.measures[0], row.measures[1], row.offsets.first);
        let rows: Vec<_> = sums.rows().map(|(_, sums)| row(sums)).collect();
        assert_eq!(rows, [(1, i64::MAX, 0), (2, 15, 1), (1, i64::MAX, 2)]);
    }

    #[test]
    fn rows_that_change_are_noted_once_a_mark_under_a_number_that_stays() {
        let (mut sums, mut key) = (WindowSums::default(), Key::default());
        let mut add = |sums: &mut WindowSums, ad: &str, cost_micros, mark| {
            key.set([Some(ad)].into_iter());
            sums.add(&key, Added { amounts: &click(cost_micros), offset: 0 }, mark);
        };
        let changed = |sums: &WindowSums| sums.changed().map(|(number, ..)| number).collect::<Vec<_>>();
        add(&mut sums, "a", 1, UNMARKED);
        assert!(changed(&sums).is_empty(), "nobody asks");
        for ad in ["b", "a", "b"] {
            add(&mut sums, ad, 1, 1);
        }
        assert_eq!(changed(&sums), [1, 0]);
        sums.forget_changes();
        assert!(changed(&sums).is_empty());
        add(&mut sums, "a", i64::MAX - 1, 2);
        add(&mut sums, "a", 1, 2);
        assert_eq!(changed(&sums), [2], "the row that is full has not changed");
        let costs: Vec<_> = sums.rows().map(|(_, row)| row.measures[1]).collect();
        assert_eq!(costs, [2, 2, i64::MAX], "no row has moved");
    }
}
