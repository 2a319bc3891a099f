//! SQL over the lake: the files beside this one hold statements with their answers, over a lake that is always the
//! same.

mod answered;
mod beside;
mod distributed;
mod passed_over;
mod typed;
pub mod world;

use std::path::Path;

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use lake_store::Lake;
use query::QueryError;
use query::sql::Session;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

/// A session, as the files of queries run it.
struct Asked(Session);

#[async_trait]
impl AsyncDB for Asked {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        let rows = self.0.rows(sql).await?;
        let types: Vec<_> = rows[0].columns().iter().map(|column| type_of(column.data_type())).collect();
        if types.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let rows = rows.iter().flat_map(texts).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "clicklake"
    }
}

/// Returns the name of a type in the files: I, R or T.
fn type_of(column: &DataType) -> DefaultColumnType {
    match column {
        integer if integer.is_integer() => DefaultColumnType::Integer,
        number if number.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// Returns each value as text, and null as a word.
fn texts(rows: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = rows.columns().iter();
    let columns: Vec<_> = columns
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("a type that is shown"))
        .collect();
    let text = |row: usize| columns.iter().map(|column| column.value(row).to_string()).collect();
    (0..rows.num_rows()).map(text).collect()
}

/// Opens a session over a lake in a folder.
fn session(folder: &Path) -> Session {
    Session::new(Lake::at(folder.to_str().expect("UTF-8")).expect("a lake"), None).expect("a session")
}
