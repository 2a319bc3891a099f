//! The page of figures: what was measured beside what is promised, as a table, as charts, and as JSON, with the
//! machine, the date and the commit.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::{Value, json};

/// A chart: horizontal bars of what can be compared.
struct Chart {
    name: &'static str,
    title: &'static str,
    /// What each bar is, and where it stands among the figures.
    bars: &'static [(&'static str, &'static str)],
}

const CHARTS: [Chart; 6] = [
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

const PIXELS_WIDE: u32 = 760;
const PIXELS_A_BAR: u32 = 26;
const PIXELS_OF_NAMES: u32 = 300;
const PIXELS_OF_A_NUMBER: u32 = 70;

/// Readable on white and on black.
const BAR: RGBColor = RGBColor(0x3b, 0x7d, 0xc4);
const TEXT: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Writes it all into a folder.
pub fn write(folder: &Path, figures: &Value) {
    std::fs::create_dir_all(folder).expect("a folder");
    let machine = machine();
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
    put("README.md", &page(&machine, &rows(figures), &charts));
}

fn page(machine: &Value, rows: &str, charts: &str) -> String {
    let of = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    let (processors, memory) = (&machine["processors"], &machine["memory_gb"]);
    format!(
        "# Figures\n\nWritten by `.ci/long figures`: commit {}, {}, {} with {processors} processors and {memory} GB. The \
         same as [JSON](figures.json).\n\nMachines are shared and noisy: what is compared was measured in one run, and \
         ratios say more than times.\n\n| figure | measured | promised | |\n|---|---|---|---|\n{rows}{charts}",
        of("commit"),
        of("date"),
        of("model"),
    )
}

/// A row for each figure that has a bound.
fn rows(figures: &Value) -> String {
    let mut bounded = Vec::new();
    collect(figures, &mut Vec::new(), &mut bounded);
    let row = |(name, measured, bound, is_most): &(String, f64, f64, bool)| {
        let (word, holds) = if *is_most { ("at most", measured <= bound) } else { ("at least", measured >= bound) };
        let holds = if holds { "✓" } else { "missed" };
        format!("| {name} | {} | {word} {} | {holds} |\n", shown(*measured), shown(*bound))
    };
    bounded.iter().map(row).collect()
}

/// Figures that have a bound: `x` beside `x_max` or `x_min`.
fn collect(figures: &Value, path: &mut Vec<String>, bounded: &mut Vec<(String, f64, f64, bool)>) {
    let Value::Object(members) = figures else { return };
    for (name, value) in members {
        let bounds = [(name.strip_suffix("_max"), true), (name.strip_suffix("_min"), false)];
        for (figure, is_most) in bounds.into_iter().filter_map(|(figure, is_most)| Some((figure?, is_most))) {
            let measured = members.get(figure).and_then(Value::as_f64);
            let measured = measured.unwrap_or_else(|| panic!("{figure} has a bound and was not measured"));
            let bound = value.as_f64().expect("a bound is a number");
            let name = format!("{}: {}", path.join(", "), figure).replace('_', " ");
            bounded.push((name, measured, bound, is_most));
        }
        path.push(name.clone());
        collect(value, path, bounded);
        path.pop();
    }
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

/// A number with as many digits as say something.
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

/// What it was measured on, when, and of which commit.
#[expect(clippy::disallowed_methods, reason = "the page says when it was measured")]
fn machine() -> Value {
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
