//! Laws of history: what is read again is counted as it was live, wherever it is put.

mod beside;
mod explained;
mod faults;
mod live;
mod ranges;
mod refused;
mod versions;

pub use faults::{copy, damaged, is_right, rows};
pub use live::live_is_replay;
pub use versions::{EVERY, asked_of, asked_since, entry, lengthen, write_at};
