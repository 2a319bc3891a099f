//! Laws of compaction, roll-ups and clean-up: they change no sum, whoever interrupts them, and keep what must be kept.

mod cleaned_up;
mod faults;
mod in_doubt;
mod kept;
mod left_out;
mod pinned;
mod promoted;
mod rolled_up;
mod running;
mod silent;
mod sorted_out;
mod stated;
mod upgraded;

pub use faults::half_rolled_up;
pub use rolled_up::{are_newest, are_rolled_up};
