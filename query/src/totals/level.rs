//! A table of counts at a version, as far as totals need it, and which roll-ups can be used with it. No I/O.

use std::sync::Arc;

use lake_schemas::minute::Dimension;
use lake_schemas::table::Version;

use super::files::Files;

/// A table of counts at a version.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// Version of the table.
    pub version: Version,
    /// Version of its source up to which it is rolled up; `None` if it was never rolled up.
    pub source: Option<Version>,
    /// Dimensions beside the ad and its campaign.
    pub dimensions: Vec<Dimension>,
    /// Live files at that version.
    pub files: Arc<Files>,
}

impl Level {
    /// Returns the version of `source` that this roll-up was made of, if it can be used with it: it was made of this
    /// version or an earlier one, and counts by the same dimensions.
    pub fn stands_on(&self, source: &Self) -> Option<Version> {
        self.source.filter(|version| *version <= source.version && self.dimensions == source.dimensions)
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::{Field, Table};

    use super::*;
    use crate::totals::files::LiveFiles;

    fn level(version: Version, source: Option<Version>, dimensions: &[Dimension]) -> Level {
        let files = LiveFiles::new(Table::ClicksMinute, version, &[]).expect("it has no files").files();
        Level { version, source, dimensions: dimensions.to_vec(), files }
    }

    #[test]
    fn a_roll_up_of_a_later_version_or_by_other_dimensions_stands_on_nothing() {
        let minutes = level(7, None, &[]);
        for (source, expected) in [(Some(3), Some(3)), (Some(7), Some(7)), (Some(8), None), (None, None)] {
            assert_eq!(level(1, source, &[]).stands_on(&minutes), expected, "{source:?}");
        }
        assert_eq!(level(1, Some(7), &[Dimension::of(Field::Country)]).stands_on(&minutes), None);
    }
}
