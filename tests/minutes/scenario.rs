//! Scenarios: text files, each named after the law that it holds. Commands stand at the margin, and their output is
//! indented.
//!
//! ```text
//! parameters out_of_orderness=5s allowed_lateness=1m dedup_horizon=1h dimensions=country
//! event 12:00:10 ad=a id=1 cost=5 country=DE type=view partition=0
//! emit                 the windows that the watermark has passed, of every partition
//! drain                all open windows
//! crash                what was not committed is lost, and read again from where the table stands
//! total                the sums of all rows so far
//! ```
//!
//! `CLICKLAKE_BLESS=1` writes the output into the files; look at it before it is committed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Flush;
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::minute::Parameters;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, TopicPartition};
use serde_json::{Map, Value, json};
use stream_agg::minutes::Minutes;

use super::MinuteTable;
use crate::NOON_MS;

const HOUR_MS: i64 = 3_600_000;

/// One partition: its log, its operator, and its part of the table.
#[derive(Default)]
struct Partition {
    log: Vec<String>,
    minutes: Option<Minutes>,
    table: MinuteTable,
}

/// State of a scenario.
#[derive(Default)]
struct World {
    parameters: Parameters,
    partitions: BTreeMap<i32, Partition>,
}

/// Runs a scenario, and returns it with the output of its commands.
fn play(scenario: &str) -> String {
    let (mut world, mut played) = (World::default(), String::new());
    for line in scenario.lines().filter(|line| !line.starts_with("  ")) {
        played.push_str(line);
        played.push('\n');
        let mut words = line.split_whitespace();
        let printed = match words.next() {
            None => continue,
            Some(word) if word.starts_with('#') => continue,
            Some("parameters") => world.set_parameters(words),
            Some("event") => world.event(words),
            Some("emit") => world.emit(Flush::Closed),
            Some("drain") => world.emit(Flush::Everything),
            Some("crash") => world.crash(),
            Some("total") => world.total(),
            Some(other) => panic!("{other:?} is no command"),
        };
        printed.lines().for_each(|line| writeln!(played, "  {line}").expect("a string takes it"));
    }
    played
}

impl World {
    fn set_parameters<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> String {
        let millis = |text: &str| {
            let duration: Duration = lake_schemas::time::duration(text).expect("a duration");
            i64::try_from(duration.as_millis()).expect("short")
        };
        for (key, value) in words.map(|word| word.split_once('=').expect("key=value")) {
            match key {
                "out_of_orderness" => self.parameters.out_of_orderness_ms = millis(value),
                "allowed_lateness" => self.parameters.allowed_lateness_ms = millis(value),
                "dedup_horizon" => self.parameters.dedup_horizon_ms = millis(value),
                "dimensions" => {
                    let names = value.split(',').map(|name| name.parse().expect("a dimension"));
                    self.parameters.dimensions = names.collect();
                }
                other => panic!("{other:?} is no parameter"),
            }
        }
        String::new()
    }

    fn event<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> String {
        let time = words.next().expect("a time");
        let (mut partition, mut members) = (0, Map::new());
        members.insert("timestamp".to_owned(), json!(format!("2026-03-07T{time}Z")));
        for (key, value) in words.map(|word| word.split_once('=').expect("key=value")) {
            let (name, value) = match key {
                "partition" => {
                    partition = value.parse().expect("a number");
                    continue;
                }
                "cost" => ("cost_micros", json!(value.parse::<i64>().expect("a number"))),
                "ad" => ("ad_id", json!(value)),
                "id" => ("click_id", json!(value)),
                "type" => ("event_type", json!(value)),
                "campaign" => ("campaign_id", json!(value)),
                other => (other, json!(value)),
            };
            members.insert(name.to_owned(), value);
        }
        let parameters = self.parameters.clone();
        let owned = self.partitions.entry(partition).or_default();
        owned.log.push(Value::Object(members).to_string());
        let at = owned.log.len() - 1;
        owned.feed(partition, parameters, at);
        String::new()
    }

    fn emit(&mut self, which: Flush) -> String {
        let mut printed = String::new();
        for (number, partition) in &mut self.partitions {
            let Some(emission) = partition.minutes.as_mut().and_then(|minutes| minutes.emit(which)) else { continue };
            partition.table.commit(&emission);
            for row in 0..emission.rows.num_rows() {
                writeln!(printed, "{}", text_of(&emission.rows, row, *number)).expect("a string takes it");
            }
        }
        if printed.is_empty() { "nothing\n".to_owned() } else { printed }
    }

    fn crash(&mut self) -> String {
        let mut printed = String::new();
        for (number, partition) in &mut self.partitions {
            partition.minutes = None;
            let from = Minutes::restore_position(partition.table.stand).unwrap_or(0);
            let from = usize::try_from(from).expect("offsets begin at 0");
            writeln!(printed, "partition {number} is read again from offset {from}").expect("a string takes it");
            for at in from..partition.log.len() {
                partition.feed(*number, self.parameters.clone(), at);
            }
        }
        printed
    }

    fn total(&self) -> String {
        let mut totals: BTreeMap<_, [i64; MEASURES]> = BTreeMap::new();
        for ((start_ms, dimensions), sums) in self.partitions.values().flat_map(|partition| &partition.table.counts) {
            let total = totals.entry((*start_ms, dimensions.clone())).or_default();
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let mut printed = String::new();
        for ((start_ms, dimensions), sums) in totals {
            let names = self.parameters.dimension_columns();
            let values = names.iter().zip(&dimensions).filter_map(|(name, value)| Some((*name, value.clone()?)));
            let line = line(start_ms, values, sums);
            writeln!(printed, "{line}").expect("a string takes it");
        }
        printed
    }
}

impl Partition {
    /// Gives the operator the message at an offset.
    fn feed(&mut self, number: i32, parameters: Parameters, at: usize) {
        let name = TopicPartition::new("clicks", number);
        let stand = self.table.stand;
        let minutes = self.minutes.get_or_insert_with(|| Minutes::begin(name.clone(), parameters, stand));
        let offset = i64::try_from(at).expect("few");
        let mut batch = BatchBuilder::new(name, offset, TIME_IN_FUTURE_MS);
        let log_time = LogTime::from_millis(NOON_MS + 12 * HOUR_MS);
        batch.push(&Message { offset, log_time, key: None, payload: Some(self.log[at].as_bytes()) });
        let batch = batch.finish();
        assert_eq!(batch.events.num_rows(), 1, "{} is no event", self.log[at]);
        minutes.push(&batch.events, batch.offsets.next).expect("rows of clicks");
    }
}

/// Returns a row of `clicks_minute` as a line of text.
fn text_of(rows: &RecordBatch, row: usize, partition: i32) -> String {
    let column = |name: &str| rows.column_by_name(name).expect("a column of the table");
    let number = |name: &str| column(name).as_primitive::<Int64Type>().value(row);
    let start_ms = column("window_start").as_primitive::<TimestampMicrosecondType>().value(row) / 1_000;
    let schema = rows.schema();
    let names = schema.fields()[2..].iter().map(|field| field.name().as_str()).take_while(|name| *name != "clicks");
    let present = names.filter(|name| column(name).is_valid(row));
    let values = present.map(|name| (name, array_value_to_string(column(name), row).expect("text")));
    let line = line(start_ms, values, Measure::ALL.map(|measure| number(measure.column())));
    let pane = column("pane").as_string::<i32>().value(row);
    format!("{line} {pane} partition={partition} offsets={}..{}", number("offset_first"), number("offset_next"))
}

fn line<'a>(start_ms: i64, dimensions: impl Iterator<Item = (&'a str, String)>, measures: [i64; MEASURES]) -> String {
    let minutes = (start_ms - NOON_MS + 12 * HOUR_MS).div_euclid(60_000);
    let mut line = format!("{:02}:{:02}", minutes.div_euclid(60), minutes.rem_euclid(60));
    for (name, value) in dimensions {
        write!(line, " {name}={value}").expect("a string takes it");
    }
    for (measure, value) in Measure::ALL.into_iter().zip(measures).filter(|(_, value)| *value != 0) {
        write!(line, " {}={value}", measure.column()).expect("a string takes it");
    }
    line
}

#[test]
fn scenarios_print_what_they_say() {
    let folder = "tests/minutes/scenarios";
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let scenario = std::fs::read_to_string(&path).expect("a text");
        let found = play(&scenario);
        if std::env::var_os("CLICKLAKE_BLESS").is_some() {
            std::fs::write(&path, &found).expect("a text");
        } else {
            assert!(found == scenario, "{}:\n{found}", path.display());
        }
        played += 1;
    }
    assert!(played >= 10, "only {played} scenarios were found");
}
