//! Reports of what a compactor has done, one line for each.

use std::fmt;
use std::time::Duration;

use lake_schemas::table::Version;
use lake_schemas::{Table, counted};
use lake_store::commit::{Cleaned, ForeignChange};

const BYTES_PER_MB: f64 = 1e6;

/// One thing that was done, or would be.
#[derive(Clone, Debug)]
pub enum Done {
    /// A roll-up was brought up to the version of its source.
    RolledUp {
        /// Roll-up that was brought up.
        table: Table,
        /// Version of the roll-up that has the sums.
        version: Version,
        /// The source, and the version of it that is now rolled up.
        source: (Table, Version),
        /// Number of windows that were summed again.
        windows: usize,
        /// Number of files that were written.
        files: usize,
        /// Size of these files, in bytes.
        bytes: u64,
        /// Duration of the work.
        took: Duration,
    },
    /// Small files were merged into larger ones.
    Merged {
        /// The table that was compacted.
        table: Table,
        /// Version of the table that has the merged files.
        version: Version,
        /// Number of files before, and after.
        files: (usize, usize),
        /// Size of the files before, and after, in bytes.
        bytes: (u64, u64),
        /// Duration of the work.
        took: Duration,
    },
    /// Raw files that another program wrote were sorted in the order of the log again, a file for each partition.
    SortedOut {
        /// The raw table whose files were sorted.
        table: Table,
        /// Version of the table that has the sorted files.
        version: Version,
        /// Number of files before, and after.
        files: (usize, usize),
        /// Duration of the work.
        took: Duration,
    },
    /// A log checkpoint was written, because the process that owed it had not.
    Checkpointed {
        /// The table whose log was checkpointed.
        table: Table,
        /// Version that the checkpoint holds.
        version: Version,
        /// Duration of the work.
        took: Duration,
    },
    /// Old versions expired.
    GaveUp {
        /// The table whose versions expired.
        table: Table,
        /// First version that is kept, and what was deleted.
        cleaned: Cleaned,
        /// Duration of the work.
        took: Duration,
    },
    /// Orphans were deleted: files that no version names.
    Swept {
        /// The table in whose folder they were.
        table: Table,
        /// Number of deleted files, and their size.
        cleaned: Cleaned,
        /// Duration of the work.
        took: Duration,
    },
    /// Another program changed rows of a table, which whoever runs the lake must know; nothing was done about it. A new
    /// compactor reports it again, as far as it looks back.
    Foreign(ForeignChange),
    /// Work that a round would do to a table (dry run).
    Would {
        /// The table that would change.
        table: Table,
        /// Number of windows that would be summed again.
        windows: usize,
        /// Number of files that would be merged or sorted.
        files: usize,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledUp { table, version, source: (source, from), windows, files, bytes, took } => write!(
                f,
                "{table} version {version}: {} summed from version {from} of {source}; {}, {}, {}",
                counted(*windows, "window"),
                counted(*files, "file"),
                size(*bytes),
                seconds(*took)
            ),
            Self::Merged { table, version, files: (before, after), bytes: (input, output), took } => write!(
                f,
                "{table} version {version}: {} put together into {after}; {} became {}, {}",
                counted(*before, "file"),
                size(*input),
                size(*output),
                seconds(*took)
            ),
            Self::SortedOut { table, version, files: (before, after), took } => write!(
                f,
                "{table} version {version}: {} of another program sorted into {after}, each of one partition; {}",
                counted(*before, "file"),
                seconds(*took)
            ),
            Self::Checkpointed { table, version, took } => {
                write!(f, "{table} version {version}: log checkpoint, {}", seconds(*took))
            }
            Self::GaveUp { table, cleaned: Cleaned { from, files, bytes, log_files }, took } => write!(
                f,
                "{table}: versions before {from} given up; {}, {}, {log_files} of the log, {}",
                counted(*files, "file"),
                size(*bytes),
                seconds(*took)
            ),
            Self::Swept { table, cleaned: Cleaned { files, bytes, .. }, took } => {
                let (files, size) = (counted(*files, "file"), size(*bytes));
                write!(f, "{table}: {files} deleted that no version names; {size}, {}", seconds(*took))
            }
            Self::Foreign(change) => {
                write!(f, "among the newest versions of {}, so said at each start: {change}", change.table)
            }
            Self::Would { table, windows, files } => {
                let summed = format!("{} would be summed", counted(*windows, "window"));
                let together = counted(*files, "file");
                match (windows, files) {
                    (0, _) => write!(f, "{table}: {together} would be put together"),
                    (_, 0) => write!(f, "{table}: {summed}"),
                    (_, _) => write!(f, "{table}: {summed}, {together} put together"),
                }
            }
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / BYTES_PER_MB),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_window_or_file_is_not_said_to_be_several() {
        let (table, source, took) = (Table::ClicksHourly, (Table::ClicksMinute, 7), Duration::from_secs(1));
        let rolled_up = Done::RolledUp { table, version: 3, source, windows: 1, files: 1, bytes: 1_000, took };
        let said = "clicks_hourly version 3: 1 window summed from version 7 of clicks_minute; 1 file, 1 kB, 1.00 s";
        assert_eq!(rolled_up.to_string(), said);
        let would = |windows, files| Done::Would { table, windows, files }.to_string();
        assert_eq!(would(0, 1), "clicks_hourly: 1 file would be put together");
        assert_eq!(would(1, 0), "clicks_hourly: 1 window would be summed");
        assert_eq!(would(2, 3), "clicks_hourly: 2 windows would be summed, 3 files put together");
    }
}
