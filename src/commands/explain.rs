//! `clicklake explain`: shows the events behind one count, and those that were not counted, with the reason.

use std::sync::Arc;

use ::backfill::{Explanation, explain};
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use lake_schemas::table::{column, timestamp};
use lake_schemas::{EventTime, Windowing};
use lake_store::Lake;
use query::output::visible;

use crate::arguments::Explain;
use crate::report;

pub async fn run(lake: &str, command: Explain) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let explanations = explain(&lake, &command.ad, command.minute).await?;
    if explanations.is_empty() {
        report::say(&no_event(&command.ad, command.minute));
    }
    report::show(&[table(&explanations)?], &command.report, &lake, |rows| Ok(rows.to_vec()))
}

/// Says that nothing was found, and why that may be.
fn no_event(ad: &str, minute: EventTime) -> String {
    let ad = visible(ad);
    let end = EventTime::from_millis(Windowing::default().end_ms(minute.millis()))
        .map(|end| format!(" --to {end}"))
        .unwrap_or_default();
    format!(
        "clicks has no event of {ad} in the minute {minute}. Names are compared letter by letter: `clicklake top \
         --from {minute}{end}` shows the ads of that minute. The minute is that of the event time, in UTC, not of the \
         time at which the message came. What `clicklake ingest` has not committed yet is not there"
    )
}

fn table(explanations: &[Explanation]) -> anyhow::Result<RecordBatch> {
    let text = |of: &dyn Fn(&Explanation) -> Option<String>| -> ArrayRef {
        Arc::new(explanations.iter().map(of).collect::<StringArray>())
    };
    let time = |of: &dyn Fn(&Explanation) -> Option<i64>| -> ArrayRef {
        let times = explanations.iter().map(of).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_data_type(timestamp()))
    };
    let number = |of: &dyn Fn(&Explanation) -> Option<i64>| -> ArrayRef {
        Arc::new(explanations.iter().map(of).collect::<Int64Array>())
    };
    let partitions = explanations.iter().map(|one| Some(one.partition.partition)).collect::<Int32Array>();
    let counted = explanations.iter().map(|one| Some(one.reason.is_none())).collect::<BooleanArray>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (column::TOPIC, text(&|one| Some(one.partition.topic.clone()))),
        (column::KAFKA_PARTITION, Arc::new(partitions)),
        (column::KAFKA_OFFSET, number(&|one| Some(one.event.offset))),
        (column::EVENT_TIME, time(&|one| Some(one.event.event_time.micros()))),
        (column::KAFKA_TIMESTAMP, time(&|one| one.event.log_time.map(|time| time.micros()))),
        (column::CLICK_ID, text(&|one| one.event.click_id.clone())),
        (column::CAMPAIGN_ID, text(&|one| one.event.campaign_id.clone())),
        (column::COST_MICROS, number(&|one| one.event.cost_micros)),
        ("counted", Arc::new(counted)),
        ("reason", text(&|one| one.reason.clone())),
        ("file", text(&|one| one.file.clone())),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}
