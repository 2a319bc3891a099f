//! The commit protocol: commits rows and the cut that they belong to in one atomic step, whoever else is writing.
//!
//! A Delta commit is one put-if-absent of `_delta_log/<version>.json`. This module builds on that alone:
//!
//! ```text
//!   look at the table's head (its version, every txn value, the live files)
//!     │
//!     ├─ does each txn that this commit moves stand where the commit starts?   no → Fenced
//!     ├─ is each file that it removes still live?                             no → InputGone
//!     ├─ is this the version that it was worked out from, if it names one?    no → Overtaken
//!     │
//!     └─ put version head + 1, if absent
//!          ├─ done                      → Committed
//!          ├─ someone was first         → read what they wrote, look again
//!          └─ failed, or no reply       → an error; the next attempt looks first
//! ```
//!
//! The head is checked, and then the very next version is put: nothing can come between the two. That is stricter than
//! delta-rs's own transaction, which lets two rewrites of one file both win and fails an append that meets a delete. It
//! costs the same at version 10,000 as at version 100, because the head is followed and never rebuilt.
//!
//! A commit that reports failure may have happened. It is recognised by its [`CommitId`], which is one for each epoch
//! and not one for each attempt, so trying the same commit again is always safe:
//!
//! | the table stands | outcome |
//! |---|---|
//! | where the epoch starts | not committed: the attempt goes on |
//! | where it ends, with our commit id | committed, the reply was lost |
//! | anywhere else | another process owns a partition: [`Outcome::Fenced`] |
//! | unknown: entries that may be it were cleaned up | an error, [`LakeError::Altered`]: open the table again |
//!
//! Every outcome other than committed is certain for the rows, but not for the files. A commit that was ever put
//! ([`CommitId::was_put`]) may be found in the log by whoever looks next, so its maker never deletes its files. The
//! sweep deletes them later, if no version names them.

mod ahead;
mod changes;
mod checkpoint;
mod clean;
mod confirmed;
mod definition;
mod doubt;
mod entry;
mod foreign;
mod head;
mod id;
mod judge;
mod lines;
mod live;
mod load;
mod log;
mod looked;
mod minutes;
mod named;
mod noticed;
#[cfg(test)]
mod others;
mod partitions;
mod shape;
mod terms;
mod transaction;
mod upgrade;
mod versions;
mod view;
mod whole;
mod written;

pub use changes::Changed;
pub use checkpoint::Checkpoint;
pub use clean::{Cleaned, Deletes};
pub use entry::VersionFiles;
pub use foreign::ForeignChange;
pub use head::Head;
pub use id::CommitId;
pub use judge::is_readable;
pub use load::{snapshot, without_deleted_rows};
pub use log::TableLog;
pub use partitions::Partitions;
pub use transaction::{Commit, Move, Outcome};
pub use upgrade::Lacking;
pub use view::TableView;
pub use written::Written;

use lake_schemas::table::Version;

#[cfg(doc)]
use crate::error::LakeError;
