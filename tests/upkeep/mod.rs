//! Laws of what keeps the lake cheap: it changes no sum, whoever interrupts it, and keeps what is to be kept.

mod faults;
mod kept;
mod left_out;
mod promoted;
mod rolled_up;
mod running;
mod stated;

pub use rolled_up::are_rolled_up;
