//! Laws of history: what is read again is counted as it was live, wherever it is put.

mod beside;
mod faults;
mod live;
mod ranges;
mod refused;

pub use live::live_is_replay;
