//! Laws of what keeps the lake cheap: it changes no sum, whoever interrupts it, and keeps what is to be kept.

mod faults;
mod in_doubt;
mod kept;
mod pinned;
mod promoted;
mod rolled_up;
mod running;

pub use rolled_up::are_rolled_up;
