//! Encodes rows for programs, batch by batch: whatever the size of an answer, only one batch of it is in memory.
//!
//! An answer without rows has the names of the columns in CSV and TSV, and is an empty list in JSON.

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::error::ArrowError;
use arrow::json;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited};
use arrow::util::display::FormatOptions;
use datafusion_cli::print_format::PrintFormat;

use super::writable;

/// Encoder of one answer.
pub(crate) struct Encoder {
    format: PrintFormat,
    /// Whether the names of the columns, or the first row of JSON, have been written.
    has_begun: bool,
}

impl Encoder {
    /// Makes an encoder for one of the formats for programs; any other format is CSV.
    pub fn new(format: PrintFormat) -> Self {
        Self { format, has_begun: false }
    }

    /// Encodes the next rows.
    pub fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self.format {
            PrintFormat::Json => self.list(rows),
            PrintFormat::NdJson => objects::<LineDelimited>(rows),
            PrintFormat::Tsv => self.separated(rows, b'\t'),
            _ => self.separated(rows, b','),
        }
    }

    /// Encodes what follows the last row.
    pub fn end(&self) -> Vec<u8> {
        match (self.format, self.has_begun) {
            (PrintFormat::Json, true) => b"]\n".to_vec(),
            (PrintFormat::Json, false) => b"[]\n".to_vec(),
            _ => Vec::new(),
        }
    }

    fn separated(&mut self, rows: &RecordBatch, separator: u8) -> Result<Vec<u8>, ArrowError> {
        let mut bytes = Vec::new();
        let builder = csv::WriterBuilder::new().with_header(!self.has_begun).with_delimiter(separator);
        builder.build(&mut bytes).write(rows)?;
        self.has_begun = true;
        Ok(bytes)
    }

    /// Encodes the rows of a batch as a part of the one list of all: a bracket or a comma takes the place of its
    /// opening bracket, and its closing one is left out.
    fn list(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = objects::<JsonArray>(rows)?;
        bytes.pop();
        bytes[0] = if self.has_begun { b',' } else { b'[' };
        self.has_begun = true;
        Ok(bytes)
    }
}

/// Encodes rows as objects that name all columns, including those that are null.
fn objects<F: JsonFormat>(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    writable::check(rows, &FormatOptions::default())?;
    writable::check_json(rows)?;
    let mut writer = json::WriterBuilder::new().with_explicit_nulls(true).build::<_, F>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(numbers: &[i64]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([("n", numbers)]).expect("a batch")
    }

    #[test]
    fn batches_are_one_answer_in_each_format() {
        for (format, none, some) in [
            (PrintFormat::Csv, "n\n", "n\n1\n2\n3\n"),
            (PrintFormat::Tsv, "n\n", "n\n1\n2\n3\n"),
            (PrintFormat::Json, "[]\n", "[{\"n\":1},{\"n\":2},{\"n\":3}]\n"),
            (PrintFormat::NdJson, "", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"),
        ] {
            for (batches, expected) in [(vec![&[][..]], none), (vec![&[1, 2][..], &[], &[3]], some)] {
                let mut encoder = Encoder::new(format);
                let mut bytes = Vec::new();
                for numbers in batches {
                    bytes.extend(encoder.rows(&batch(numbers)).expect("rows"));
                }
                bytes.extend(encoder.end());
                assert_eq!(String::from_utf8(bytes).expect("text"), expected, "{format:?}");
            }
        }
    }
}
