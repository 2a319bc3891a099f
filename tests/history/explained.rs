//! Law: `explain` shows each event behind a count once, with the verdict of the plain loop, and with its file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use lake_schemas::minute::Parameters;
use lake_schemas::{EventTime, Verdict};
use lake_store::Lake;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::minutes::{Event, events_of, taken};
use crate::simulation::{Computation, Log, number_of, simulate};
use crate::start_up::{clicklake, folder};

/// Returns what the program prints about an ad in a minute.
fn explained(lake: &str, ad: &str, minute_ms: i64) -> Vec<Value> {
    let minute = EventTime::from_millis(minute_ms).expect("a time").to_string();
    let output = clicklake(&["explain", "--ad", ad, "--minute", &minute, "--lake", lake, "--format", "nd-json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Returns whether a raw file holds an offset.
fn holds(file: &Path, offset: i64) -> bool {
    let file = std::fs::File::open(file).expect("the file is there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    let mut batches = reader.map(|batch| batch.expect("rows"));
    batches.any(|rows| rows["kafka_offset"].as_primitive::<Int64Type>().values().contains(&offset))
}

/// Returns the word for a reason.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Duplicate => "copy",
        Verdict::Late => "ended",
        Verdict::Filtered => "no click",
        Verdict::Counted => "not yet",
    }
}

/// Compares what is printed about every ad and minute of a log, of which the minutes have seen a part.
fn each_event_is_shown(seed: u64, seen: usize) {
    let (_folder, path) = folder();
    let log = Log::skewed(seed, 2, 300);
    let (earlier, log) = (Arc::new(log.earlier(|_, messages| messages.min(seen))), Arc::new(log));
    let parameters = Parameters { allowed_lateness_ms: 30_000, dedup_horizon_ms: 60_000, ..Parameters::default() };
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
        Computation::Minutes(parameters.clone()).read_all(&lake, &earlier).await.expect("aggregate ends");
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
    });
    let mut expected: BTreeMap<(String, i64), BTreeMap<(i32, i64), Verdict>> = BTreeMap::new();
    for (partition, messages) in (0..).zip(&log.partitions) {
        let events: Vec<Event> = events_of(messages);
        for (event, taken) in events.iter().zip(taken(events.iter(), &parameters)) {
            let of = expected.entry((event.ad.clone(), taken.window_ms())).or_default();
            of.insert((partition, event.offset), taken.verdict());
        }
    }
    let drained: Vec<_> = (0..).take(2).map(|partition| earlier.end(partition).unwrap_or(0)).collect();
    for ((ad, minute_ms), events) in expected.into_iter().step_by(5) {
        let found = explained(&path, &ad, minute_ms);
        let positions: Vec<_> = found.iter().map(position).collect();
        assert_eq!(positions, events.keys().copied().collect::<Vec<_>>(), "seed {seed}: {ad} at {minute_ms}");
        for (line, ((partition, offset), verdict)) in found.iter().zip(events) {
            let counts = verdict == Verdict::Counted && offset < drained[partition as usize];
            assert_eq!(line["counted"], Value::Bool(counts), "seed {seed}: {line}, {verdict:?}");
            let reason = line["reason"].as_str();
            assert_eq!(reason.is_some_and(|reason| reason.contains(word(verdict))), !counts, "seed {seed}: {line}");
            let file = line["file"].as_str().expect("a file");
            assert!(holds(&Path::new(&path).join("clicks").join(file), offset), "seed {seed}: {line}");
        }
    }
}

fn position(line: &Value) -> (i32, i64) {
    let number = |name: &str| line[name].as_i64().expect("a number");
    let partition = number_of(line["topic"].as_str().expect("a topic"), number("kafka_partition") as i32);
    (partition, number("kafka_offset"))
}

#[test]
fn an_ad_without_an_event_is_said_to_have_none() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::skewed(1, 2, 300));
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, &log).await.expect("aggregate ends");
    });
    let minute = "2026-03-07T12:00:00Z";
    let output = clicklake(&["explain", "--ad", "nobody", "--minute", minute, "--lake", &path, "--format", "nd-json"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for words in
        ["no event of nobody", "letter by letter", "clicklake top --from 2026-03-07T12:00", "event time, in UTC"]
    {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

#[test]
fn each_event_is_shown_once_as_what_it_is() {
    for (seed, seen) in [(1, 300), (2, 150), (3, 40), (4, 0)] {
        each_event_is_shown(seed, seen);
    }
}
