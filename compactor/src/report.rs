//! What a compactor has done: a line for each thing.

use std::fmt;
use std::time::Duration;

use lake_schemas::Table;
use lake_schemas::commit::{Cleaned, ForeignChange, Version};

const BYTES_PER_MB: f64 = 1e6;

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Done {
    /// A table was brought up to where its source stands.
    RolledUp {
        /// Which table.
        table: Table,
        /// The version that it became.
        version: Version,
        /// The source, and the version that is in it now.
        source: (Table, Version),
        /// Windows that were summed again.
        windows: usize,
        /// Files that were written.
        files: usize,
        /// Their size.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// Files were put together.
    Merged {
        /// Of which table.
        table: Table,
        /// The version that it became.
        version: Version,
        /// How many there were, and how many there are.
        files: (usize, usize),
        /// Their sizes.
        bytes: (u64, u64),
        /// How long it took.
        took: Duration,
    },
    /// Raw files that another program wrote were put in the order of the log again, a file for each partition.
    SortedOut {
        /// Of which table.
        table: Table,
        /// The version that it became.
        version: Version,
        /// How many there were, and how many there are.
        files: (usize, usize),
        /// How long it took.
        took: Duration,
    },
    /// A log checkpoint was written, because nobody else had.
    Checkpointed {
        /// Of which table.
        table: Table,
        /// Of which version.
        version: Version,
        /// How long it took.
        took: Duration,
    },
    /// Old versions were given up.
    GaveUp {
        /// Of which table.
        table: Table,
        /// What was deleted.
        cleaned: Cleaned,
        /// How long it took.
        took: Duration,
    },
    /// Files were deleted that no version names.
    Swept {
        /// Of which table.
        table: Table,
        /// What was deleted.
        cleaned: Cleaned,
        /// How long it took.
        took: Duration,
    },
    /// Nothing was done: another program has changed a table's rows, which whoever runs the lake must know.
    Foreign(ForeignChange),
    /// What a round would do to a table, if it did it.
    Would {
        /// To which table.
        table: Table,
        /// Windows that would be summed again.
        windows: usize,
        /// Files that would be put together.
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
                "{table} version {version}: {before} files of another program sorted into {after}, each of one partition; {}",
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
            Self::Foreign(change) => write!(f, "{change}"),
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
