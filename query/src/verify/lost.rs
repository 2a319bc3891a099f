//! Explains an audit that came upon a file that is not there: which table has lost it, of which time its rows are, and
//! what to do. Names a file that is damaged, where DataFusion did not.

use deltalake::kernel::Add;
use futures::{TryStreamExt, future};
use lake_schemas::{Code, EventTime, Folder, Table};
use lake_store::commit::TableView;
use lake_store::gone::lost;
use lake_store::{Lake, LakeError, RawFile, read};

use crate::damaged::is_unnamed;
use crate::error::QueryError;
use crate::gone::Gone;

/// Returns the tables that an audit of a table of minutes cannot do without.
pub(super) fn needed_for(minutes: Table) -> [Table; 3] {
    let [clicks, rejected] = Table::RAW;
    [clicks, rejected, minutes]
}

/// Explains an error of an audit, if its cause is a file that the newest version of one of these tables names, and the
/// store does not have, or that is damaged and not named. Any other error is returned as it is.
pub(super) async fn explained(lake: &Lake, tables: &[Table], error: QueryError) -> QueryError {
    if matches!(&error, QueryError::Lake(error) if is_unnamed(error)) {
        return damaged(lake, tables).await.map_or(error, QueryError::Lake);
    }
    or_lost(lake, tables, error).await
}

/// Explains an error, if its cause is a file that the newest version of one of these tables names and the store does
/// not have: it is lost, and not cleaned up. Any other error is returned as it is.
pub(crate) async fn or_lost(lake: &Lake, tables: &[Table], error: QueryError) -> QueryError {
    let QueryError::Gone(Gone { path }) = &error else { return error };
    for &table in tables {
        let Ok(Some(view)) = TableView::newest(lake, table).await else { continue };
        let Ok(live) = view.live_files().await else { continue };
        if let Some(file) = live.iter().find(|file| path.ends_with(&file.path)) {
            let (version, held) = (view.version(), held(table, file));
            return lost(table, path, format!("though its version {version} names it; it held {held}")).into();
        }
    }
    error
}

/// Returns the refusal of the first damaged file of these tables, which it names. All of their files are read for that,
/// one after the other, until one cannot be decoded.
async fn damaged(lake: &Lake, tables: &[Table]) -> Option<LakeError> {
    for &table in tables {
        let Ok(Some(view)) = TableView::newest(lake, table).await else { continue };
        let (Ok(live), Ok(log_store)) = (view.live_files().await, lake.log_store(table.name())) else { continue };
        for file in live {
            let rows = read::rows(log_store.object_store(None), table, table.schema(), file).await;
            let read = match rows {
                Ok(rows) => rows.try_for_each(|_| future::ready(Ok(()))).await,
                Err(error) => Err(error),
            };
            if let Err(error) = read
                && error.code() == Some(Code::FileDamaged)
            {
                return Some(error);
            }
        }
    }
    None
}

/// Says of which time the rows of a file are, by what the log states of it.
fn held(table: Table, file: &Add) -> String {
    if let Some((first, last)) = RawFile::of(file).and_then(|file| file.event_times) {
        return format!("clicks from {first} to {last}");
    }
    let at = |millis: i64| EventTime::from_millis(millis).map(|time| time.to_string()).unwrap_or_default();
    let rows = if table.is_counts() { "windows" } else { "messages" };
    match Folder::named(table, &file.partition_values) {
        Some(folder) => format!("{rows} from {} to {}", at(folder.start_ms()), at(folder.end_ms())),
        None => format!("{rows} of a time that is not stated"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_rows_of_a_lost_file_are_of_its_folder_or_of_the_times_that_it_states() {
        let folder = |values: &[(&str, &str)]| {
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
            Add { path: "a.parquet".to_owned(), partition_values: values.collect(), ..Add::default() }
        };
        let hour = folder(&[("date", "2026-03-07"), ("hour", "12")]);
        let said = "windows from 2026-03-07T12:00:00.000Z to 2026-03-07T13:00:00.000Z";
        assert_eq!(held(Table::ClicksMinute, &hour), said);
        let day = folder(&[("log_date", "2026-03-07")]);
        let said = "messages from 2026-03-07T00:00:00.000Z to 2026-03-08T00:00:00.000Z";
        assert_eq!(held(Table::ClicksRejected, &day), said);
        let of = |offset: i64, time: &str| -> Value {
            json!({ "topic": "clicks", "kafka_partition": 0, "kafka_offset": offset, "event_time": time })
        };
        let (min, max) = (of(0, "2026-03-07T12:00:05.000Z"), of(9, "2026-03-07T12:07:00.000Z"));
        let stats = json!({ "numRecords": 10, "minValues": min, "maxValues": max }).to_string();
        let raw = Add { stats: Some(stats), ..day };
        let said = "clicks from 2026-03-07T12:00:05.000Z to 2026-03-07T12:07:00.000Z";
        assert_eq!(held(Table::Clicks, &raw), said);
    }
}
