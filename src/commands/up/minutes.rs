//! The minute counts that `up` shows: queries `clicks_minute` in SQL, as any other reader would.

use std::fmt;

use ::ingest::drive::Progress;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use lake_schemas::{EventTime, Measure, Table, Verdict, Windowing, counted};
use lake_store::Lake;
use query::output::visible;

use crate::drawing::{grouped, grouped_of};

/// Number of ads that are named for a minute.
const TOP: usize = 3;

/// Returns the start of the last minute that the watermark of every partition of a job has passed.
pub fn last_complete(progress: &Progress) -> Option<EventTime> {
    let watermark_ms = progress.partitions.values().filter_map(|reach| reach.watermark_ms).min()?;
    let windowing = Windowing::default();
    EventTime::from_millis(windowing.start_ms(watermark_ms) - windowing.width_ms())
}

/// Last complete minute, with the ads that had the most clicks in it.
#[derive(Default)]
pub struct LastMinute {
    minute: Option<EventTime>,
    top: String,
}

impl LastMinute {
    /// Queries the clicks of the last complete minute, unless that minute is the one known already.
    pub async fn follow(&mut self, lake: &Lake, topic: &str, complete: Option<EventTime>) {
        let Some(minute) = complete.filter(|_| complete != self.minute) else { return };
        let (minutes, counted) = (Table::ClicksMinute, Measure::counting(Verdict::Counted).column());
        let sql = format!(
            "select ad_id, sum({counted}) as {counted} from {minutes} \
             where topic = '{topic}' and window_start = '{minute}' \
             group by ad_id order by {counted} desc, ad_id limit {TOP}"
        );
        // If the query fails now, the next look follows soon.
        let Ok(rows) = query::run(lake, &sql).await else { return };
        // Minutes before the first click are complete, too, but have nothing to show.
        let top: Vec<_> = rows.iter().flat_map(ads).collect();
        if !top.is_empty() {
            (self.minute, self.top) = (Some(minute), top.join(", "));
        }
    }
}

/// Returns a text for each ad of an answer: its id and its clicks.
fn ads(rows: &RecordBatch) -> Vec<String> {
    let ads = cast(rows.column(0), &DataType::Utf8).expect("text has many encodings, and is text in each");
    let (ads, clicks) = (ads.as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
    ads.iter().flatten().zip(clicks.values()).map(|(ad, clicks)| format!("{} {clicks}", visible(ad))).collect()
}

impl fmt::Display for LastMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(minute) = self.minute else { return write!(f, "no minute is complete yet") };
        let minute: String = minute.to_string().chars().skip("2026-03-07T".len()).take("12:00".len()).collect();
        write!(f, "minute {minute}: {}", self.top)
    }
}

/// Returns in words how many hours and days are rolled up.
pub async fn rolled_up(lake: &Lake) -> anyhow::Result<String> {
    let mut counts = Vec::new();
    for table in Table::ROLLED_UP {
        let rows = query::run(lake, &format!("select count(distinct window_start) from {table}")).await?;
        counts.push(rows[0].column(0).as_primitive::<Int64Type>().value(0));
    }
    Ok(format!("{}, {}", counted(counts[0], "hour"), counted(counts[1], "day")))
}

/// Returns in words the counts of a topic, over all time.
pub async fn total(lake: &Lake, topic: &str) -> anyhow::Result<String> {
    let counting = Verdict::ALL.map(Measure::counting);
    let sums = counting.map(|measure| format!("sum({})", measure.column())).join(", ");
    let table = Table::ClicksMinute;
    let sql = format!("select {sums}, count(distinct window_start) from {table} where topic = '{topic}'");
    let rows = query::run(lake, &sql).await?;
    let value = |at: usize| {
        let numbers = rows[0].column(at).as_primitive::<Int64Type>();
        if numbers.is_valid(0) { numbers.value(0).unsigned_abs() } else { 0 }
    };
    let minutes = grouped_of(value(counting.len()), "minute");
    let mut numbers = (0..).zip(counting).map(|(at, measure)| format!("{} {}", grouped(value(at)), measure.label()));
    let clicks = numbers.next().unwrap_or_default();
    Ok(format!("{clicks} in {minutes}; {}", numbers.collect::<Vec<_>>().join(", ")))
}
