//! Reports of an audit: line by line for people, and as JSON for programs.

use std::fmt;

use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::table::column;
use lake_schemas::{Measure, position};
use serde_json::{Map, Value, json};

use super::{Audit, Conservation, CountedAgain, Difference, Law, MeasureSums, RolledUp, lines, lines_of};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, windows, clicks, version, .. } = self;
        let of = format!("{windows} windows, {clicks} clicks");
        let at = format!("at version {version} of {table}: {}", position::shown(&self.cut));
        if self.is_equal() {
            writeln!(f, "equal: {of}, {at}")?;
        } else {
            writeln!(f, "differs: {} sums of {of}, {at}", self.differing)?;
            lines_of(f, &self.differences, self.differing)?;
        }
        if !self.strangers.is_empty() {
            let rows: i64 = self.strangers.iter().map(|one| one.rows).sum();
            writeln!(f, "{rows} rows are of partitions that {table} does not know, so that nothing recounts them")?;
            lines(f, &self.strangers)?;
        }
        self.rolled_ups.fmt(f)?;
        if self.explained_sums > 0 {
            writeln!(f, "{} sums differ only by copies beyond the dedup horizon", self.explained_sums)?;
            lines_of(f, &self.explained, self.explained_sums)?;
        }
        if !self.counted_again.is_empty() {
            let why = "their copies are further apart than the dedup horizon, or in two partitions";
            writeln!(f, "{} ids were counted more than once; {why}", self.counted_again.len())?;
            lines(f, &self.counted_again)?;
        }
        if self.counted_again_too > 0 {
            writeln!(f, "{} more ids may have been: they were not looked at", self.counted_again_too)?;
        }
        if !self.odd_costs.is_empty() {
            let clicks: i64 = self.odd_costs.iter().map(|one| one.clicks).sum();
            let cost = format!("a cost that is not from 0 to {COST_MICROS_MAX}");
            writeln!(f, "{clicks} clicks of the raw table have {cost}; wherever they count, it is null")?;
            lines(f, &self.odd_costs)?;
        }
        self.foreign.fmt(f)
    }
}

impl Audit {
    /// Converts the audit to JSON: of each kind the number, and the first few. Sums are texts, because they may have
    /// more digits than programs keep of a number.
    pub fn to_json(&self) -> Value {
        json!({
            "equal": self.is_equal(),
            "table": self.table.name(),
            "version": self.version,
            "cut": position::shown(&self.cut),
            "windows": self.windows,
            "clicks": self.clicks.to_string(),
            "differing": self.differing,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "strangers": self.strangers.iter().map(|one| json!({
                "topic": one.partition.topic, "partition": one.partition.partition, "rows": one.rows
            })).collect::<Vec<_>>(),
            "rolled_up": {
                "compared": self.rolled_ups.compared.iter().map(|(table, version, differing)| json!({
                    "table": table.name(), "version": version, "differing": differing
                })).collect::<Vec<_>>(),
                "differences": self.rolled_ups.differences.iter().map(rolled_up).collect::<Vec<_>>(),
                "unreadable": self.rolled_ups.unreadable,
                "left_out": self.rolled_ups.left_out,
            },
            "explained": self.explained_sums,
            "counted_again": self.counted_again.iter().map(counted_again).collect::<Vec<_>>(),
            "counted_again_not_looked_at": self.counted_again_too,
            "odd_costs": self.odd_costs.iter().map(|one| json!({
                "topic": one.partition.topic, "partition": one.partition.partition, "clicks": one.clicks,
                "first_offset": one.first
            })).collect::<Vec<_>>(),
            "foreign": self.foreign.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

impl Conservation {
    /// Converts the result to JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "holds": self.holds(),
            "laws": std::iter::once(&self.raw).chain(&self.minutes).map(law).collect::<Vec<_>>(),
            "foreign": self.foreign.changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

fn law(law: &Law) -> Value {
    json!({
        "table": law.table.name(),
        "version": law.version,
        "law": law.says,
        "holds": law.holds(),
        "of": law.of.to_string(),
        "broken": law.broken.iter().map(|one| json!({
            "topic": one.partition.topic, "partition": one.partition.partition, "why": one.why
        })).collect::<Vec<_>>(),
    })
}

fn difference(of: &Difference) -> Value {
    let clicks = of.clicks.iter().map(|(cause, ids)| (cause.to_string(), json!(ids))).collect::<Map<_, _>>();
    json!({
        "topic": of.partition.topic,
        "partition": of.partition.partition,
        "window_start": of.key.window.to_string(),
        "dimensions": named(&of.dimensions, &of.key.dimensions),
        "found": sums(&of.found),
        "recounted": sums(&of.recounted),
        "clicks": clicks,
    })
}

fn rolled_up(of: &RolledUp) -> Value {
    json!({
        "table": of.table.name(),
        "window_start": of.key.window.to_string(),
        "dimensions": named(&of.dimensions, &of.key.dimensions),
        "found": sums(&of.found),
        "source": sums(&of.source),
    })
}

fn counted_again(of: &CountedAgain) -> Value {
    let counted = of.counted.iter().map(|one| {
        json!({
            "topic": one.partition.topic, "partition": one.partition.partition, "offset": one.offset,
            "window_start": one.window.to_string()
        })
    });
    json!({ (column::CLICK_ID): of.click_id, "counted": counted.collect::<Vec<_>>() })
}

fn named(names: &[&'static str], values: &[Option<String>]) -> Map<String, Value> {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn sums(of: &MeasureSums) -> Map<String, Value> {
    let measures = Measure::ALL.into_iter().zip(of);
    measures.map(|(measure, sum)| (measure.column().to_owned(), json!(sum.to_string()))).collect()
}
