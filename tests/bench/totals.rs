//! The total of one ad over two years, asked again and again of a lake that is rolled up as it should be: how long it
//! takes, and how many bytes it reads of the files that hold the ad.
//!
//! Closed months of days are one file each, sorted by ad; the last month has one file for each day. The last day is in
//! hours, and the minutes of its last hour came after it was rolled up.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use deltalake::kernel::Add;
use futures::stream::BoxStream;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::source_version;
use lake_schemas::table::{column, timestamp};
use lake_schemas::{Field, Folder, Table, Width};
use lake_store::commit::{Commit, Move, Outcome, TableLog};
use lake_store::{Lake, files};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use query::totals::{Filter, Question, Totals};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::process::cpu_seconds;
use crate::{NOON_MS, Scale};

const DAY_MS: i64 = 86_400_000;

/// Number of files of minutes that are not merged yet: what two minutes of commits leave.
const FILES_SMALL: usize = 24;

/// How often the question is asked.
const QUESTIONS: usize = 200;

/// Makes the lake, and measures.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Counting::default());
    let url = Url::from_directory_path(folder.path()).expect("a path");
    let lake = Lake::on(Arc::clone(&store) as Arc<dyn ObjectStore>, url);
    let made = Made::of(scale.ads, scale.days);
    runtime.block_on(async {
        let held = made.make(&lake).await;
        let totals = Totals::new(lake).expect("a session");
        let ask = |ad: i64| {
            let (totals, filter) = (&totals, vec![Filter::one(Field::AdId, name("ad", ad))]);
            let question = Question { filter, group_by: vec![Field::AdId, Field::CampaignId], ..Question::default() };
            async move { totals.answer(&question).await.expect("an answer") }
        };
        let began = Instant::now();
        let cold = ask(made.ads / 2).await;
        let first_ms = millis(began);
        assert!(cold.at.daily.is_some() && cold.at.hourly.is_some(), "{}", cold.at);
        // Warm: the files are known, the ad is another one each time.
        let (mut times, mut bytes, mut requests) = (Vec::new(), 0, 0);
        let cpu = cpu_seconds();
        for number in 0..QUESTIONS {
            let ad = (number as i64 * 7_919) % made.ads;
            store.reset();
            let began = Instant::now();
            let answer = ask(ad).await;
            times.push(millis(began));
            bytes += store.bytes.load(Ordering::Relaxed);
            requests += store.requests.load(Ordering::Relaxed);
            assert_eq!(answer.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "one row an ad");
        }
        let cpu_ms = (cpu_seconds() - cpu) * 1e3 / QUESTIONS as f64;
        times.sort_by(f64::total_cmp);
        let of_each = |sum: u64| sum / QUESTIONS as u64;
        json!({
            "days": made.days,
            "ads": made.ads,
            "daily_files": held.files,
            "daily_bytes": held.bytes,
            "first_ms": round(first_ms),
            "warm_median_ms": round(times[QUESTIONS / 2]),
            "warm_median_ms_max": 20,
            "warm_p99_ms": round(times[QUESTIONS * 99 / 100]),
            "cpu_ms": round(cpu_ms),
            "bytes_read": of_each(bytes),
            "bytes_read_max": 2 * held.bytes,
            "requests": of_each(requests),
        })
    })
}

/// A lake to be made: its ads and days.
pub struct Made {
    ads: i64,
    days: i64,
    last_day_ms: i64,
}

/// Files of days, each of which holds every ad.
pub struct Reserved {
    files: usize,
    bytes: u64,
}

impl Made {
    /// Plans counts of `ads` ads on each of `days` days.
    pub fn of(ads: i64, days: i64) -> Self {
        Self { ads, days, last_day_ms: Width::Day.start_ms(NOON_MS) }
    }

    /// Returns the end of the lake's last minute, in milliseconds.
    pub fn ends_ms(&self) -> i64 {
        Width::Day.end_ms(self.last_day_ms)
    }

    /// Makes the lake, and returns the files of its days.
    pub async fn make(&self, lake: &Lake) -> Reserved {
        let hour_ms = Width::Hour.end_ms(0);
        let hours: Vec<_> = (0..24).map(|hour| self.last_day_ms + hour * hour_ms).collect();
        // Minutes, each ad in one of ten, and the last hour's after all else was rolled up.
        let mut minutes = table(lake, Table::ClicksMinute).await;
        let of_minute = |minute: i64| (0..self.ads).filter(move |ad| ad % 10 == minute / 60_000 % 10);
        for &hour in &hours[..23] {
            let starts = (0..60).map(|minute| hour + minute * 60_000);
            let rows: Vec<_> = starts.flat_map(|start| of_minute(start).map(move |ad| (ad, start))).collect();
            append(&mut minutes, &[rows], None).await;
        }
        let rolled_up = minutes.version();
        // In the last hour the compactor has merged the older files; the newer ones are as they were committed.
        let starts: Vec<_> = (0..60).map(|minute| hours[23] + minute * 60_000).collect();
        let (older, newer) = starts.split_at(starts.len() - FILES_SMALL);
        for starts in std::iter::once(older).chain(newer.chunks(1)) {
            let rows: Vec<_> = starts.iter().flat_map(|&start| of_minute(start).map(move |ad| (ad, start))).collect();
            append(&mut minutes, &[rows], None).await;
        }
        let mut hourly = table(lake, Table::ClicksHourly).await;
        let files: Vec<_> = hours[..23].iter().map(|hour| self.each_ad([*hour])).collect();
        append(&mut hourly, &files, Some(rolled_up)).await;
        let mut daily = table(lake, Table::ClicksDaily).await;
        let first = self.last_day_ms - (self.days - 1) * DAY_MS;
        let days: Vec<_> = (0..self.days).map(|day| first + day * DAY_MS).collect();
        let (mut files, mut month) = (Vec::new(), Vec::new());
        let is_last = |day: i64| Width::Month.start_ms(day) == Width::Month.start_ms(self.last_day_ms);
        for (at, &day) in days.iter().enumerate() {
            month.push(day);
            let ends = days.get(at + 1).is_none_or(|next| Width::Month.start_ms(*next) != Width::Month.start_ms(day));
            if ends || is_last(day) {
                files.push(self.each_ad(month.drain(..)));
            }
        }
        append(&mut daily, &files, Some(hourly.version())).await;
        let live = daily.live_files().await.expect("they are known");
        Reserved { files: live.len(), bytes: live.iter().map(|file| file.size.unsigned_abs()).sum() }
    }

    /// Returns rows of each ad in each of these windows, sorted as a roll-up's are.
    fn each_ad(&self, windows: impl IntoIterator<Item = i64>) -> Vec<(i64, i64)> {
        let windows: Vec<_> = windows.into_iter().collect();
        (0..self.ads).flat_map(|ad| windows.iter().map(move |window| (ad, *window))).collect()
    }
}

async fn table(lake: &Lake, table: Table) -> TableLog {
    let definition = Parameters::default().definition(table);
    TableLog::open_or_make(lake, &definition).await.expect("a table")
}

/// Adds files of rows, as made of a version of their source.
async fn append(log: &mut TableLog, files: &[Vec<(i64, i64)>], source: Option<u64>) {
    let table = log.table();
    let mut adds: Vec<Add> = Vec::new();
    for rows in files {
        for file in files::encode(table, &[rows_of(table, rows)]).await.expect("files") {
            file.put(log.object_store().as_ref()).await.expect("a folder");
            adds.push(file.add);
        }
    }
    let moves = source.map(|version| Move {
        app_id: source_version(table),
        from: None,
        to: Some(i64::try_from(version).expect("small")),
    });
    let commit = Commit { moves: moves.into_iter().collect(), adds, ..Commit::new("bench") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
}

/// Makes rows of a table from their ads and the starts of their windows.
fn rows_of(table: Table, rows: &[(i64, i64)]) -> RecordBatch {
    let width = table.window_width();
    let number = |of: &dyn Fn(i64, i64) -> i64| rows.iter().map(|(ad, start)| of(*ad, *start)).collect::<Vec<_>>();
    let times = |of: &dyn Fn(i64) -> i64| {
        TimestampMicrosecondArray::from(number(&|_, start| of(start) * 1_000)).with_data_type(timestamp())
    };
    let folders = rows.iter().map(|(_, start)| Folder::at(table, *start));
    let folder = folders.clone().next().expect("rows");
    assert!(folders.clone().all(|other| other == folder), "rows of one folder");
    let schema = Parameters::default().schema(table);
    let columns = schema.fields().iter().map(|field| -> Arc<dyn arrow::array::Array> {
        if let Some(column) = folder.column(field.name(), rows.len()) {
            return column;
        }
        match field.name().as_str() {
            column::WINDOW_START => Arc::new(times(&|start| start)),
            column::WINDOW_END => Arc::new(times(&|start| width.end_ms(start))),
            column::AD_ID => Arc::new(StringArray::from_iter_values(rows.iter().map(|(ad, _)| name("ad", *ad)))),
            column::CAMPAIGN_ID => {
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(ad, _)| name("campaign", ad / 10))))
            }
            column::PANE => Arc::new(StringArray::from(vec!["on_time"; rows.len()])),
            column::TOPIC => Arc::new(StringArray::from(vec!["clicks"; rows.len()])),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; rows.len()])),
            column::OFFSET_FIRST | column::OFFSET_NEXT => Arc::new(Int64Array::from(vec![0; rows.len()])),
            measure => Arc::new(Int64Array::from(number(&|ad, start| value(measure, ad, start)))),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
}

/// Returns the value of a measure of an ad in a window: clicks by the hundred, each at a price of its own.
fn value(measure: &str, ad: i64, start: i64) -> i64 {
    let mixed = (ad * 1_000_003 + start / 60_000).wrapping_mul(6_364_136_223_846_793_005).rotate_right(29);
    let clicks = mixed.rem_euclid(400);
    match measure {
        "clicks" => clicks,
        "cost_micros" => clicks * 120_000 + mixed.rem_euclid(99_991),
        "duplicates" => clicks / 50,
        _ => clicks / 200,
    }
}

/// Returns a name in the pattern of generated clicks.
pub fn name(kind: &str, number: i64) -> String {
    format!("{kind}-{number:06}")
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn round(millis: f64) -> f64 {
    (millis * 100.0).round() / 100.0
}

/// A folder that counts the bytes that are read.
#[derive(Debug, Default)]
struct Counting {
    inner: LocalFileSystem,
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Counting {
    fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
    }

    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counting({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get_opts(location, options).await;
        self.count(got.as_ref().map_or(0, |got| got.range.end - got.range.start));
        got
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.count(ranges.iter().map(|range| range.end - range.start).sum());
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
