//! The stored end of the log: a partition's events as the raw table has them, in offset order, up to the table's *cut*.
//!
//! The end is the cut and not the last row, because rejected messages follow the last row, and so do gaps. A follow
//! reads one partition up to the cut, and on from there each time that the table has grown. A replay ends there, as
//! soon as the live log has what comes next. Of a table with a bound, both end at that, and read no more files than
//! that needs.
//!
//! All who read it in a process share one [`RawTable`]. Its files are listed once; from then on the entries of the
//! table's log keep the list up to date. One [`Grower`] looks at it for all who wait for more.

mod budget;
mod costs;
mod follow;
mod follows;
mod growth;
mod listing;
mod live_log;
mod merge;
mod needed;
mod partition;
mod raw_table;
mod reach;
mod turns;
#[cfg(test)]
mod written;

pub use budget::Budget;
pub use growth::{Grower, Growth, RESTORES_EVERY, follows_every};
pub use live_log::LiveLog;
pub use needed::Needs;
pub use raw_table::{Meter, RawTable};
pub use reach::{Follower, RawReach, may_follow};

pub(crate) use self::follow::Followed;
pub(crate) use self::follows::Follows;
pub(crate) use self::partition::Replay;
#[cfg(test)]
pub(crate) use self::written::{Written, named};
