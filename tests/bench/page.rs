//! The page of figures: measured values beside what is promised, as a table, as charts, and as JSON, with the machine,
//! the date and the commit.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::{Value, json};

/// A chart: horizontal bars of figures that can be compared.
struct Chart {
    name: &'static str,
    title: &'static str,
    /// Label of each bar, and the place of its value among the figures.
    bars: &'static [(&'static str, &'static str)],
}

const CHARTS: [Chart; 7] = [
    Chart {
        name: "cpu",
        title: "CPU-seconds a million clicks",
        bars: &[
            ("ingest, Kafka to S3", "/kafka_to_s3/ingest/cpu_seconds_a_million/ingest"),
            ("  its floor: the same steps, bare", "/kafka_to_s3/ingest/cpu_seconds_a_million/floor"),
            ("aggregate, Kafka to S3", "/aggregate/cpu_seconds_a_million/aggregate"),
            ("  its floor: the same steps, bare", "/aggregate/cpu_seconds_a_million/floor"),
            ("replay of the raw table", "/replay/replay/cpu_seconds_a_million"),
            ("  the same in plain SQL", "/replay/sql_of_the_same/cpu_seconds_a_million"),
        ],
    },
    Chart {
        name: "live",
        title: "CPU-seconds a million clicks that are followed as they come",
        bars: &[
            ("ingest, 5,000 a second, a commit a second", "/live/ingest_every_1s/cpu_seconds_a_million_at_5000"),
            ("ingest, 5,000 a second, one every 5 s", "/live/ingest_every_5s/cpu_seconds_a_million_at_5000"),
            ("ingest, 1,000 a second, a commit a second", "/live/ingest_every_1s/cpu_seconds_a_million_at_1000"),
            ("ingest, 1,000 a second, one every 5 s", "/live/ingest_every_5s/cpu_seconds_a_million_at_1000"),
            ("aggregate, 5,000 a second, a commit a second", "/live/aggregate_every_1s/cpu_seconds_a_million_at_5000"),
            ("aggregate, 5,000 a second, one every 5 s", "/live/aggregate_every_5s/cpu_seconds_a_million_at_5000"),
            ("aggregate, 1,000 a second, a commit a second", "/live/aggregate_every_1s/cpu_seconds_a_million_at_1000"),
            ("aggregate, 1,000 a second, one every 5 s", "/live/aggregate_every_5s/cpu_seconds_a_million_at_1000"),
        ],
    },
    Chart {
        name: "commit",
        title: "milliseconds a commit, by the version it makes",
        bars: &[
            ("version 100", "/commit/version_100_ms"),
            ("version 1,000", "/commit/version_1000_ms"),
            ("version 10,000", "/commit/version_10000_ms"),
        ],
    },
    Chart {
        name: "restart",
        title: "seconds to the first commit of a restart, by the clicks it has to remember",
        bars: &[
            ("a quarter", "/restart/seconds_to_the_first_commit_of_a_quarter"),
            ("a half", "/restart/seconds_to_the_first_commit_of_a_half"),
            ("76 minutes of 5,000 a second", "/restart/seconds_to_the_first_commit"),
        ],
    },
    Chart {
        name: "latency",
        title: "milliseconds an answer takes",
        bars: &[
            ("HTTP: an ad over two years, median at 500/s", "/serve/total_median_ms"),
            ("HTTP: an ad over two years, 99 of 100", "/serve/total_p99_ms"),
            ("HTTP: top 10 of five minutes, median", "/serve/top_median_ms"),
            ("HTTP: top 10 of five minutes, 99 of 100", "/serve/top_p99_ms"),
            ("library: an ad over two years, files read", "/totals/warm_median_ms"),
            ("command line: top 10, process included", "/asked/top_median_ms"),
        ],
    },
    Chart {
        name: "bytes",
        title: "bytes a click",
        bars: &[
            ("the message, as JSON", "/kafka_to_s3/ingest/bytes_a_message"),
            ("in the raw table", "/replay/bytes_a_click"),
            ("in memory, to know its copies", "/operators/bytes_an_id"),
        ],
    },
    Chart {
        name: "memory",
        title: "memory at its peak, in MB",
        bars: &[
            ("ingest", "/kafka_to_s3/ingest/peak_memory_mb"),
            ("aggregate", "/aggregate/peak_memory_mb"),
            ("replay", "/replay/peak_memory_mb"),
            ("serve", "/serve/memory_mb"),
        ],
    },
];

/// Figures that have a bound, `_max` or `_min`, beside them, each with its description.
const BOUNDED: [(&str, &str); 34] = [
    (
        "/kafka_to_s3/ingest/ratio",
        "CPU of `ingest`, Kafka to S3, by that of a bare read, parse and encode of the same clicks",
    ),
    ("/kafka_to_s3/ingest/peak_memory_mb", "its memory at its peak, MB"),
    ("/ingest/ratio", "CPU of `ingest` into a folder, by the same floor"),
    ("/ingest/peak_memory_mb", "its memory at its peak, MB"),
    (
        "/live/ingest_every_1s/cpu_seconds_a_million_at_5000",
        "CPU-seconds of `ingest` for a million clicks that come live, 5,000 a second, with a commit every second",
    ),
    ("/live/ingest_every_1s/cpu_seconds_a_million_at_1000", "the same at 1,000 a second"),
    ("/live/ingest_every_5s/cpu_seconds_a_million_at_5000", "with a commit every 5 s, at 5,000 a second"),
    ("/live/ingest_every_5s/cpu_seconds_a_million_at_1000", "the same at 1,000 a second"),
    (
        "/live/ingest_every_1s/visible_p99_ms",
        "milliseconds from Kafka's acknowledgement to the version of `clicks` that has it, 99 of 100, a commit every \
         second",
    ),
    ("/live/ingest_every_5s/visible_p99_ms", "the same with a commit every 5 s"),
    (
        "/live/aggregate_every_1s/cpu_seconds_a_million_at_5000",
        "CPU-seconds of `aggregate` for a million clicks that come live, 5,000 a second, with a commit every second",
    ),
    ("/live/aggregate_every_1s/cpu_seconds_a_million_at_1000", "the same at 1,000 a second"),
    ("/live/aggregate_every_5s/cpu_seconds_a_million_at_5000", "with a commit every 5 s, at 5,000 a second"),
    ("/live/aggregate_every_5s/cpu_seconds_a_million_at_1000", "the same at 1,000 a second"),
    (
        "/live/aggregate_every_1s/visible_p99_ms",
        "milliseconds until the cut of `clicks_minute` is beyond a click, 99 of 100, a commit every second",
    ),
    ("/live/aggregate_every_5s/visible_p99_ms", "the same with a commit every 5 s"),
    ("/aggregate/ratio", "CPU of `aggregate`, Kafka to S3, by that of a bare read, a parse and a hash insert"),
    ("/operators/ratio", "time of the minute operators alone, by that of a bare hash insert of each id"),
    ("/operators/bytes_an_id", "memory to know a click's copies by, bytes a click"),
    ("/replay/clicks_a_second", "clicks a second that `backfill` replays from the raw table"),
    ("/replay/peak_memory_mb", "its memory at its peak, MB"),
    (
        "/restart/seconds_to_the_first_commit",
        "seconds from the start of a process that has 76 minutes to remember to its first commit",
    ),
    ("/restart/verify/ratio", "time of `verify`, by that of its SQL alone"),
    ("/restart/explain/milliseconds", "milliseconds in which `explain` tells the story of an ad's minute"),
    ("/commit/ratio", "time of a commit at version 10,000, by that of one at version 100"),
    ("/compact/files/mb_a_core_second", "MB of files put together in a CPU-second"),
    ("/compact/hour/hour_ms", "milliseconds in which an hour of 100,000 ads is rolled up again after a late click"),
    ("/totals/warm_median_ms", "milliseconds of a total of an ad over two years, in the library, median"),
    ("/totals/bytes_read", "bytes that it reads"),
    ("/serve/total_median_ms", "milliseconds of the same over HTTP at 500 requests a second on one processor, median"),
    ("/serve/total_p99_ms", "… and 99 of 100"),
    ("/serve/top_p99_ms", "milliseconds of the top 10 of five minutes over HTTP, 99 of 100"),
    ("/asked/top_median_ms", "milliseconds of the same on the command line, process and opening included, median"),
    ("/asked/count_median_ms", "milliseconds of `select count(*) from clicks` of 10,000 versions there, median"),
];

/// Remarks on the figures: their meaning, and why some miss their aim.
const REMARKS: &str = include_str!("remarks.md");

const PIXELS_WIDE: u32 = 800;
const PIXELS_A_BAR: u32 = 26;
const PIXELS_OF_NAMES: u32 = 340;
const PIXELS_OF_A_NUMBER: u32 = 70;

/// Colour of bars, readable on white and on black.
const BAR: RGBColor = RGBColor(0x3b, 0x7d, 0xc4);
const TEXT: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Writes all of the page into a folder.
pub fn write(folder: &Path, machine: &Value, figures: &Value) {
    std::fs::create_dir_all(folder).expect("a folder");
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a disk");
    put("figures.json", &format!("{:#}\n", json!({ "machine": machine, "figures": figures })));
    let mut charts = String::new();
    for chart in &CHARTS {
        let bars: Vec<_> =
            chart.bars.iter().filter_map(|(name, at)| Some((*name, figures.pointer(at)?.as_f64()?))).collect();
        if bars.is_empty() {
            continue;
        }
        put(&format!("{}.svg", chart.name), &drawn(&bars));
        let written: Vec<_> = bars.iter().map(|(name, value)| format!("{} {}", name.trim(), shown(*value))).collect();
        let _ = write!(charts, "\n**{}**\n\n![{}]({}.svg)\n", chart.title, written.join("; "), chart.name);
    }
    put("README.md", &page(machine, &rows(figures), &charts));
}

fn page(machine: &Value, rows: &str, charts: &str) -> String {
    let of = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    let (processors, memory) = (&machine["processors"], &machine["memory_gb"]);
    format!(
        "# Figures\n\nWritten by `.ci/long figures`: commit {}, {}, {} with {processors} processors and {memory} GB. \
         The same as [JSON](figures.json).\n\nMachines are shared and noisy: what is compared was measured in one run, \
         and ratios say more than times.\n\n\
         | figure | measured | aim | met |\n|---|---|---|---|\n{rows}\n{REMARKS}{charts}",
        of("commit"),
        of("date"),
        of("model"),
    )
}

/// Returns a row for each figure that has a bound.
fn rows(figures: &Value) -> String {
    let mut rows = String::new();
    for (at, words) in &BOUNDED {
        let Some(measured) = figures.pointer(at) else { continue };
        let measured = measured.as_f64().unwrap_or_else(|| panic!("{at} is a number"));
        let bound = |which: &str| figures.pointer(&format!("{at}_{which}")).and_then(Value::as_f64);
        let (bound, holds, word) = match (bound("max"), bound("min")) {
            (Some(most), _) => (most, measured <= most, "at most"),
            (_, Some(least)) => (least, measured >= least, "at least"),
            _ => panic!("{at} has no bound"),
        };
        let holds = if holds { "yes" } else { "**no**" };
        let _ = writeln!(rows, "| {words} | {} | {word} {} | {holds} |", shown(measured), shown(bound));
    }
    assert_eq!(rows.lines().count(), bounds(figures), "each figure with a bound has its words");
    rows
}

/// Returns how many figures have a bound.
fn bounds(figures: &Value) -> usize {
    let Value::Object(members) = figures else { return 0 };
    let is_bound = |name: &str| name.ends_with("_max") || name.ends_with("_min");
    members.iter().map(|(name, value)| usize::from(is_bound(name)) + bounds(value)).sum()
}

fn drawn(bars: &[(&str, f64)]) -> String {
    let height = PIXELS_A_BAR * u32::try_from(bars.len()).expect("few");
    let largest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(PIXELS_WIDE - PIXELS_OF_NAMES - PIXELS_OF_A_NUMBER);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (PIXELS_WIDE, height)).into_drawing_area();
    let text = ("sans-serif", 16).into_font().color(&TEXT);
    let (names, numbers) =
        (text.pos(Pos::new(HPos::Right, VPos::Center)), text.pos(Pos::new(HPos::Left, VPos::Center)));
    let pixels = |number: f64| number as i32;
    let begin = pixels(f64::from(PIXELS_OF_NAMES));
    for (number, (name, value)) in (0..).zip(bars) {
        let (top, end) = (number * pixels(f64::from(PIXELS_A_BAR)), begin + pixels(value / largest * room).max(1));
        let middle = top + pixels(f64::from(PIXELS_A_BAR)) / 2;
        let bar = Rectangle::new([(begin, top + 4), (end, top + pixels(f64::from(PIXELS_A_BAR)) - 4)], BAR.filled());
        area.draw(&bar).expect("a text");
        area.draw(&Text::new(name.trim().to_owned(), (begin - 8, middle), names.clone())).expect("a text");
        area.draw(&Text::new(shown(*value), (end + 8, middle), numbers.clone())).expect("a text");
    }
    area.present().expect("a text");
    drop(area);
    svg
}

/// Returns a number with as many digits as are meaningful.
fn shown(number: f64) -> String {
    let digits = match number.abs() {
        0.0..1.0 => 3,
        1.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let whole = text.find('.').unwrap_or(text.len());
    let mut grouped = String::new();
    for (at, character) in text.char_indices() {
        if at > 0 && at < whole && (whole - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(character);
    }
    grouped
}

/// Describes the machine, the time, and the commit that was measured.
#[expect(clippy::disallowed_methods, reason = "the page says when it was measured")]
pub fn machine() -> Value {
    let first_of = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory_kb: f64 = first_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let described = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit =
        described.map_or_else(|_| "unknown".to_owned(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    json!({
        "commit": commit,
        "date": chrono::Utc::now().format("%Y-%m-%d").to_string(),
        "model": first_of("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_gb": (memory_kb / 1e6).round(),
    })
}
