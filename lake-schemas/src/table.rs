//! The tables of the lake: names, names of columns, partitioning, properties. Other people's programs rely on what is
//! defined here, and in [`schema`](crate::schema), which defines the columns of each table.
//!
//! All tables have reader version 1, writer version 2, and no deletion vectors.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use arrayvec::ArrayString;
use arrow::datatypes::SchemaRef;

use crate::field::{Field, Role};
use crate::width::Width;

pub use crate::field::timestamp;

/// Newest version of the format that this program reads and writes: `clicklake.format`. `clicklake upgrade` brings
/// tables to it.
pub const FORMAT: i64 = 2;

/// Version of the format in which tables are made: older than [`FORMAT`], so that somebody who goes back to an earlier
/// program can go on with the tables.
pub const FORMAT_OF_NEW: i64 = 1;

/// Longest time that an event time may lie after the log time of its message, in milliseconds. `clicks` records it.
pub const TIME_IN_FUTURE_MS: i64 = 5 * 60 * 1_000;

/// Property that holds the version of the format.
pub const PROPERTY_FORMAT: &str = "clicklake.format";

/// Property that lists, separated by commas, the features that writers of the table must know, from format 2 on.
pub const PROPERTY_NEEDS: &str = "clicklake.needs";

/// Property of `clicks` that holds the [`TIME_IN_FUTURE_MS`] that the table was made with: the bound behind
/// [`crate::Rejection::TimeInFuture`].
pub const PROPERTY_TIME_IN_FUTURE_MS: &str = "clicklake.time_in_future_ms";

/// Names of columns, so that no name is written in two places; those of `clicks` come from its fields.
pub mod column {
    #![allow(missing_docs, reason = "the names are the contract's, and say themselves")]
    use crate::field::Field;

    pub const TOPIC: &str = Field::Topic.column();
    pub const KAFKA_PARTITION: &str = Field::KafkaPartition.column();
    pub const KAFKA_OFFSET: &str = Field::KafkaOffset.column();
    pub const KAFKA_TIMESTAMP: &str = Field::KafkaTimestamp.column();
    pub const EVENT_TIME: &str = Field::EventTime.column();
    pub const EVENT_TYPE: &str = Field::EventType.column();
    pub const AD_ID: &str = Field::AdId.column();
    pub const CAMPAIGN_ID: &str = Field::CampaignId.column();
    pub const CLICK_ID: &str = Field::ClickId.column();
    pub const USER_ID: &str = Field::UserId.column();
    pub const PUBLISHER_ID: &str = Field::PublisherId.column();
    pub const COUNTRY: &str = Field::Country.column();
    pub const DEVICE: &str = Field::Device.column();
    pub const IP: &str = Field::Ip.column();
    pub const COST_MICROS: &str = Field::CostMicros.column();
    pub const EXTRA: &str = Field::Extra.column();
    pub const LOG_DATE: &str = Field::LogDate.column();
    pub const REASON: &str = "reason";
    pub const DETAIL: &str = "detail";
    pub const KEY: &str = "key";
    pub const PAYLOAD: &str = "payload";
    pub const WINDOW_START: &str = "window_start";
    pub const WINDOW_END: &str = "window_end";
    pub const PANE: &str = "pane";
    pub const OFFSET_FIRST: &str = "offset_first";
    pub const OFFSET_NEXT: &str = "offset_next";
    pub const DATE: &str = "date";
    pub const HOUR: &str = "hour";
    pub const MONTH: &str = "month";
}

/// Version number of a Delta table.
pub type Version = u64;

/// A table of the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The raw table: one row for each event, for ever.
    Clicks,
    /// Messages that could not be an event, with their bytes and the reason.
    ClicksRejected,
    /// Minute counts, by the event time of the clicks.
    ClicksMinute,
    /// Hourly counts: sums of the minutes of each hour.
    ClicksHourly,
    /// Daily counts: sums of the hours of each day.
    ClicksDaily,
    /// A staging table: minute counts in the shape of `clicks_minute`, computed from history.
    Staging(StagingName),
}

impl FromStr for Table {
    type Err = String;

    /// Returns the lake's own table with this name, or else the staging table that backfill may have made.
    fn from_str(name: &str) -> Result<Self, String> {
        let own = Self::ALL.into_iter().find(|table| table.name() == name);
        own.map_or_else(|| name.parse().map(Self::Staging), Ok)
    }
}

/// Longest name that people may give to something in a lake, in bytes.
pub const NAME_MAX: usize = 63;

/// Name of a staging table: lower-case letters, digits and underscores, and not the name of one of the lake's own
/// tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StagingName(ArrayString<NAME_MAX>);

impl FromStr for StagingName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if Table::ALL.iter().any(|table| table.name() == name) {
            return Err(format!("{name} is a table of the lake itself; give another name"));
        }
        legal_name(name).map(Self)
    }
}

/// Checks a name that people give to a staging table or a pin.
pub fn legal_name(name: &str) -> Result<ArrayString<NAME_MAX>, String> {
    let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let name = ArrayString::from(name).ok().filter(|name| begins && name.bytes().all(is_legal));
    name.ok_or_else(|| "expected up to 63 lower-case letters, digits and '_', a letter first".to_owned())
}

impl Table {
    /// All tables that a lake has by itself.
    pub const ALL: [Self; 5] =
        [Self::Clicks, Self::ClicksRejected, Self::ClicksMinute, Self::ClicksHourly, Self::ClicksDaily];

    /// Tables that ingest writes.
    pub const RAW: [Self; 2] = [Self::Clicks, Self::ClicksRejected];

    /// Tables that are rolled up, in the order in which they are made: hours from minutes, then days from hours.
    pub const ROLLED_UP: [Self; 2] = [Self::ClicksHourly, Self::ClicksDaily];

    /// Returns the folder of the table in the lake, which is also its name in SQL.
    pub fn name(&self) -> &str {
        match self {
            Self::Clicks => "clicks",
            Self::ClicksRejected => "clicks_rejected",
            Self::ClicksMinute => "clicks_minute",
            Self::ClicksHourly => "clicks_hourly",
            Self::ClicksDaily => "clicks_daily",
            Self::Staging(name) => &name.0,
        }
    }

    /// Returns whether the table holds minute counts.
    pub fn is_minutes(self) -> bool {
        matches!(self, Self::ClicksMinute | Self::Staging(_))
    }

    /// Returns whether the table holds counts, of windows of any width. Their columns depend on the
    /// [`Parameters`](crate::minute::Parameters).
    pub fn is_counts(self) -> bool {
        !Self::RAW.contains(&self)
    }

    /// Returns the table that this one is rolled up from, if it is a roll-up. Each window of the roll-up is one folder
    /// of that table.
    pub fn source(self) -> Option<Self> {
        match self {
            Self::ClicksHourly => Some(Self::ClicksMinute),
            Self::ClicksDaily => Some(Self::ClicksHourly),
            _ => None,
        }
    }

    /// Returns the width of the windows that the table counts. Raw tables have no windows, and return the width of
    /// their folders.
    pub fn window_width(self) -> Width {
        match self {
            Self::ClicksMinute | Self::Staging(_) => Width::Minute,
            Self::ClicksHourly => Width::Hour,
            Self::ClicksDaily | Self::Clicks | Self::ClicksRejected => Width::Day,
        }
    }

    /// Returns the length of the stretch of time that a folder of the table holds.
    pub fn folder_width(self) -> Width {
        match self {
            Self::ClicksMinute | Self::Staging(_) => Width::Hour,
            Self::Clicks | Self::ClicksRejected | Self::ClicksHourly => Width::Day,
            Self::ClicksDaily => Width::Month,
        }
    }

    /// Returns whether each data file of the table holds rows of one Kafka partition only. That is so in raw tables,
    /// which are replayed by partition; minute counts are too few for it.
    pub fn keeps_partitions_apart(self) -> bool {
        !self.is_counts()
    }

    /// Returns whether the table records the partitions that its counts wait for. They tell a reader that a count is
    /// final. A staging table has none, even if it is counted live: nobody is told that a count of it is final.
    pub fn waits_for_partitions(self) -> bool {
        self == Self::ClicksMinute
    }

    /// Returns the columns that the Delta table is partitioned by.
    pub fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Self::Clicks | Self::ClicksRejected => &[column::LOG_DATE],
            Self::ClicksMinute | Self::Staging(_) => &[column::DATE, column::HOUR],
            Self::ClicksHourly => &[column::DATE],
            Self::ClicksDaily => &[column::MONTH],
        }
    }

    /// Returns the columns with statistics: each file states their smallest and largest values, so that readers can
    /// skip the file.
    pub fn statistics_columns(self) -> &'static [&'static str] {
        match self {
            Self::Clicks => CLICKS_STATISTICS.as_slice(),
            Self::ClicksRejected => CLICKS_REJECTED_STATISTICS.as_slice(),
            Self::ClicksMinute | Self::Staging(_) => &[
                column::WINDOW_START,
                column::AD_ID,
                column::TOPIC,
                column::KAFKA_PARTITION,
                column::OFFSET_FIRST,
                column::OFFSET_NEXT,
            ],
            Self::ClicksHourly | Self::ClicksDaily => &[column::WINDOW_START, column::AD_ID, column::CAMPAIGN_ID],
        }
    }

    /// Returns the Delta properties that the table is made with.
    pub fn properties(self) -> Vec<(String, String)> {
        let mut properties = vec![
            (PROPERTY_FORMAT.to_owned(), FORMAT_OF_NEW.to_string()),
            ("delta.dataSkippingStatsColumns".to_owned(), self.statistics_columns().join(",")),
            // Otherwise a commit of a Delta writer may list the whole log.
            ("delta.enableExpiredLogCleanup".to_owned(), "false".to_owned()),
            // The log itself tells what was removed for as long as its entries are kept. Every checkpoint would repeat
            // it, and a table whose files are compacted removes as many as it gets.
            ("delta.deletedFileRetentionDuration".to_owned(), "interval 1 days".to_owned()),
        ];
        if self == Self::Clicks {
            properties.push((PROPERTY_TIME_IN_FUTURE_MS.to_owned(), TIME_IN_FUTURE_MS.to_string()));
        }
        properties
    }
}

/// Definition of a table: how it is made, and what is checked when it is opened.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Table that is defined.
    pub table: Table,
    /// All columns of the table.
    pub schema: SchemaRef,
    /// Number of columns at the end of `schema` that were added since format 1: an existing table may lack them.
    pub added: usize,
    /// Delta properties that the table is made with.
    pub properties: Vec<(String, String)>,
    /// Spec of the table, in the text of [`crate::spec`]; `None` for raw tables.
    pub spec: Option<String>,
}

impl Definition {
    /// Returns the number of columns of format 1, which every table of this definition has: those before the added
    /// ones.
    pub fn first_columns(&self) -> usize {
        self.schema.fields().len() - self.added
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Columns of `clicks` with statistics in its files: those of the fields that [`Field::has_statistics`] names.
static CLICKS_STATISTICS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let stated = Field::ALL.into_iter().filter(|field| field.has_statistics());
    stated.map(Field::column).collect()
});

/// Columns of `clicks_rejected` with statistics in its files: those of the position, as in `clicks`, and the reason.
static CLICKS_REJECTED_STATISTICS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let stated = Field::of_role(Role::Position).filter(|field| field.has_statistics());
    stated.map(Field::column).chain([column::REASON]).collect()
});
