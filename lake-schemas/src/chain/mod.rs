//! Live answers: what running jobs hold beyond the tables of counts, in a form that a reader can add to them exactly.
//!
//! For each partition of a table of counts a job keeps a **chain**: the steps that it handed over, each from a stand to
//! a stand, and behind them the **open part**, which is all that its operator holds and has not handed over.
//!
//! ```text
//!              stands:   S1 ──rows──> S2 ──rows──> S3 · open part · next
//!                        └─ in the table ─┘└─ not yet ─┘
//!
//!   an answer of the table at S2:  its rows + the rows of S2 to S3 + the open part  =  all that counts below `next`
//! ```
//!
//! **The rule of a reader.** A reader that has a version of the table takes the stand of that version, whole, and looks
//! for the step, or the open part, that begins at exactly this stand. It adds that and all behind it, and names `next`
//! as its cut. If none begins there, it adds nothing of that partition: see [`Place`]. It uses one chain for a
//! partition, and only one of the same table and the same spec: see [`Chain::is_of`].
//!
//! **Frames.** A job says what it does in [`Frame`]s, in numbered [sets](FrameSet) that are applied whole and in order.
//! A [`Feed`] is one process as those who listen to it know it: both ends apply the same frames with the same code, and
//! whatever is out of order is a [`Gap`], after which a listener connects anew. [`wire`] has the bytes of a set.
//! [`cells`] has the rows of the open part, [`open`] keeps them.
//!
//! Everything here is a function of frames: there is no clock, no channel and no connection.

pub mod cells;
pub mod feed;
pub mod frame;
pub mod gap;
pub mod open;
pub mod steps;
pub mod wire;

pub use feed::Feed;
pub use frame::{ChainKey, Frame, FrameSet, FrameSink};
pub use gap::Gap;
pub use open::{Cell, OpenPart};
pub use steps::{Beyond, Chain, ChainStep, Place};

#[cfg(test)]
mod tests;
