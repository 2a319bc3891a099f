//! Reports of an audit: line by line for people, and as JSON for programs.

use std::fmt;

use lake_schemas::exact::PLAIN_MAX;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::table::column;
use lake_schemas::{Measure, counted, position};
use serde_json::{Map, Value, json};

use super::lines::{lines, lines_of};
use super::{Audit, Conservation, CountedAgain, Difference, Law, MeasureSums, RolledUp};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, version, .. } = self;
        let of = format!("{}, {}", counted(self.windows, "window"), counted(self.clicks, "click"));
        let at = format!("at version {version} of {table}: {}", position::shown(&self.cut));
        if self.is_equal() {
            writeln!(f, "equal: {of}, {at}")?;
        } else {
            writeln!(f, "differs: {} {of}, {at}", self.what_differs())?;
            lines_of(f, &self.differences, self.differing)?;
        }
        if !self.strangers.is_empty() {
            let rows = counted(self.strangers.iter().map(|one| one.rows).sum::<i64>(), "row");
            writeln!(f, "{rows} of partitions that {table} does not know, so that nothing recounts them")?;
            lines(f, &self.strangers)?;
        }
        self.rolled_ups.fmt(f)?;
        if self.explained_sums > 0 {
            let sums = counted(self.explained_sums, "sum");
            writeln!(f, "different only by copies beyond the dedup horizon: {sums}")?;
            lines_of(f, &self.explained, self.explained_sums)?;
        }
        if !self.counted_again.is_empty() {
            let (ids, why) =
                (counted(self.counted_again.len(), "id"), "of copies beyond the dedup horizon, or in two partitions");
            writeln!(f, "counted more than once: {ids}, {why}")?;
            lines(f, &self.counted_again)?;
        }
        if self.counted_again_too > 0 {
            writeln!(
                f,
                "perhaps counted more than once, not looked at: {}",
                counted(self.counted_again_too, "more id")
            )?;
        }
        if !self.odd_costs.is_empty() {
            let clicks = counted(self.odd_costs.iter().map(|one| one.clicks).sum::<i64>(), "click");
            let cost = format!("a cost that is not from 0 to {COST_MICROS_MAX}");
            writeln!(f, "{clicks} of the raw table with {cost}; wherever such a click counts, it is null")?;
            lines(f, &self.odd_costs)?;
        }
        self.foreign.fmt(f)
    }
}

impl Audit {
    /// Names everything that differs, so that it goes before what was compared.
    fn what_differs(&self) -> String {
        let sums = (self.differing > 0).then(|| counted(self.differing, "sum"));
        let rows = self.strangers.iter().map(|one| one.rows).sum::<i64>();
        let strangers = (rows > 0).then(|| format!("{} of unknown partitions", counted(rows, "row")));
        let rolled_up = self.rolled_ups.differing();
        let rolled_up = (rolled_up > 0).then(|| format!("{} of roll-ups", counted(rolled_up, "sum")));
        let further: Vec<_> = strangers.into_iter().chain(rolled_up).chain(self.rolled_ups.unread()).collect();
        match (sums, further.is_empty()) {
            (Some(sums), true) => format!("{sums} of"),
            (Some(sums), false) => format!("{sums}, {};", further.join(", ")),
            (None, _) => format!("{};", further.join(", ")),
        }
    }

    /// Converts the audit to JSON: the number of findings of each kind, and the first few of them.
    pub fn to_json(&self) -> Value {
        json!({
            "equal": self.is_equal(),
            "table": self.table.name(),
            "version": self.version,
            "cut": position::shown(&self.cut),
            "windows": self.windows,
            "clicks": number(self.clicks),
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
        "of": number(law.of),
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

/// Converts a number to JSON: to a string if programs that read numbers as floating-point would lose digits.
fn number(of: i128) -> Value {
    match i64::try_from(of) {
        Ok(of) if of.unsigned_abs() <= PLAIN_MAX => json!(of),
        _ => json!(of.to_string()),
    }
}

fn named(names: &[&'static str], values: &[Option<String>]) -> Map<String, Value> {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn sums(of: &MeasureSums) -> Map<String, Value> {
    let measures = Measure::ALL.into_iter().zip(of);
    measures.map(|(measure, sum)| (measure.column().to_owned(), number(*sum))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_text_only_where_a_reader_would_round_them() {
        let most = 9_007_199_254_740_991_i64;
        assert_eq!([number(7), number(most.into()), number((-most).into())], [json!(7), json!(most), json!(-most)]);
        assert_eq!(number(i128::from(most) + 1), json!("9007199254740992"));
        assert_eq!(number(i128::from(i64::MIN)), json!("-9223372036854775808"));
        assert_eq!(number(i128::MAX), json!(i128::MAX.to_string()));
    }
}
