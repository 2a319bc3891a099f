//! Makes the cells of rows safe to show in tables of text.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::visible::{visible, visible_lines};
use super::writable;

/// Treatment of line breaks in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    /// Line breaks are shown as escapes: one row is one line.
    Escaped,
    /// Line breaks stay: plans are trees.
    Kept,
}

/// Returns the same rows with names and values that are safe for a terminal. Columns that are safe already stay as they
/// are; the shown text takes the place of others. A value without a text is an error.
pub(crate) fn visible_rows(
    rows: &RecordBatch,
    options: &FormatOptions<'_>,
    breaks: Breaks,
) -> Result<RecordBatch, ArrowError> {
    writable::check(rows, options)?;
    let schema = rows.schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let shown = visible_column(column, options, breaks)?;
        let of = if shown.is_some() { DataType::Utf8 } else { field.data_type().clone() };
        fields.push(Field::new(visible(field.name()), of, true));
        columns.push(shown.unwrap_or_else(|| Arc::clone(column)));
    }
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &count)
}

/// Returns a column as safe text; `None` if the column may stay as it is.
fn visible_column(
    column: &ArrayRef,
    options: &FormatOptions<'_>,
    breaks: Breaks,
) -> Result<Option<ArrayRef>, ArrowError> {
    if column.data_type().is_primitive() || *column.data_type() == DataType::Boolean {
        return Ok(None);
    }
    let formatter = ArrayFormatter::try_new(column.as_ref(), options)?;
    let (mut is_plain, mut shown) = (true, Vec::with_capacity(column.len()));
    for row in 0..column.len() {
        let text = formatter.value(row).try_to_string()?;
        let safe = match breaks {
            Breaks::Escaped => visible(&text),
            Breaks::Kept => visible_lines(&text),
        };
        is_plain &= matches!(safe, Cow::Borrowed(_));
        shown.push(safe.into_owned());
    }
    Ok((!is_plain).then(|| Arc::new(StringArray::from(shown)) as ArrayRef))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_and_nothing_else() {
        let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("\u{1b}[2Ja"), None, Some("b\nc")]));
        let rows = RecordBatch::try_from_iter([("\u{9b}id", ids)]).expect("rows");
        let table = super::super::table(&[rows]).expect("a table");
        assert!(!table.contains(|letter: char| letter.is_control() && letter != '\n'), "{table}");
        assert!(table.contains("| \\u{1b}[2Ja |") && table.contains("| b\\nc "), "{table}");
        assert_eq!(table.lines().count(), 3 + 3 + 1, "a row is a line: {table}");
    }

    #[test]
    fn plans_are_trees() {
        let plans: ArrayRef = Arc::new(StringArray::from(vec!["a\n  b\u{7}"]));
        let rows = RecordBatch::try_from_iter([("plan", plans)]).expect("rows");
        let shown = visible_rows(&rows, &FormatOptions::default(), Breaks::Kept).expect("rows");
        let shown = shown.column(0).as_any().downcast_ref::<StringArray>().expect("text");
        assert_eq!(shown.value(0), "a\n  b\\u{7}");
    }
}
