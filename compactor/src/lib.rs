//! Keeps the lake cheap to read: rolls up minutes into hours and days, merges small files, and expires old versions.
//!
//! ```text
//!   clicks_minute ──folders that changed──> clicks_hourly ──days that changed──> clicks_daily      roll_up
//!   raw files of another program ──sorted in the order of the log──> one file for each partition   sort_out
//!   many small files of a folder ──the same rows, in their order──> few large ones                 merge
//!   versions past the retention that nothing depends on ──> deleted                                history
//! ```
//!
//! All changes go through the one commit protocol, and none of them changes a total: a compactor that is stopped, or
//! runs twice at once, leaves the same sums. Roll-ups, tables and their histories are independent of each other: work
//! that fails is reported and skipped, and the rest of the round goes on.

mod aggregation;
mod bin_packing;
mod error;
mod failures;
mod history;
mod merge;
mod report;
mod roll_up;
mod round;
mod session;
mod setbacks;
mod sort_out;
mod uncommitted;

pub use error::CompactError;
pub use history::{Expiration, Keep};
pub use report::Done;
pub use round::{Compactor, Plan};
