//! What a compactor has done: a line for each thing.

use std::fmt;
use std::time::Duration;

use lake_schemas::Table;
use lake_schemas::table::Version;
use lake_store::commit::{Cleaned, ForeignChange};

const BYTES_PER_MB: f64 = 1e6;

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Done {
    /// A table was brought up to where its source stands.
    RolledUp {
        /// The table that was brought up.
        table: Table,
        /// The version of it that has the sums.
        version: Version,
        /// The source, and the version that is in it now.
        source: (Table, Version),
        /// How many windows were summed again.
        windows: usize,
        /// How many files were written.
        files: usize,
        /// Their size in bytes.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// Files were put together.
    Merged {
        /// The table that was compacted.
        table: Table,
        /// The version of it in which they are together.
        version: Version,
        /// How many files there were, and how many they became.
        files: (usize, usize),
        /// The size of those, and of these, in bytes.
        bytes: (u64, u64),
        /// How long it took.
        took: Duration,
    },
    /// Raw files that another program wrote were put in the order of the log again, a file for each partition.
    SortedOut {
        /// The raw table whose files were sorted.
        table: Table,
        /// The version of it in which they are apart.
        version: Version,
        /// How many files there were, and how many they became.
        files: (usize, usize),
        /// How long it took.
        took: Duration,
    },
    /// A log checkpoint was written, because nobody else had.
    Checkpointed {
        /// The table whose log it is in.
        table: Table,
        /// The version that it holds.
        version: Version,
        /// How long it took.
        took: Duration,
    },
    /// Old versions were given up.
    GaveUp {
        /// The table whose versions they were.
        table: Table,
        /// From which version on it is kept, and what was deleted.
        cleaned: Cleaned,
        /// How long it took.
        took: Duration,
    },
    /// Files were deleted that no version names.
    Swept {
        /// The table in whose folder they were.
        table: Table,
        /// How many, and their size.
        cleaned: Cleaned,
        /// How long it took.
        took: Duration,
    },
    /// Nothing was done: another program has changed a table's rows, which whoever runs the lake must know. A new
    /// compactor tells of it again, as far as it looks back.
    Foreign(ForeignChange),
    /// What a round would do to a table, if it did it.
    Would {
        /// The table that would change.
        table: Table,
        /// How many windows would be summed again.
        windows: usize,
        /// How many files would be put together, or sorted.
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
