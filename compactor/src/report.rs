//! Reports of what a compactor has done, one line for each.

use std::fmt;
use std::time::Duration;

use lake_schemas::Table;
use lake_schemas::table::Version;
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
        /// Time that it took.
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
        /// Time that it took.
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
        /// Time that it took.
        took: Duration,
    },
    /// A log checkpoint was written, because the process that owed it had not.
    Checkpointed {
        /// The table whose log was checkpointed.
        table: Table,
        /// Version that the checkpoint holds.
        version: Version,
        /// Time that it took.
        took: Duration,
    },
    /// Old versions expired.
    GaveUp {
        /// The table whose versions expired.
        table: Table,
        /// First version that is kept, and what was deleted.
        cleaned: Cleaned,
        /// Time that it took.
        took: Duration,
    },
    /// Orphans were deleted: files that no version names.
    Swept {
        /// The table in whose folder they were.
        table: Table,
        /// Number of deleted files, and their size.
        cleaned: Cleaned,
        /// Time that it took.
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
                "{table} version {version}: {windows} windows summed from version {from} of {source}; \
                 {files} files, {}, {}",
                size(*bytes),
                seconds(*took)
            ),
            Self::Merged { table, version, files: (before, after), bytes: (input, output), took } => write!(
                f,
                "{table} version {version}: {before} files put together into {after}; {} became {}, {}",
                size(*input),
                size(*output),
                seconds(*took)
            ),
            Self::SortedOut { table, version, files: (before, after), took } => write!(
                f,
                "{table} version {version}: {before} files of another program sorted into {after}, each of one \
                 partition; {}",
                seconds(*took)
            ),
            Self::Checkpointed { table, version, took } => {
                write!(f, "{table} version {version}: log checkpoint, {}", seconds(*took))
            }
            Self::GaveUp { table, cleaned: Cleaned { from, files, bytes, log_files }, took } => write!(
                f,
                "{table}: versions before {from} given up; {files} files, {}, {log_files} of the log, {}",
                size(*bytes),
                seconds(*took)
            ),
            Self::Swept { table, cleaned: Cleaned { files, bytes, .. }, took } => {
                write!(f, "{table}: {files} files deleted that no version names; {}, {}", size(*bytes), seconds(*took))
            }
            Self::Foreign(change) => {
                write!(f, "among the newest versions of {}, so said at each start: {change}", change.table)
            }
            Self::Would { table, windows: 0, files } => write!(f, "{table}: {files} files would be put together"),
            Self::Would { table, windows, files: 0 } => write!(f, "{table}: {windows} windows would be summed"),
            Self::Would { table, windows, files } => {
                write!(f, "{table}: {windows} windows would be summed, {files} files put together")
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
