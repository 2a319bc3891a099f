//! Keeps the lake cheap: hours and days rolled up from minutes, small files put together, history given up when its
//! time has come.
//!
//! ```text
//!   clicks_minute ──folders that changed──> clicks_hourly ──days that changed──> clicks_daily      roll_up
//!   raw files that another program wrote ──the order of the log──> a file for each partition       sort_out
//!   many small files of a folder ──the same rows, in their order──> few large ones                 merge
//!   versions older than is kept, and that nobody stands on ──> nothing                             history
//! ```
//!
//! All of it goes through the one commit protocol, and none of it matters for what is true: whoever stops it, or runs
//! it twice, finds the same sums. Roll-ups, tables and their histories are independent of each other: whatever cannot
//! be done is reported and left out, and the rest of the round goes on.

mod bins;
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
mod summing;
mod uncommitted;

pub use error::CompactError;
pub use history::{Keep, Kept};
pub use report::Done;
pub use round::{Compactor, Plan};
