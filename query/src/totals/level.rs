//! A table of counts at a version, as far as totals need it, and which of its roll-ups stand on it. No I/O.

use std::sync::Arc;

use lake_schemas::minute::Dimension;
use lake_schemas::table::Version;

use super::files::Files;

/// A table at a version.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    /// The version.
    pub version: Version,
    /// The version of its source that is in it; `None` if it was never rolled up.
    pub source: Option<Version>,
    /// What it counts by, beside the ad and its campaign.
    pub dimensions: Vec<Dimension>,
    /// Its files.
    pub files: Arc<Files>,
}

impl Level {
    /// The version of a source that this roll-up can be compared with it by: it has been rolled up from this one or
    /// one before it, and counts by the same.
    pub fn stands_on(&self, source: &Self) -> Option<Version> {
        self.source.filter(|version| *version <= source.version && self.dimensions == source.dimensions)
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::Table;

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
        assert_eq!(level(1, Some(7), &[Dimension::Country]).stands_on(&minutes), None);
    }
}
