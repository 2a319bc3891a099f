//! Minute counts: the parameters that decide them, and the columns that hold them.
//!
//! Rows always add up: the counts of a window are the sum of its rows, however many commits wrote them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::code::Code;
use crate::error::{Invalid, Result};
use crate::measure::Measure;
use crate::measured::Measures;
use crate::table::{Table, column, timestamp};
use crate::time::{MILLIS_PER_HOUR, shown_duration};
use crate::windowing::Windowing;

pub use crate::dimension::Dimension;

/// Properties that record the parameters: see [`crate::spec`].
pub(crate) const PROPERTY_OUT_OF_ORDERNESS_MS: &str = "clicklake.out_of_orderness_ms";
pub(crate) const PROPERTY_ALLOWED_LATENESS_MS: &str = "clicklake.allowed_lateness_ms";
pub(crate) const PROPERTY_DEDUP_HORIZON_MS: &str = "clicklake.dedup_horizon_ms";
pub(crate) const PROPERTY_DIMENSIONS: &str = "clicklake.dimensions";

/// All properties that record the parameters.
pub const OWN_PROPERTIES: [&str; 4] =
    [PROPERTY_OUT_OF_ORDERNESS_MS, PROPERTY_ALLOWED_LATENESS_MS, PROPERTY_DEDUP_HORIZON_MS, PROPERTY_DIMENSIONS];

/// Parameters that decide the counts. A table records them when it is made. They never change afterwards, except that
/// measures may be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Windows that events are counted in.
    pub windowing: Windowing,
    /// Measures of the table, and from where on each is counted.
    pub measures: Measures,
    /// Out-of-orderness: how far an event's time may lie behind the largest so far without being behind the watermark,
    /// in milliseconds.
    pub out_of_orderness_ms: i64,
    /// Allowed lateness: how long after its end a window still takes clicks, in milliseconds of the watermark.
    pub allowed_lateness_ms: i64,
    /// Dedup horizon: how far apart the event times of two copies of a click may lie, in milliseconds.
    pub dedup_horizon_ms: i64,
    /// Dimensions beside the ad and its campaign.
    pub dimensions: Vec<Dimension>,
}

impl Default for Parameters {
    /// Returns the parameters of a table that is made now.
    fn default() -> Self {
        Self {
            windowing: Windowing::default(),
            measures: Measures::default(),
            out_of_orderness_ms: 5_000,
            allowed_lateness_ms: MILLIS_PER_HOUR / 4,
            dedup_horizon_ms: MILLIS_PER_HOUR,
            dimensions: Vec::new(),
        }
    }
}

impl Parameters {
    /// Returns whether the state that these parameters need is bounded: no duration is negative, and all together are
    /// at most 49 days (see [`SPAN_MS_MAX`]).
    pub(crate) fn has_bounds(&self) -> bool {
        let window_ms = self.windowing.width_ms();
        let spans = [self.out_of_orderness_ms, self.allowed_lateness_ms, self.dedup_horizon_ms, window_ms];
        let together = spans.into_iter().try_fold(0_i64, i64::checked_add);
        spans.iter().all(|span| *span >= 0) && together.is_some_and(|together| together <= SPAN_MS_MAX)
    }

    /// Returns how far behind the watermark the id of a counted click is remembered, in milliseconds: as long as its
    /// window may still take clicks, and then for the dedup horizon.
    pub fn memory_ms(&self) -> i64 {
        self.allowed_lateness_ms + self.windowing.width_ms() + self.dedup_horizon_ms
    }

    /// Returns the columns of a row's dimensions, in their order: the ad, its campaign, and those chosen.
    pub fn dimension_columns(&self) -> Vec<&'static str> {
        let chosen = self.dimensions.iter().map(|dimension| dimension.column());
        [column::AD_ID, column::CAMPAIGN_ID].into_iter().chain(chosen).collect()
    }

    /// Returns these parameters with all measures that this program knows, for readers: a measure that a table lacks
    /// reads as 0.
    #[must_use]
    pub fn with_all_measures(&self) -> Self {
        Self { measures: Measures::default(), ..self.clone() }
    }

    /// Returns these parameters as the spec of `table` records them. Only tables of minutes are counted from the log,
    /// so only they record the offsets at which measures begin.
    #[must_use]
    pub fn recorded_by(&self, table: Table) -> Self {
        let measures = if table.is_minutes() { self.measures.clone() } else { self.measures.without_beginnings() };
        Self { measures, ..self.clone() }
    }

    /// Returns the schema of a table of counts with these dimensions and measures.
    pub fn schema(&self, table: Table) -> SchemaRef {
        let dimension = |name: &'static str| Field::new(name, DataType::Utf8, name != column::AD_ID);
        let mut fields = vec![
            Field::new(column::WINDOW_START, timestamp(), false),
            Field::new(column::WINDOW_END, timestamp(), false),
        ];
        fields.extend(self.dimension_columns().into_iter().map(dimension));
        let (first, added): (Vec<_>, Vec<_>) = self.measures.iter().partition(|measure| !measure.is_added());
        fields.extend(first.into_iter().map(Measure::field));
        if table.is_minutes() {
            fields.extend([
                Field::new(column::PANE, DataType::Utf8, false),
                Field::new(column::TOPIC, DataType::Utf8, false),
                Field::new(column::KAFKA_PARTITION, DataType::Int32, false),
                Field::new(column::OFFSET_FIRST, DataType::Int64, false),
                Field::new(column::OFFSET_NEXT, DataType::Int64, false),
            ]);
        }
        fields.extend(table.partition_columns().iter().map(|&name| {
            let data_type = if name == column::HOUR { DataType::Int32 } else { DataType::Date32 };
            Field::new(name, data_type, false)
        }));
        // Columns that were added stand at the end, because that is where an upgrade puts them in tables that lack
        // them.
        fields.extend(added.into_iter().map(Measure::field));
        Arc::new(Schema::new(fields))
    }
}

/// Parameters that a command asks for. Where one is `None`, the value that the table records holds, or the default for
/// a new table.
#[derive(Clone, Debug, Default)]
pub struct Requested {
    /// Requested out-of-orderness: see [`Parameters::out_of_orderness_ms`].
    pub out_of_orderness_ms: Option<i64>,
    /// Requested allowed lateness: see [`Parameters::allowed_lateness_ms`].
    pub allowed_lateness_ms: Option<i64>,
    /// Requested dedup horizon: see [`Parameters::dedup_horizon_ms`].
    pub dedup_horizon_ms: Option<i64>,
    /// Requested dimensions: see [`Parameters::dimensions`].
    pub dimensions: Option<Vec<Dimension>>,
}

impl Requested {
    /// Returns the parameters of a table that is made now. Parameters that are not asked for are taken from `defaults`.
    pub fn of_a_new_table(&self, table: Table, defaults: Parameters) -> Result<Parameters> {
        let parameters = Parameters {
            out_of_orderness_ms: self.out_of_orderness_ms.unwrap_or(defaults.out_of_orderness_ms),
            allowed_lateness_ms: self.allowed_lateness_ms.unwrap_or(defaults.allowed_lateness_ms),
            dedup_horizon_ms: self.dedup_horizon_ms.unwrap_or(defaults.dedup_horizon_ms),
            dimensions: self.dimensions.clone().unwrap_or(defaults.dimensions),
            windowing: defaults.windowing,
            // The defaults may be those of an older table that lacks measures. A new table has all of them, from the
            // start.
            measures: Measures::default(),
        };
        if !parameters.has_bounds() {
            return Err(Invalid(Code::SettingsImpossible.because(format!(
                "{table}: --out-of-orderness, --allowed-lateness and --dedup-horizon together are more than 49 days, \
                 for which no state is kept; take less"
            ))));
        }
        let mut twice = parameters.dimensions.iter().enumerate();
        if let Some((_, dimension)) = twice.find(|(at, one)| parameters.dimensions[..*at].contains(one)) {
            return Err(Invalid(
                Code::SettingsImpossible.because(format!("{table}: --dimensions names {dimension} twice")),
            ));
        }
        Ok(parameters)
    }

    /// Refuses a table that records other parameters than those asked for.
    pub fn agrees_with(&self, table: Table, recorded: &Parameters) -> Result<()> {
        let numbers = [
            ("--out-of-orderness", self.out_of_orderness_ms, recorded.out_of_orderness_ms),
            ("--allowed-lateness", self.allowed_lateness_ms, recorded.allowed_lateness_ms),
            ("--dedup-horizon", self.dedup_horizon_ms, recorded.dedup_horizon_ms),
        ];
        let numbers = numbers.map(|(flag, asked, found)| (flag, asked.map(shown_duration), shown_duration(found)));
        let dimensions = self.dimensions.as_deref().map(names_of);
        let dimensions = [("--dimensions", dimensions, names_of(&recorded.dimensions))];
        for (flag, asked, found) in numbers.into_iter().chain(dimensions) {
            if let Some(asked) = asked.filter(|asked| *asked != found) {
                return Err(Invalid(Code::SettingsDiffer.because(format!(
                    "{table}: made with {flag} {found:?}, not {asked:?}; what decides results does not change in \
                     a table: make another with backfill --into, and promote it"
                ))));
            }
        }
        Ok(())
    }
}

/// Returns names of dimensions, as flags and properties write them.
pub(crate) fn names_of(dimensions: &[Dimension]) -> String {
    dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Longest span of time for which state is kept, in milliseconds: 49 days. Times of clicks in memory take 32 bits.
pub const SPAN_MS_MAX: i64 = u32::MAX as i64;

/// Pane of a row: whether the row was written before, when or after its window was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pane {
    /// Written before the watermark passed the end of the window, because the partition was idle, the job stopped, or
    /// early firing was due.
    Early,
    /// Written when the watermark passed the end of the window.
    OnTime,
    /// Written after the watermark passed the end of the window, for clicks that came within the allowed lateness.
    Late,
}

impl Pane {
    /// Returns the pane as the column `pane` holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::OnTime => "on_time",
            Self::Late => "late",
        }
    }
}
