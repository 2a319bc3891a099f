//! The stored end of the log: a partition's events as the raw table has them, in offset order, up to the table's *cut*.
//!
//! The end is the cut and not the last row, because rejected messages follow the last row, and so do gaps. A replay
//! reads one partition up to where the raw table stands by then, and ends as soon as the live log has what comes next.
//! A bounded replay ends where it was told to, and reads no more files than that needs.
//!
//! All replays of a process share one [`RawTable`]. Its files are listed once; from then on the entries of the table's
//! log keep the list up to date.

mod budget;
mod costs;
mod listing;
mod live_log;
mod merge;
mod needed;
mod partition;
mod raw_table;

pub use budget::Budget;
pub use live_log::LiveLog;
pub use needed::Needs;
pub use raw_table::{Meter, RawTable};

pub(crate) use self::partition::Replay;
