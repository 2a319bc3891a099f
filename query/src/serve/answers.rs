//! What an answer looks like: the rows, and of which clicks they are.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};
use lake_schemas::commit::Version;
use lake_schemas::minute::Measure;
use lake_schemas::table::{column, timestamp};
use lake_schemas::{EventTime, read};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::QueryError;
use crate::totals::{Answer, Detail, StandsAt, Whom};

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told<R> {
    /// The rows.
    pub rows: Vec<R>,
    #[serde(flatten)]
    pub of: Of,
}

/// Of which clicks an answer is: of all below the cut whose windows are written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Of {
    /// By topic and partition, the next offset that is not counted.
    #[schema(example = json!({ "clicks": { "0": 1042 } }))]
    cut: BTreeMap<String, BTreeMap<String, i64>>,
    /// The version of `clicks_minute`.
    version: Version,
    /// Whether it cannot change any more, unless history is computed again: no window of it takes clicks. False as long
    /// as nothing was counted.
    #[serde(rename = "final")]
    is_final: bool,
    /// By topic, the partitions whose windows may still take clicks: those that have had no message yet, too. Topics
    /// that were retired are not waited for.
    #[schema(example = json!({ "clicks": [0, 3] }))]
    pending: BTreeMap<String, Vec<i32>>,
    /// Until when all minutes are written, of all topics that are waited for.
    #[schema(example = "2026-03-07T12:00:00Z")]
    complete_until: Option<String>,
    /// By topic, until when its minutes are written.
    #[schema(example = json!({ "clicks": "2026-03-07T12:00:00Z" }))]
    complete_until_by_topic: BTreeMap<String, Option<String>>,
}

/// What was counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counts {
    /// Clicks, each once.
    clicks: i64,
    /// What they cost, in millionths.
    cost_micros: i64,
    /// Copies of clicks, which are not counted.
    duplicates: i64,
    /// Clicks that came too late to be counted.
    late: i64,
    /// Other events.
    filtered: i64,
}

/// What an ad, or a campaign, has got.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TotalRow {
    /// The ad, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ad_id: Option<String>,
    /// The campaign, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    campaign_id: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

/// What was counted in a window. Windows without counts have no row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowRow {
    /// When it starts, also where what was asked for starts later.
    #[schema(example = "2026-03-07T12:00:00Z")]
    window_start: String,
    #[serde(skip)]
    pub start: EventTime,
    #[serde(flatten)]
    counts: Counts,
}

impl WindowRow {
    /// Its clicks.
    pub fn clicks(&self) -> i64 {
        self.counts.clicks
    }
}

/// Who is on top.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum TopRow {
    /// An ad.
    Ad {
        /// Its name.
        ad_id: String,
        #[serde(flatten)]
        counts: Counts,
    },
    /// A campaign.
    Campaign {
        /// Its name; null: what has none.
        #[schema(required)]
        campaign_id: Option<String>,
        #[serde(flatten)]
        counts: Counts,
    },
}

impl Of {
    /// Of an answer up to a time.
    pub fn answer(at: &StandsAt, to: Option<EventTime>) -> Self {
        let mut cut: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (partition, next) in at.cut() {
            cut.entry(partition.topic).or_default().insert(partition.partition.to_string(), next);
        }
        let mut pending: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for partition in at.pending(to) {
            pending.entry(partition.topic.clone()).or_default().push(partition.partition);
        }
        let by_topic = at.complete_until_by_topic().into_iter();
        Self {
            cut,
            version: at.minutes,
            is_final: at.is_final(to),
            pending,
            complete_until: at.complete_until().map(written),
            complete_until_by_topic: by_topic.map(|(topic, until)| (topic.to_owned(), until.map(written))).collect(),
        }
    }
}

/// A total.
pub(super) fn total(answer: &Answer, whom: &Whom) -> Result<Vec<TotalRow>, QueryError> {
    let (ad_id, campaign_id) = match whom {
        Whom::All => (None, None),
        Whom::Ad(ad) => (Some(ad), None),
        Whom::Campaign(campaign) => (None, Some(campaign)),
    };
    of_rows(answer, |rows| {
        let counts = counts(rows)?;
        Ok(counts.map(|counts| TotalRow { ad_id: ad_id.cloned(), campaign_id: campaign_id.cloned(), counts }).collect())
    })
}

/// A series.
pub(super) fn series(answer: &Answer) -> Result<Vec<WindowRow>, QueryError> {
    of_rows(answer, |rows| {
        let starts = typed(rows, column::WINDOW_START, timestamp())?;
        let starts: Vec<_> = starts.as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let starts = starts.into_iter().map(EventTime::from_micros);
        let row = |(start, counts): (EventTime, _)| WindowRow { window_start: written(start), start, counts };
        Ok(starts.zip(counts(rows)?).map(row).collect())
    })
}

/// Who is on top.
pub(super) fn top(answer: &Answer, detail: Detail) -> Result<Vec<TopRow>, QueryError> {
    let is_campaigns = detail == Detail::Campaigns;
    let name = if is_campaigns { column::CAMPAIGN_ID } else { column::AD_ID };
    of_rows(answer, |rows| {
        let names = typed(rows, name, DataType::Utf8)?;
        let names = names.as_string::<i32>().iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>();
        let row = |(name, counts): (Option<String>, _)| match name {
            campaign_id if is_campaigns => TopRow::Campaign { campaign_id, counts },
            ad => TopRow::Ad { ad_id: ad.unwrap_or_default(), counts },
        };
        Ok(names.into_iter().zip(counts(rows)?).map(row).collect())
    })
}

fn of_rows<R>(
    answer: &Answer,
    rows: impl Fn(&RecordBatch) -> Result<Vec<R>, QueryError>,
) -> Result<Vec<R>, QueryError> {
    let all = answer.rows.iter().map(rows).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

fn counts(rows: &RecordBatch) -> Result<impl Iterator<Item = Counts> + use<>, QueryError> {
    let columns = Measure::ALL.map(|measure| typed(rows, measure.column(), DataType::Int64));
    let columns = columns.into_iter().collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok((0..rows.num_rows()).map(move |row| {
        let [clicks, cost_micros, duplicates, late, filtered] = std::array::from_fn(|measure| {
            let column = columns[measure].as_primitive::<Int64Type>();
            if column.is_null(row) { 0 } else { column.value(row) }
        });
        Counts { clicks, cost_micros, duplicates, late, filtered }
    }))
}

fn typed(rows: &RecordBatch, name: &str, of: DataType) -> Result<ArrayRef, QueryError> {
    Ok(read::column(rows, &Field::new(name, of, true))?)
}

/// A time in RFC 3339, without what is zero of its second.
fn written(time: EventTime) -> String {
    time.to_string().replace(".000Z", "Z")
}
