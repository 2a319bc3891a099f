//! The lake as Delta tables in a folder or a bucket: how rows get into the tables and out again.
//!
//! One idea holds the system together: the **cut**, the prefix of the log that a table has seen, which every commit
//! records together with its rows. `lake_schemas` defines the cut and what the tables hold; this crate makes rows and
//! cut one atomic step that a crash, a lost reply or a second writer cannot split.
//!
//! Read in this order: [`Lake`] is the place, and [`store`] says what it needs of its store; [`files`] encodes rows as
//! data files, [`read`] reads them again, [`gone`] and [`lost`] explain one that is not there; [`commit`] is the
//! protocol by which files and stands come into a table, and how its files are cleaned up. [`pins`] keep versions from
//! clean-up, [`retire`] records which topics are over, [`mod@upgrade`] brings tables to the newest format, [`locked`]
//! is how state in memory is locked, [`fingerprint`] finds the fingerprint of a partition, which is its last row.
//!
//! This crate knows nothing of Kafka, of JSON, or of what is computed.

mod advice;
pub mod commit;
pub mod error;
pub mod files;
pub mod fingerprint;
pub mod gone;
mod lake;
pub mod locked;
pub mod lost;
pub mod path;
pub mod pins;
mod raw_file;
pub mod read;
pub mod retire;
mod statistics;
pub mod store;
pub mod stored_file;
pub mod upgrade;

pub use self::error::{LakeError, Result};
pub use self::lake::Lake;
pub use self::raw_file::RawFile;
pub use self::statistics::Statistics;
