//! The one loop that drives a job: signals in, epochs out.
//!
//! ```text
//!   source ──Assigned──> look at the tables, begin each partition where it stands
//!          ──Batch─────> the partition's operator
//!          ──Revoked───> finish the epoch in flight, or abandon it, and release
//!          ──Ended─────> write all that the partition holds, and release
//!
//!   operators ──flush, every commit interval──> epoch ──files, then one commit a table──> tables
//! ```
//!
//! One epoch is in flight at a time; meanwhile the next one fills, up to a limit. The tables are believed, the memory
//! of this process is not: after every epoch that did not go through, its partitions are reset to where the table
//! stands, and read again from there. So are partitions that another writer has moved, which a look every few seconds
//! finds out, however quiet they are.
//!
//! Every wait sees a stop. From then on only the last epoch is waited for, and not for long.
//!
//! `running.rs` is the loop, over the state in `state.rs`; `beginning.rs` begins partitions, and `settling.rs` settles
//! epochs and releases partitions. `cadence.rs` decides when epochs are cut, and `committer.rs` has the tables, or the
//! one operation that is under way on them.

mod beginning;
mod cadence;
mod catch_up;
mod committer;
mod epoch;
mod error;
mod fencings;
mod owned;
mod progress;
mod running;
mod settling;
mod state;

pub use beginning::start;
pub use cadence::CommitPolicy;
pub use error::DriveError;
pub use progress::{COMMIT_SECONDS_BOUNDS, Committed, Progress, Reach};
pub use running::drive;
