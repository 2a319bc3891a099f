//! The data model: the tables and their columns, positions in the log, what a table records of them, and the traits of
//! what is computed.
//!
//! Everything here is a value or a function of values: no store, no file, no clock, nothing asynchronous. The crate
//! `lake-store` says where the tables are, and how rows come into them.
//!
//! Read in this order: [`time`], [`position`] and [`width`] are the units of everything else. [`field`] lists the
//! fields of a click; [`table`] and [`schema`] define the tables and their columns. [`verdict`] says how an event is
//! judged, [`measure`] what is counted of it, [`windowing`] in which windows, and [`dimension`] by what. [`measured`]
//! has the measures of a table, [`minute`] all that decides its counts, and [`spec`] how it records that. [`rejection`]
//! says why a message is no event. [`stand`] is how far a table has come in the log, [`live`] who counts it on.
//! [`rows`] reads events out of batches, [`exact`] adds measures up. [`windows`] and [`folder`] are stretches of event
//! time, [`history`] is a bounded part of the log. [`job`] is what the loop of `ingest` drives, [`fingerprint`] the
//! fingerprint of a log, [`plural`] a number in words. [`chain`] is what jobs hold beyond the tables, for live answers.
//! [`code`] numbers the kinds of refusals, of this crate and of all others.

pub mod chain;
pub mod code;
pub mod dimension;
pub mod error;
pub mod exact;
pub mod field;
pub mod fingerprint;
pub mod folder;
pub mod history;
pub mod job;
pub mod live;
pub mod measure;
pub mod measured;
pub mod minute;
pub mod plural;
pub mod position;
pub mod rejection;
pub mod rows;
pub mod schema;
pub mod spec;
pub mod stand;
pub mod table;
pub mod time;
pub mod verdict;
pub mod width;
pub mod windowing;
pub mod windows;

pub use code::Code;
pub use dimension::Dimension;
pub use error::{Invalid, Refusal};
pub use field::Field;
pub use folder::Folder;
pub use history::History;
pub use live::{CountedBy, Live};
pub use measure::Measure;
pub use measured::Measures;
pub use plural::counted;
pub use position::{Cut, OffsetRange, TopicPartition};
pub use rejection::Rejection;
pub use stand::Stand;
pub use table::Table;
pub use time::{EventTime, LogDate, LogTime};
pub use verdict::Verdict;
pub use width::Width;
pub use windowing::Windowing;
pub use windows::Windows;
