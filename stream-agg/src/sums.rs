//! The sums of one window, by dimensions.
//!
//! Values of dimensions stand once, one after the other, in one buffer; a row knows where its own begin. A batch brings
//! many events of few rows, so finding a row is what must be fast: one hash, one comparison, and nothing is copied.

use hashbrown::HashTable;
use lake_schemas::OffsetRange;
use lake_schemas::minute::Measure;
use xxhash_rust::xxh3::xxh3_64;

/// The length that stands for no value.
const NULL: u32 = u32::MAX;

/// The dimensions of an event: each value behind its length.
#[derive(Default)]
pub struct Key {
    bytes: Vec<u8>,
}

impl Key {
    /// Makes it the key of these values, in their order.
    pub fn set<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        self.bytes.clear();
        for value in values {
            let length = value.map_or(NULL, |value| u32::try_from(value.len()).expect("a value fits in a message"));
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
    }
}

/// What is known of one combination of dimensions in one window.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Where its dimensions stand.
    key: (usize, usize),
    /// By measure, in the order of [`Measure::ALL`].
    measures: [i64; Measure::ALL.len()],
    /// From the first to behind the last event that contributed.
    pub offsets: OffsetRange,
}

impl Sums {
    /// Adds to a measure what the event at an offset brings.
    pub fn add(&mut self, measure: Measure, amount: i64, offset: i64) {
        self.measures[measure as usize] += amount;
        self.offsets.first = self.offsets.first.min(offset);
        self.offsets.next = self.offsets.next.max(offset + 1);
    }

    /// A measure.
    pub fn get(&self, measure: Measure) -> i64 {
        self.measures[measure as usize]
    }
}

/// All sums of one window.
#[derive(Default)]
pub struct WindowSums {
    keys: Vec<u8>,
    rows: Vec<Sums>,
    index: HashTable<u32>,
}

impl WindowSums {
    /// The sums of a key; zero if it is new, and the event at `offset` the first.
    pub fn of(&mut self, key: &Key, offset: i64) -> &mut Sums {
        let Self { keys, rows, index } = self;
        let hash = xxh3_64(&key.bytes);
        let found = index.find(hash, |&row| key_of(keys, &rows[row as usize]) == key.bytes);
        let row = found.copied().unwrap_or_else(|| {
            let row = u32::try_from(rows.len()).expect("a window has fewer rows than memory has bytes");
            let first = keys.len();
            keys.extend_from_slice(&key.bytes);
            rows.push(Sums {
                key: (first, keys.len()),
                measures: [0; Measure::ALL.len()],
                offsets: OffsetRange { first: offset, next: offset + 1 },
            });
            index.insert_unique(hash, row, |&row| xxh3_64(key_of(keys, &rows[row as usize])));
            row
        });
        &mut rows[row as usize]
    }

    /// All rows, with the values of their dimensions.
    pub fn rows(&self) -> impl Iterator<Item = (Values<'_>, &Sums)> {
        self.rows.iter().map(|row| (Values(key_of(&self.keys, row)), row))
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.capacity() + self.rows.capacity() * size_of::<Sums>() + self.index.allocation_size()
    }
}

fn key_of<'a>(keys: &'a [u8], row: &Sums) -> &'a [u8] {
    &keys[row.key.0..row.key.1]
}

/// The values of a row's dimensions, in their order.
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
