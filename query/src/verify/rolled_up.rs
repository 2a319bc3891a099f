//! Compares hours and days with their sources: most answers are taken from them, and a file that is lost there, or a
//! row that another program changed, does not show in the minutes.
//!
//! Each roll-up is compared at the version, and in the windows, from which totals are taken. Windows whose source has
//! changed since are left out: they will be rolled up again, and totals take them from the source until then.

use std::fmt;

use datafusion::prelude::SessionContext;
use lake_schemas::minute::Parameters;
use lake_schemas::table::{Version, column};
use lake_schemas::{EventTime, Table, Width, Windows, counted};
use lake_store::commit::Changed;
use lake_store::{Lake, LakeError};

use super::compared::{Compared, KEPT_MAX, Side, both_sides};
use super::difference::differ;
use super::keys::{Key, MeasureSums};
use super::lines::lines_of;
use super::lost;
use super::partition::timestamp;
use crate::error::QueryError;
use crate::open;
use crate::output::visible;
use crate::totals::{AsOf, sources_as_of};

/// A sum of a roll-up that differs from the sum of its source.
#[derive(Clone, Debug)]
pub struct RolledUp {
    /// Table of the roll-up.
    pub table: Table,
    /// Window and dimensions of the sum.
    pub key: Key,
    /// Names of the dimensions.
    pub dimensions: Vec<&'static str>,
    /// Sums in the roll-up.
    pub found: MeasureSums,
    /// Sums of the source.
    pub source: MeasureSums,
}

/// Result of the comparison of roll-ups.
#[derive(Debug, Default)]
pub struct RolledUps {
    /// Roll-ups that were compared, each with its version and the number of sums that differ.
    pub compared: Vec<(Table, Version, usize)>,
    /// The first sums that differ.
    pub differences: Vec<RolledUp>,
    /// Reasons for which others could not be read. An answer from these is missing, or wrong.
    pub unreadable: Vec<String>,
    /// Reasons for which others were not compared: no answer is taken from them.
    pub left_out: Vec<String>,
}

impl RolledUps {
    /// Returns whether each roll-up can be read, and equals its source.
    pub fn are_equal(&self) -> bool {
        self.unreadable.is_empty() && self.differing() == 0
    }

    /// Names the roll-ups that cannot be read. A reason begins with the name of its table.
    pub(super) fn unread(&self) -> Vec<String> {
        let named = |why: &String| {
            let table = Table::ROLLED_UP.into_iter().find(|table| why.starts_with(table.name()));
            let name = table.map_or_else(|| "a roll-up".to_owned(), |table| table.to_string());
            format!("{name} cannot be read")
        };
        self.unreadable.iter().map(named).collect()
    }

    /// Counts the sums that differ from their source.
    pub(super) fn differing(&self) -> usize {
        self.compared.iter().map(|(_, _, differing)| differing).sum()
    }

    /// Compares the roll-ups from which answers are taken at a version of `clicks_minute`, which the session knows.
    pub(super) async fn find(
        lake: &Lake,
        context: &SessionContext,
        parameters: &Parameters,
        minutes: Version,
        windows: &Windows,
    ) -> Result<Self, QueryError> {
        let mut this = Self::default();
        let sources = match sources_as_of(lake, AsOf::Version(minutes)).await {
            Ok(sources) => sources,
            // A fault of a roll-up is no fault of the minutes.
            Err(LakeError::Refused(why)) => {
                this.unreadable.push(why.to_string());
                return Ok(this);
            }
            Err(error) => return Err(error.into()),
        };
        let levels = [
            (Table::ClicksHourly, sources.hourly.map(|level| level.version), &sources.dirty.hours),
            (Table::ClicksDaily, sources.daily.map(|level| level.version), &sources.dirty.days),
        ];
        for (table, version, changed) in levels {
            let Some(version) = version else { continue };
            let comparing = async {
                open::register(context, lake, table, table.name(), Some(version)).await?;
                this.compare(context, parameters, table, version, changed, windows).await
            };
            let Err(error) = comparing.await else { continue };
            match lost::explained(lake, &Table::ROLLED_UP, error).await {
                // If it is the minutes that cannot be read, their own comparison ends with the reason.
                error @ (QueryError::Lake(LakeError::Refused(_)) | QueryError::Gone(_)) => {
                    this.unreadable.push(error.to_string());
                    // The next roll-up has this one as its source, so nothing is left to compare it with.
                    break;
                }
                error => return Err(error),
            }
        }
        Ok(this)
    }

    async fn compare(
        &mut self,
        context: &SessionContext,
        parameters: &Parameters,
        table: Table,
        version: Version,
        changed: &Changed,
        windows: &Windows,
    ) -> Result<(), QueryError> {
        let Changed::Folders(changed) = changed else {
            let why = format!(
                "{table}: what changed since version {version} was made is not known; nothing is taken from it"
            );
            self.left_out.push(why);
            return Ok(());
        };
        let window = format!("date_trunc('{}', window_start)", table.window_width().word());
        let source = table.source().unwrap_or(Table::ClicksMinute);
        let dimensions = parameters.dimension_columns();
        let (from, to) = whole(table.window_width(), windows);
        let asked = format!("window_start >= {from} and window_start < {to}");
        let side = |window: &str, of: Table| Side { window: window.to_owned(), rows: format!("{of} where {asked}") };
        let (found, source) = (side(column::WINDOW_START, table), side(&window, source));
        let sql = both_sides(&dimensions.join(", "), &found, &[source]);
        let mut compared = Compared::default();
        // The folders of the source are as wide as these windows.
        let is_clean = |window: EventTime| !changed.contains(&window.millis());
        compared.take(context, &sql, dimensions.len(), is_clean).await?;
        self.compared.push((table, version, compared.differing));
        let room = KEPT_MAX.saturating_sub(self.differences.len());
        let differing = compared.first().into_iter().take(room).map(|one| RolledUp {
            table,
            key: one.key,
            dimensions: dimensions.clone(),
            found: one.found,
            source: one.recounted,
        });
        self.differences.extend(differing);
        Ok(())
    }
}

/// Returns the largest range of whole windows within the windows to verify, as SQL has its bounds.
fn whole(width: Width, windows: &Windows) -> (String, String) {
    let from = windows.from().map(|from| {
        let start_ms = width.start_ms(from.millis());
        if start_ms == from.millis() { start_ms } else { width.end_ms(start_ms) }
    });
    let to = windows.to().map(|to| width.start_ms(to.millis()));
    (timestamp(from, i64::MIN), timestamp(to, i64::MAX))
}

impl fmt::Display for RolledUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.named(&self.dimensions);
        write!(f, "{} {}:{}", self.table, visible(&key), differ(&self.found, &self.source, "its source"))
    }
}

impl fmt::Display for RolledUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> =
            self.compared.iter().map(|(table, version, _)| format!("version {version} of {table}")).collect();
        match self.differing() {
            0 if shown.is_empty() => {}
            0 => writeln!(f, "what is rolled up says the same, at {}", shown.join(" and "))?,
            many => {
                let sums = counted(many, "sum");
                writeln!(f, "not what it is made of: {sums} of {}", shown.join(" and "))?;
                lines_of(f, &self.differences, many)?;
            }
        }
        if !self.unreadable.is_empty() {
            writeln!(f, "{} that cannot be read", counted(self.unreadable.len(), "roll-up"))?;
            lines_of(f, &self.unreadable, self.unreadable.len())?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "{} not compared", counted(self.left_out.len(), "roll-up"))?;
            lines_of(f, &self.left_out, self.left_out.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_windows_are_compared() {
        let time = |minutes: i64| EventTime::from_millis(minutes * 60_000);
        let windows = Windows::between(time(61), time(200)).expect("a range");
        let millis = |hours: i64| timestamp(Some(hours * 3_600_000), 0);
        assert_eq!(whole(Width::Hour, &windows), (millis(2), millis(3)));
        let windows = Windows::between(time(60), None).expect("a range");
        assert_eq!(whole(Width::Hour, &windows), (millis(1), timestamp(None, i64::MAX)));
    }
}
