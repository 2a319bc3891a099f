//! Stores that give what a lake needs beyond `object_store`: writes that outlast a power loss ([`durable`]), and an end
//! to requests that stay silent ([`timely`]).

pub mod durable;
#[cfg(all(test, unix))]
mod power_loss;
mod staged;
pub mod timely;

pub use durable::{Disk, DurableFileSystem, SystemDisk};
pub use timely::Timely;
