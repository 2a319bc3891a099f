//! Random questions over HTTP, each with the statement of SQL that must have the same answer.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, SecondsFormat};
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::table::Version;
use lake_store::Lake;
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::server::encoded;
use crate::by_hand::MINUTE_MS;

const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Time at which worlds begin: 2026-03-30T00:00:00Z.
pub const START_MS: i64 = 1_774_828_800_000;

/// Number of days from [`START_MS`] on that are asked for: worlds have no later clicks.
const DAYS: i64 = 5;

/// A row of an answer: the ad, campaign or window, and its measures.
pub type Row = (Option<String>, [i64; MEASURES]);

/// Ads or campaigns whose clicks are asked for.
#[derive(Clone, Debug)]
pub enum Whom {
    Ad(String),
    Campaign(String),
}

/// Route of a request, with the parameters that only this route has.
#[derive(Clone, Debug)]
pub enum Route {
    Total(Whom),
    Series(Whom, &'static str),
    Top { by: &'static str, n: usize },
}

/// A question over HTTP.
#[derive(Clone, Debug)]
pub struct Asked {
    pub route: Route,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
}

/// Moment that a request asks about: a version, a time, or the newest version.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    Newest,
    Version(Version),
    Time(i64),
}

impl Moment {
    /// Returns a time within a millisecond of the commit of a random version.
    pub async fn some_time(rng: &mut ChaCha8Rng, lake: &Lake) -> Self {
        let (_, time_ms) = *times(lake).await.choose(rng).expect("a version");
        Self::Time(time_ms + rng.random_range(-1..=1))
    }

    /// Returns the version of `clicks_minute` at this moment; `None` if there is none.
    pub async fn version(self, lake: &Lake, newest: Version) -> Option<Version> {
        match self {
            Self::Newest => Some(newest),
            Self::Version(version) => Some(version).filter(|version| *version <= newest),
            Self::Time(time_ms) => {
                let times = times(lake).await;
                times.into_iter().filter(|(_, of_ms)| *of_ms <= time_ms).map(|(version, _)| version).max()
            }
        }
    }
}

/// Returns the versions of `clicks_minute`, each with the time of its commit.
async fn times(lake: &Lake) -> Vec<(Version, i64)> {
    let rows = query::run(lake, "select version, time from history('clicks_minute')").await.expect("an answer");
    let pairs = rows.iter().flat_map(|rows| {
        let (versions, times) =
            (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<TimestampMicrosecondType>());
        versions.values().iter().zip(times.values()).map(|(version, time)| (version.unsigned_abs(), time / 1_000))
    });
    pairs.collect()
}

fn time(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).expect("a time");
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl Asked {
    /// Makes a random question. Each of its bounds is a random minute, or one next to one of `edges_ms`, where mistakes
    /// would show.
    pub fn of(rng: &mut ChaCha8Rng, edges_ms: &[i64]) -> Self {
        let whom = |rng: &mut ChaCha8Rng| {
            let name = *["a", "b", "c", "nobody"].choose(rng).expect("some");
            if rng.random() { Whom::Ad(format!("ad_id-{name}")) } else { Whom::Campaign(format!("campaign_id-{name}")) }
        };
        let route = match rng.random_range(0..3) {
            0 => Route::Total(whom(rng)),
            1 => Route::Series(whom(rng), ["minute", "hour", "day"].choose(rng).expect("some")),
            _ => Route::Top { by: ["ad", "campaign"].choose(rng).expect("some"), n: rng.random_range(1..5) },
        };
        let near = |rng: &mut ChaCha8Rng, edge: i64| {
            edge.div_euclid(MINUTE_MS) * MINUTE_MS + rng.random_range(-1..=1) * MINUTE_MS
        };
        let bound = |rng: &mut ChaCha8Rng| match edges_ms.iter().choose(rng) {
            Some(edge) if rng.random() => near(rng, *edge),
            _ => START_MS + rng.random_range(0..DAYS * DAY_MS / MINUTE_MS) * MINUTE_MS,
        };
        let (one, other) = (bound(rng), bound(rng));
        let (mut from_ms, mut to_ms) = (Some(one.min(other)), Some(one.max(other) + MINUTE_MS));
        match route {
            // The number of windows in an answer is bounded, so only a series of days may be without bounds.
            Route::Series(_, "minute") => from_ms = from_ms.max(to_ms.map(|to_ms| to_ms - 12 * HOUR_MS)),
            Route::Series(_, "hour") => {}
            _ => {
                from_ms = from_ms.filter(|_| !rng.random_ratio(1, 6));
                to_ms = to_ms.filter(|_| !rng.random_ratio(1, 6));
            }
        }
        Self { route, from_ms, to_ms }
    }

    /// Returns the target of the HTTP request: path and query.
    pub fn target(&self, moment: Moment) -> String {
        let of = |whom: &Whom| match whom {
            Whom::Ad(ad) => format!("ad={}", encoded(ad)),
            Whom::Campaign(campaign) => format!("campaign={}", encoded(campaign)),
        };
        let mut target = match &self.route {
            Route::Total(whom) => format!("/v1/total?{}", of(whom)),
            Route::Series(whom, granularity) => format!("/v1/series?{}&granularity={granularity}", of(whom)),
            Route::Top { by, n } => format!("/v1/top?by={by}&n={n}"),
        };
        for (name, bound) in [("from", self.from_ms), ("to", self.to_ms)] {
            target += &bound.map(|bound| format!("&{name}={}", time(bound))).unwrap_or_default();
        }
        match moment {
            Moment::Newest => {}
            Moment::Version(version) => target += &format!("&as_of={version}"),
            Moment::Time(time_ms) => target += &format!("&as_of={}", time(time_ms)),
        }
        target
    }

    /// Parses the rows of an answer over HTTP.
    pub fn rows(&self, answer: &Value) -> Vec<Row> {
        let named = match &self.route {
            Route::Total(Whom::Ad(_)) | Route::Top { by: "ad", .. } => "ad_id",
            Route::Total(Whom::Campaign(_)) | Route::Top { .. } => "campaign_id",
            Route::Series(..) => "window_start",
        };
        let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("no rows: {answer}"));
        let row = |row: &Value| {
            let name = row.get(named).unwrap_or_else(|| panic!("no {named}: {row}"));
            assert_eq!(row.as_object().map(|row| row.len()), Some(1 + MEASURES), "{row}");
            let measure = |measure: Measure| row[measure.column()].as_i64().expect("a number");
            (name.as_str().map(str::to_owned), Measure::ALL.map(measure))
        };
        rows.iter().map(row).collect()
    }

    /// Returns the rows that SQL answers to the same question at a version.
    pub async fn by_sql(&self, lake: &Lake, version: Version, newest: Version) -> Vec<Row> {
        let sql = self.sql((version < newest).then_some(version));
        let rows = query::run(lake, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().flat_map(rows_of).collect()
    }

    /// Returns the statement: for the newest version (`None`) over the table functions, for an earlier one over
    /// `clicks_minute` at that version.
    fn sql(&self, version: Option<Version>) -> String {
        let sums = Measure::ALL.map(|measure| format!("coalesce(sum({0}), 0) as {0}", measure.column())).join(", ");
        let bound = |bound: Option<i64>| bound.map_or("null".to_owned(), |bound| format!("'{}'", time(bound)));
        let (from, to) = (bound(self.from_ms), bound(self.to_ms));
        let windows = match &self.route {
            Route::Series(_, granularity) => *granularity,
            _ => "",
        };
        let source = match version {
            None if windows.is_empty() => format!("totals({from}, {to})"),
            None => format!("series({from}, {to}, '{windows}')"),
            Some(version) => {
                let windows = if windows.is_empty() { "day" } else { windows };
                let bound = |order: &str, bound: Option<i64>| {
                    let condition = |bound| format!(" and window_start {order} timestamp '{}'", time(bound));
                    bound.map(condition).unwrap_or_default()
                };
                let (from, to) = (bound(">=", self.from_ms), bound("<", self.to_ms));
                format!(
                    "(select date_trunc('{windows}', window_start) as window_start, ad_id, campaign_id, clicks, \
                     cost_micros, duplicates, late, filtered from clicks_minute VERSION AS OF {version} \
                     where true{from}{to})"
                )
            }
        };
        match &self.route {
            Route::Total(whom) => {
                format!("select '{}' as name, {sums} from {source} where {}", whom.name(), whom.sql())
            }
            Route::Series(whom, _) => format!(
                "select window_start, {sums} from {source} where {} group by window_start order by window_start",
                whom.sql()
            ),
            Route::Top { by, n } => format!(
                "select {by}_id, {sums} from {source} group by {by}_id having sum(clicks) <> 0 \
                 order by clicks desc, {by}_id nulls first limit {n}"
            ),
        }
    }
}

impl Whom {
    fn name(&self) -> &str {
        match self {
            Self::Ad(name) | Self::Campaign(name) => name,
        }
    }

    fn sql(&self) -> String {
        match self {
            Self::Ad(ad) => format!("ad_id = '{ad}'"),
            Self::Campaign(campaign) => format!("campaign_id = '{campaign}'"),
        }
    }
}

fn rows_of(rows: &RecordBatch) -> Vec<Row> {
    let (options, names) = (FormatOptions::default(), rows.column(0));
    let names = ArrayFormatter::try_new(names.as_ref(), &options).expect("a type that is shown");
    let measures = &rows.columns()[1..];
    let row = |row: usize| {
        let name = rows.column(0).is_valid(row).then(|| names.value(row).to_string());
        let measure = |at: usize| {
            let numbers = cast(&measures[at], &DataType::Int64).expect("numbers");
            numbers.as_primitive::<Int64Type>().value(row)
        };
        (name, std::array::from_fn(measure))
    };
    (0..rows.num_rows()).map(row).collect()
}
