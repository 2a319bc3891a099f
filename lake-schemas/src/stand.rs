//! The stand: all that a commit records of one partition, stored as `txn` actions of the same commit.
//!
//! ```text
//! clicklake/<table>/<topic>/<partition>         the cut: the next offset to read
//!           …                       /read       of clicks: messages read below the cut (offsets may have gaps)
//!           …                       /emitted    of minutes: the watermark up to which windows are out, microseconds
//!           …                       /drained    of minutes: the offset below which everything is written
//!           …                       /restore    of minutes: where a restart begins to read
//!           …                       /retired    of minutes: whether it is waited for; no part of the stand
//! clicklake/<table>/from                        of roll-ups: the version of their source that is in them
//! ```
//!
//! An absent `txn` is a value, too: two writers that both start from nothing must fence each other.

use std::collections::BTreeMap;

use crate::position::{Cut, TopicPartition};
use crate::table::{Table, Version};
use crate::time::MICROS_PER_MILLI;

/// Delta's key of a `txn`, under which one writer counts.
pub type AppId = String;

/// Watermark that is before every window, in milliseconds: the earliest time that an event can have.
const EMITTED_NOTHING_MS: i64 = -253_402_300_799_999;

/// The stand of one partition in one table. A value that the table does not record is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Cut: everything below this offset has been taken into account, nothing from it on.
    pub cut: Option<i64>,
    /// Number of messages read below the cut; recorded for `clicks` only.
    pub read: Option<i64>,
    /// Watermark, in milliseconds: every event below the cut whose window ends at or before it is in the table.
    /// Recorded for minutes.
    pub watermark_ms: Option<i64>,
    /// Drained offset: every event below it is in the table, whatever its window. Recorded for minutes.
    pub drained: Option<i64>,
    /// Offset at which a restart begins to read; recorded for minutes.
    pub restore: Option<i64>,
}

impl Stand {
    /// Reads a stand out of a table's `txn` values, by `value_of`.
    pub fn decode(table: Table, partition: &TopicPartition, value_of: impl Fn(&str) -> Option<i64>) -> Self {
        let mut stand = Self::default();
        for (app_id, part) in parts(table, partition) {
            *part.of(&mut stand) = value_of(&app_id).map(|value| part.of_txn(value));
        }
        stand
    }

    /// Returns the `txn` values of which it consists, absent ones included.
    pub fn encode(mut self, table: Table, partition: &TopicPartition) -> Vec<(AppId, Option<i64>)> {
        let parts = parts(table, partition).into_iter();
        parts.map(|(app_id, part)| (app_id, part.of(&mut self).map(|value| part.to_txn(value)))).collect()
    }

    /// Returns the partition whose cut is in this `txn`; `None` if the `txn` is something else.
    pub fn partition_of(table: Table, app_id: &str) -> Option<TopicPartition> {
        let (topic, partition) = app_id.strip_prefix(&format!("clicklake/{table}/"))?.split_once('/')?;
        let named = TopicPartition::new(topic, partition.parse().ok()?);
        // One partition has one name: `+3` and `03` are not ours.
        let is_ours = parts(table, &named).first().is_some_and(|(cut, _)| cut == app_id);
        is_ours.then_some(named)
    }

    /// Returns this stand for a table that now has the stand `there`. A `txn` cannot be removed: a value that is
    /// recorded there and absent here becomes one that means as much as none.
    #[must_use]
    pub fn in_place_of(self, there: Self) -> Self {
        let or = |ours: Option<i64>, theirs: Option<i64>, none: i64| ours.or(theirs.map(|_| none));
        Self {
            cut: or(self.cut, there.cut, 0),
            read: or(self.read, there.read, 0),
            watermark_ms: or(self.watermark_ms, there.watermark_ms, EMITTED_NOTHING_MS),
            drained: or(self.drained, there.drained, 0),
            // No event was below the cut, so a restart has nothing to read below it.
            restore: or(self.restore, there.restore, self.cut.unwrap_or(0)),
        }
    }

    /// Returns whether `later` is strictly beyond this stand, as an epoch demands: more of the log is taken into
    /// account, or more of it is drained.
    pub fn is_behind(self, later: Self) -> bool {
        // `None < Some(_)` is intended: an absent value is behind every offset.
        self.cut < later.cut || (self.cut == later.cut && self.drained < later.drained)
    }
}

/// End of the `txn` that says whether a partition is waited for.
const RETIRED: &str = "/retired";

/// Value of a [`retirement`] for a partition that is waited for, whether or not it has had a message.
pub const WAITED_FOR: i64 = -1;

/// Returns the `txn` that says whether a partition is waited for: [`WAITED_FOR`], or the cut at which its topic was
/// over. A message behind that cut makes it void, because the partition then has another cut.
pub fn retirement(table: Table, partition: &TopicPartition) -> AppId {
    format!("clicklake/{table}/{partition}{RETIRED}")
}

/// Returns the partition of a [`retirement`]; `None` if the `txn` is something else.
pub fn retirement_of(table: Table, app_id: &str) -> Option<TopicPartition> {
    Stand::partition_of(table, app_id.strip_suffix(RETIRED)?)
}

/// Returns whether a partition with this stand is over, by the value of its [`retirement`].
pub fn is_over(retirement: i64, stand: Stand) -> bool {
    retirement >= 0 && retirement == stand.cut.unwrap_or(0)
}

/// Returns the name of the `txn` by which a roll-up records the version of its source that it was made of.
pub fn source_version(table: Table) -> AppId {
    format!("clicklake/{table}/from")
}

/// Returns the version of the source that a roll-up was made of, by the roll-up's `txn` values; `None` if there is
/// none.
pub fn rolled_up_from(table: Table, txn: impl Fn(&str) -> Option<i64>) -> Option<Version> {
    txn(&source_version(table)).and_then(|version| Version::try_from(version).ok())
}

/// Returns the cut of all these partitions together.
pub fn cut_of(stands: &BTreeMap<TopicPartition, Stand>) -> Cut {
    stands.iter().filter_map(|(partition, stand)| Some((partition.clone(), stand.cut?))).collect()
}

/// One of the values of a stand.
#[derive(Clone, Copy)]
enum Part {
    Cut,
    Read,
    Watermark,
    Drained,
    Restore,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Cut => "",
            Self::Read => "/read",
            Self::Watermark => "/emitted",
            Self::Drained => "/drained",
            Self::Restore => "/restore",
        }
    }

    fn of(self, stand: &mut Stand) -> &mut Option<i64> {
        match self {
            Self::Cut => &mut stand.cut,
            Self::Read => &mut stand.read,
            Self::Watermark => &mut stand.watermark_ms,
            Self::Drained => &mut stand.drained,
            Self::Restore => &mut stand.restore,
        }
    }

    fn to_txn(self, value: i64) -> i64 {
        if matches!(self, Self::Watermark) { value.saturating_mul(MICROS_PER_MILLI) } else { value }
    }

    fn of_txn(self, value: i64) -> i64 {
        if matches!(self, Self::Watermark) { value.div_euclid(MICROS_PER_MILLI) } else { value }
    }
}

fn parts(table: Table, partition: &TopicPartition) -> Vec<(AppId, Part)> {
    let parts: &[Part] = match table {
        Table::Clicks => &[Part::Cut, Part::Read],
        Table::ClicksRejected => &[Part::Cut],
        // Roll-ups stand where the table stands that they are rolled up from: see [`source_version`].
        Table::ClicksHourly | Table::ClicksDaily => &[],
        Table::ClicksMinute | Table::Staging(_) => &[Part::Cut, Part::Watermark, Part::Drained, Part::Restore],
    };
    parts.iter().map(|part| (format!("clicklake/{table}/{partition}{}", part.suffix()), *part)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn at(cut: Option<i64>, read: Option<i64>) -> Stand {
        Stand { cut, read, ..Stand::default() }
    }

    #[test]
    fn a_stand_survives_its_encoding() {
        let partition = TopicPartition::new("clicks.eu-1", 7);
        for stand in [Stand::default(), at(Some(0), None), at(Some(1_042), Some(1_000))] {
            let txns: HashMap<_, _> = stand
                .encode(Table::Clicks, &partition)
                .into_iter()
                .filter_map(|(id, value)| Some((id, value?)))
                .collect();
            let decoded = Stand::decode(Table::Clicks, &partition, |id| txns.get(id).copied());
            assert_eq!(decoded, stand);
        }
    }

    #[test]
    fn a_watermark_beyond_all_times_stays_there() {
        let partition = TopicPartition::new("clicks", 7);
        let read = Stand::decode(Table::ClicksMinute, &partition, |_| Some(i64::MIN));
        let written = read.encode(Table::ClicksMinute, &partition);
        assert!(written.iter().all(|(_, value)| *value == Some(i64::MIN)), "{written:?}");
    }

    #[test]
    fn the_ids_are_those_of_the_contract() {
        let partition = TopicPartition::new("clicks", 3);
        let ids = |table| Stand::default().encode(table, &partition).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(Table::Clicks), ["clicklake/clicks/clicks/3", "clicklake/clicks/clicks/3/read"]);
        assert_eq!(ids(Table::ClicksRejected), ["clicklake/clicks_rejected/clicks/3"]);
        let cut = "clicklake/clicks_minute/clicks/3".to_owned();
        let parts = ["/emitted", "/drained", "/restore"].map(|part| format!("{cut}{part}"));
        assert_eq!(ids(Table::ClicksMinute), [&[cut][..], &parts].concat());
        let partitions =
            ids(Table::ClicksMinute).iter().map(|id| Stand::partition_of(Table::ClicksMinute, id)).collect::<Vec<_>>();
        assert_eq!(partitions, [Some(partition), None, None, None]);
        for foreign in ["clicklake/clicks/clicks/+3", "clicklake/clicks/clicks/03", "clicklake/clicks_hourly/clicks/3"]
        {
            assert_eq!(Table::ALL.map(|table| Stand::partition_of(table, foreign)), [const { None }; 5], "{foreign}");
        }
    }

    #[test]
    fn a_partition_is_over_where_it_stood_then_and_nowhere_else() {
        let partition = TopicPartition::new("up-1", 3);
        let app_id = retirement(Table::ClicksMinute, &partition);
        assert_eq!(app_id, "clicklake/clicks_minute/up-1/3/retired");
        assert_eq!(retirement_of(Table::ClicksMinute, &app_id), Some(partition.clone()));
        assert_eq!(retirement_of(Table::Clicks, &app_id), None);
        assert_eq!(retirement_of(Table::ClicksMinute, "clicklake/clicks_minute/up-1/3/drained"), None);
        assert_eq!(Stand::partition_of(Table::ClicksMinute, &app_id), None, "it is no part of the stand");
        assert!(is_over(5, at(Some(5), None)) && is_over(0, Stand::default()));
        for (retirement, cut) in [(5, Some(6)), (5, None), (0, Some(1)), (WAITED_FOR, None), (WAITED_FOR, Some(5))] {
            assert!(!is_over(retirement, at(cut, None)), "{retirement} at {cut:?}");
        }
    }

    #[test]
    fn nothing_is_behind_everything() {
        let at = |cut| at(cut, None);
        assert!(at(None).is_behind(at(Some(0))));
        assert!(!at(Some(5)).is_behind(at(Some(5))));
        assert!(!at(Some(5)).is_behind(at(None)));
    }
}
