//! The contract that all clicklake jobs share: time, the click, the cut, the tables, the commit protocol.
//!
//! One idea holds the system together: the **cut**, the prefix of the log that a table has seen, which every commit
//! records together with its rows. [`position`] and [`stand`] say what a cut is, [`table`] what is written, and
//! [`commit`] how rows and cut become one atomic step that a crash, a lost reply or a second writer cannot split.
//!
//! This crate knows nothing of Kafka, of JSON, or of what is computed.

mod advice;
pub mod commit;
pub mod error;
pub mod exact;
pub mod files;
pub mod folder;
pub mod history;
pub mod job;
pub mod lake;
pub mod minute;
pub mod path;
pub mod pins;
pub mod position;
pub mod raw_file;
pub mod read;
pub mod rejection;
pub mod retire;
pub mod rows;
pub mod stand;
mod statistics;
pub mod store;
pub mod stored_file;
pub mod table;
pub mod time;
pub mod width;
pub mod windows;
pub mod witness;

pub use error::{LakeError, Result};
pub use folder::Folder;
pub use history::History;
pub use lake::Lake;
pub use position::{Cut, OffsetRange, TopicPartition};
pub use raw_file::RawFile;
pub use rejection::Rejection;
pub use stand::Stand;
pub use statistics::Statistics;
pub use table::Table;
pub use time::{EventTime, LogDate, LogTime};
pub use width::Width;
pub use windows::Windows;
