//! Laws of history: events that are read again are counted as they were live, wherever the counts are put.

mod beside;
mod dropped;
mod explained;
mod faults;
mod live;
mod ranges;
mod refused;
mod versions;

pub use faults::{copy, damaged, is_right, rows};
pub use live::live_is_replay;
pub use versions::{EVERY, asked_of, asked_since, entry, lengthen, write_at};
