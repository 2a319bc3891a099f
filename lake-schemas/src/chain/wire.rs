//! The bytes of a set of frames: one line of JSON, then its batches as Arrow IPC streams.
//!
//! ```text
//!   {"incarnation":…,"number":…,"chains":[…],"frames":[…],"batches":[lengths in bytes]}\n
//!   stream stream …
//! ```
//!
//! Batches of the same columns are one stream, because a set often has a few cells of each of many partitions. A frame
//! says which stream its rows are in, and how many; within a stream they are in the order of the frames.
//!
//! Both ends are of the same version: whatever this version does not know is refused. The bytes are no format that
//! others may rely on, and nothing is kept in it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use super::frame::{ChainKey, Frame, FrameSet};
use crate::position::TopicPartition;
use crate::stand::Stand;
use crate::table::Table;

/// Largest set, in bytes. The largest that is sent is the state of a process: 200,000 open cells are some 20 MiB, and
/// the steps of a minute as much as a minute's commits. What is far larger is damaged, and must not take all memory.
pub const SET_BYTES_MAX: usize = 1 << 30;

/// A set that cannot be sent, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the live feed {0}; see that both ends are of the same version of clicklake")]
pub struct WireError(String);

impl From<ArrowError> for WireError {
    fn from(error: ArrowError) -> Self {
        Self(format!("has rows that cannot be read or written: {error}"))
    }
}

/// First line of a set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Incarnation in hexadecimal digits, because numbers of JSON are smaller.
    incarnation: String,
    number: u64,
    chains: Vec<KeyOnWire>,
    frames: Vec<FrameOnWire>,
    /// Length of each stream, in bytes.
    batches: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyOnWire {
    table: String,
    topic: String,
    partition: i32,
}

/// A frame, whose chain is a place in the list of chains.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FrameOnWire {
    Begin {
        chain: usize,
        table_id: String,
        spec: String,
        #[serde(with = "StandOnWire")]
        at: Stand,
        next: i64,
        cells: RowsOnWire,
    },
    Took {
        chain: usize,
        next: i64,
        cells: RowsOnWire,
    },
    Handed {
        chain: usize,
        #[serde(with = "StandOnWire")]
        from: Stand,
        #[serde(with = "StandOnWire")]
        to: Stand,
        rows: RowsOnWire,
    },
    Committed {
        chain: usize,
        #[serde(with = "StandOnWire")]
        to: Stand,
    },
    Forget {
        chain: usize,
        #[serde(with = "StandOnWire")]
        to: Stand,
    },
    Release {
        chain: usize,
    },
}

/// Rows of a frame: the place of their stream, and their number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsOnWire {
    batch: usize,
    rows: usize,
}

/// A stand as an object: what it does not record is left out.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Stand", deny_unknown_fields)]
struct StandOnWire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drained: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restore: Option<i64>,
}

/// Returns the bytes of a set. Refuses one that [no reader](SetReader) would take.
pub fn encode(set: &FrameSet) -> Result<Vec<u8>, WireError> {
    let (mut chains, mut batches) = (Chains::default(), Batches::default());
    let frames = set.frames.iter().map(|frame| {
        let chain = chains.place_of(frame.key());
        match frame {
            Frame::Begin { table_id, spec, at, next, cells, .. } => {
                let (table_id, spec) = (table_id.clone(), spec.clone());
                FrameOnWire::Begin { chain, table_id, spec, at: *at, next: *next, cells: batches.add(cells) }
            }
            Frame::Took { next, cells, .. } => FrameOnWire::Took { chain, next: *next, cells: batches.add(cells) },
            Frame::Handed { from, to, rows, .. } => {
                FrameOnWire::Handed { chain, from: *from, to: *to, rows: batches.add(rows) }
            }
            Frame::Committed { to, .. } => FrameOnWire::Committed { chain, to: *to },
            Frame::Forget { to, .. } => FrameOnWire::Forget { chain, to: *to },
            Frame::Release { .. } => FrameOnWire::Release { chain },
        }
    });
    let frames: Vec<_> = frames.collect();
    let streams = batches.0.iter().map(|(schema, batches)| stream_of(schema, batches));
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    let header = Header {
        incarnation: format!("{:032x}", set.incarnation),
        number: set.number,
        chains: chains.keys,
        frames,
        batches: streams.iter().map(Vec::len).collect(),
    };
    let mut bytes = serde_json::to_vec(&header).expect("texts and whole numbers are JSON");
    bytes.push(b'\n');
    streams.iter().for_each(|stream| bytes.extend_from_slice(stream));
    if bytes.len() > SET_BYTES_MAX { Err(too_large()) } else { Ok(bytes) }
}

/// Chains that a set tells of, each once.
#[derive(Default)]
struct Chains<'a> {
    keys: Vec<KeyOnWire>,
    places: BTreeMap<&'a ChainKey, usize>,
}

impl<'a> Chains<'a> {
    fn place_of(&mut self, key: &'a ChainKey) -> usize {
        *self.places.entry(key).or_insert_with(|| {
            let TopicPartition { topic, partition } = key.partition.clone();
            self.keys.push(KeyOnWire { table: key.table.to_string(), topic, partition });
            self.keys.len() - 1
        })
    }
}

/// Batches of a set by their columns.
#[derive(Default)]
struct Batches<'a>(Vec<(SchemaRef, Vec<&'a RecordBatch>)>);

impl<'a> Batches<'a> {
    fn add(&mut self, batch: &'a RecordBatch) -> RowsOnWire {
        // There are two sorts of columns for each table: those of cells, and those of the table.
        let known = self.0.iter().position(|(schema, _)| schema == batch.schema_ref());
        let place = known.unwrap_or_else(|| {
            self.0.push((batch.schema(), Vec::new()));
            self.0.len() - 1
        });
        self.0[place].1.push(batch);
        RowsOnWire { batch: place, rows: batch.num_rows() }
    }
}

/// Writes batches of the same columns as one.
fn stream_of(schema: &SchemaRef, batches: &[&RecordBatch]) -> Result<Vec<u8>, WireError> {
    let batch = concat_batches(schema, batches.iter().copied())?;
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn too_large() -> WireError {
    WireError(format!("has a set of more than {SET_BYTES_MAX} bytes"))
}

/// Reader of sets out of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct SetReader {
    bytes: Vec<u8>,
    /// Number of the bytes that are known to have no end of a line.
    searched: usize,
    /// First line of the set whose streams are not all there yet.
    header: Option<Header>,
}

impl SetReader {
    /// Adds the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Takes the next set, if all of it is there. After an error nothing more can be read.
    pub fn take(&mut self) -> Result<Option<FrameSet>, WireError> {
        let header = match self.header.take() {
            Some(header) => header,
            None => match self.take_line()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let length = header.batches.iter().try_fold(0_usize, |sum, length| sum.checked_add(*length));
        let length = length.filter(|length| *length <= SET_BYTES_MAX).ok_or_else(too_large)?;
        if self.bytes.len() < length {
            self.header = Some(header);
            return Ok(None);
        }
        let set = decoded(header, &self.bytes[..length]);
        self.bytes.drain(..length);
        set.map(Some)
    }

    fn take_line(&mut self) -> Result<Option<Header>, WireError> {
        let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return if self.searched > SET_BYTES_MAX { Err(too_large()) } else { Ok(None) };
        };
        let end = self.searched + end;
        let header = serde_json::from_slice(&self.bytes[..end]);
        self.bytes.drain(..=end);
        self.searched = 0;
        header.map(Some).map_err(|error| WireError(format!("has a line that cannot be read: {error}")))
    }
}

/// Makes a set of its first line and its streams, which have together the lengths that the line says.
fn decoded(header: Header, streams: &[u8]) -> Result<FrameSet, WireError> {
    let incarnation = u128::from_str_radix(&header.incarnation, 16);
    let incarnation = incarnation.map_err(|error| WireError(format!("is of no incarnation: {error}")))?;
    let chains = header.chains.into_iter().map(|KeyOnWire { table, topic, partition }| {
        let table = table.parse::<Table>();
        let table = table.map_err(|why| WireError(format!("names a table that is none: {why}")))?;
        Ok(ChainKey { table, partition: TopicPartition { topic, partition } })
    });
    let chains = chains.collect::<Result<Vec<_>, WireError>>()?;
    let mut rows = Rows::of(&header.batches, streams)?;
    let key = |chain: usize| {
        chains.get(chain).cloned().ok_or_else(|| WireError(format!("tells of chain {chain}, which it does not name")))
    };
    let frames = header.frames.into_iter().map(|frame| {
        Ok(match frame {
            FrameOnWire::Begin { chain, table_id, spec, at, next, cells } => {
                Frame::Begin { key: key(chain)?, table_id, spec, at, next, cells: rows.take(cells)? }
            }
            FrameOnWire::Took { chain, next, cells } => {
                Frame::Took { key: key(chain)?, next, cells: rows.take(cells)? }
            }
            FrameOnWire::Handed { chain, from, to, rows: handed } => {
                Frame::Handed { key: key(chain)?, from, to, rows: rows.take(handed)? }
            }
            FrameOnWire::Committed { chain, to } => Frame::Committed { key: key(chain)?, to },
            FrameOnWire::Forget { chain, to } => Frame::Forget { key: key(chain)?, to },
            FrameOnWire::Release { chain } => Frame::Release { key: key(chain)? },
        })
    });
    let frames = frames.collect::<Result<Vec<_>, WireError>>()?;
    Ok(FrameSet { incarnation, number: header.number, frames })
}

/// Batches of a set, each with the number of its rows that are taken.
struct Rows(Vec<(RecordBatch, usize)>);

impl Rows {
    fn of(lengths: &[usize], mut streams: &[u8]) -> Result<Self, WireError> {
        let batches = lengths.iter().map(|length| {
            let (stream, rest) = streams.split_at(*length);
            streams = rest;
            let batch = StreamReader::try_new(stream, None)?.next();
            Ok((batch.ok_or_else(|| WireError("has a stream without a batch".to_owned()))??, 0))
        });
        Ok(Self(batches.collect::<Result<_, WireError>>()?))
    }

    /// Takes the next rows of a batch.
    fn take(&mut self, RowsOnWire { batch, rows }: RowsOnWire) -> Result<RecordBatch, WireError> {
        let found = self.0.get_mut(batch).filter(|(batch, taken)| rows <= batch.num_rows() - taken);
        let (batch, taken) = found.ok_or_else(|| WireError("tells of rows that it does not have".to_owned()))?;
        let slice = batch.slice(*taken, rows);
        *taken += rows;
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn key(partition: i32) -> ChainKey {
        ChainKey { table: Table::ClicksMinute, partition: TopicPartition::new("clicks.eu-1", partition) }
    }

    fn batch(values: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("number", column)]).expect("a batch")
    }

    fn texts(values: &[&str]) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        RecordBatch::try_from_iter([("text", column)]).expect("a batch")
    }

    /// Makes a set with each kind of frame.
    fn set() -> FrameSet {
        let to = Stand { cut: Some(7), watermark_ms: Some(-5), drained: Some(0), ..Stand::default() };
        let frames = vec![
            Frame::Release { key: key(1) },
            Frame::Begin {
                key: key(2),
                table_id: "an id".to_owned(),
                spec: "{\"a\":\"line\\n\"}".to_owned(),
                at: Stand::default(),
                next: i64::MAX,
                cells: batch(&[1, 2]),
            },
            Frame::Took { key: key(1), next: 3, cells: batch(&[]) },
            Frame::Handed { key: key(2), from: Stand { restore: Some(1), ..to }, to, rows: texts(&["a", "b\nc"]) },
            Frame::Took { key: key(2), next: 4, cells: batch(&[3]) },
            Frame::Committed { key: key(2), to },
            Frame::Forget { key: key(2), to: Stand { read: Some(9), ..to } },
        ];
        FrameSet { incarnation: u128::MAX - 1, number: u64::MAX, frames }
    }

    #[test]
    fn sets_come_back_whatever_the_pieces_are() {
        let empty = FrameSet { incarnation: 0, number: 1, frames: Vec::new() };
        let sets = [set(), empty, set()];
        let bytes: Vec<u8> = sets.iter().flat_map(|set| encode(set).expect("a small set")).collect();
        for length in [1, 7, 100, bytes.len()] {
            let (mut reader, mut found) = (SetReader::default(), Vec::new());
            for piece in bytes.chunks(length) {
                reader.push(piece);
                while let Some(set) = reader.take().expect("sets") {
                    found.push(set);
                }
            }
            assert_eq!(found, sets, "in pieces of {length}");
        }
    }

    /// Reads a set whose first line is changed.
    fn read(from: &str, to: &str) -> Result<Option<FrameSet>, WireError> {
        let bytes = encode(&set()).expect("a small set");
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = std::str::from_utf8(&bytes[..end]).expect("JSON");
        assert!(line.contains(from), "{line}");
        let mut reader = SetReader::default();
        reader.push(line.replacen(from, to, 1).as_bytes());
        reader.push(&bytes[end..]);
        reader.take()
    }

    #[test]
    fn what_this_version_does_not_write_is_refused() {
        assert_eq!(read("\"number\"", "\"number\""), Ok(Some(set())));
        let changes = [
            ("\"number\"", "\"numbers\""),
            ("\"committed\"", "\"uncommitted\""),
            ("\"cut\":7", "\"cut\":7,\"restated\":1"),
            ("\"chain\":1", "\"chain\":2"),
            ("\"rows\":2", "\"rows\":4"),
            ("\"batch\":1", "\"batch\":2"),
            ("\"table\":\"", "\"table\":\"9"),
            ("\"incarnation\":\"", "\"incarnation\":\"x"),
        ];
        for (from, to) in changes {
            let error = read(from, to).expect_err(to);
            assert!(error.to_string().contains("same version"), "{error}");
        }
    }

    #[test]
    fn a_set_that_is_said_to_be_larger_than_any_is_refused_before_it_comes() {
        let line = |length: usize| {
            format!("{{\"incarnation\":\"0\",\"number\":1,\"chains\":[],\"frames\":[],\"batches\":[{length}]}}\n")
        };
        let mut reader = SetReader::default();
        reader.push(line(SET_BYTES_MAX).as_bytes());
        assert_eq!(reader.take(), Ok(None), "it is waited for");
        reader.push(b"{");
        assert_eq!(reader.take(), Ok(None));
        for length in [SET_BYTES_MAX + 1, usize::MAX] {
            let mut reader = SetReader::default();
            reader.push(line(length).as_bytes());
            assert_eq!(reader.take(), Err(too_large()));
        }
    }
}
