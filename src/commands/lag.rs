//! `clicklake lag`: shows how far each partition has come in the tables, beside the end of its log.

use std::sync::Arc;

use ::ingest::kafka::ends;
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use lake_schemas::table::timestamp;
use lake_schemas::{Stand, Table};
use lake_store::Lake;
use lake_store::commit::TableView;

use super::{kafka, now};
use crate::arguments::Lag;
use crate::drawing::with_ages;
use crate::report;

pub async fn run(lake: &str, command: Lag) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let kafka = kafka(&command.kafka.bootstrap_servers, &command.kafka.topic)?;
    // Read the tables before the log, so that the log has all that the tables have.
    let clicks = TableView::newest(&lake, Table::Clicks).await?;
    let minutes = TableView::newest(&lake, Table::ClicksMinute).await?;
    let ends = ends(&kafka).await?;
    let stands = |view: &Option<TableView>| -> Vec<(Stand, i64)> {
        let stand = |partition| view.as_ref().map(|view| view.stand(partition)).unwrap_or_default();
        ends.iter().map(|(partition, log)| (stand(partition), log.next)).collect()
    };
    let cut = |stands: &[(Stand, i64)]| -> ArrayRef {
        Arc::new(stands.iter().map(|(stand, _)| stand.cut).collect::<Int64Array>())
    };
    // A partition of which the table has nothing yet lacks everything that the log has.
    let firsts: Vec<_> = ends.values().map(|log| log.first).collect();
    let lag = |stands: &[(Stand, i64)]| -> ArrayRef {
        let lags = stands.iter().zip(&firsts).map(|((stand, end), first)| end - stand.cut.unwrap_or(*first));
        Arc::new(lags.map(|lag| lag.max(0)).collect::<Int64Array>())
    };
    let known = minutes.as_ref().map(TableView::partitions).unwrap_or_default();
    let retired = ends.keys().map(|partition| Some(known.retired.contains(partition))).collect::<BooleanArray>();
    let (clicks, minutes) = (stands(&clicks), stands(&minutes));
    let complete = minutes.iter().map(|(stand, _)| stand.watermark_ms.map(|millis| millis * 1_000));
    let complete = complete.collect::<TimestampMicrosecondArray>().with_data_type(timestamp());
    let of_log: [(&str, ArrayRef); 4] = [
        ("topic", Arc::new(StringArray::from_iter_values(ends.keys().map(|partition| &partition.topic)))),
        ("partition", Arc::new(ends.keys().map(|partition| Some(partition.partition)).collect::<Int32Array>())),
        ("log_start", Arc::new(Int64Array::from(firsts.clone()))),
        ("log_end", Arc::new(ends.values().map(|log| Some(log.next)).collect::<Int64Array>())),
    ];
    let of_table = [(Table::Clicks, &clicks), (Table::ClicksMinute, &minutes)];
    let of_table =
        of_table.map(|(table, stands)| [(table.to_string(), cut(stands)), (format!("{table}_lag"), lag(stands))]);
    let of_minutes: [(&str, ArrayRef); 2] = [("complete_until", Arc::new(complete)), ("retired", Arc::new(retired))];
    let named = |(name, column): (&str, ArrayRef)| (name.to_owned(), column);
    let columns = of_log.map(named).into_iter().chain(of_table.into_iter().flatten()).chain(of_minutes.map(named));
    let rows = RecordBatch::try_from_iter(columns)?;
    report::show(&[rows], &command.report, &lake, |rows| with_ages(rows, "complete_until", now()))
}
