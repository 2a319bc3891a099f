//! The one loop that drives a job: signals in, epochs out.
//!
//! ```text
//!   source ──Assigned──> look at the tables, begin each partition where it stands
//!          ──Batch─────> the partition's operator
//!          ──Revoked───> finish the epoch in flight, or abandon it, and let go
//!          ──Ended─────> write all that the partition holds, and let go
//!
//!   operators ──freeze, every commit interval──> epoch ──files, then one commit a table──> tables
//! ```
//!
//! One epoch is in flight at a time; meanwhile the next one fills, up to a limit. What a table says of a partition is
//! believed, what this process remembers is not: after every epoch that did not go through, its partitions are taken
//! back to where the table stands, and read again from there. So are partitions that another writer has moved, which a
//! look every few seconds finds out, however quiet they are.
//!
//! A stop is seen in every wait. From then on the last epoch is all that is waited for, and not for long.
//!
//! `running.rs` is the loop, over what `state.rs` says; `beginning.rs` begins partitions, and `settling.rs` settles
//! epochs and lets partitions go.
//! When epochs are cut is decided in `cadence.rs`.

mod beginning;
mod cadence;
mod epoch;
mod error;
mod fencings;
mod owned;
mod progress;
mod running;
mod settling;
mod state;

pub use beginning::start;
pub use cadence::Pace;
pub use error::DriveError;
pub use progress::{COMMIT_SECONDS_BOUNDS, Committed, Progress, Reach};
pub use running::drive;
