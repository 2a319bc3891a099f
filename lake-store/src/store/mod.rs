//! What a lake asks of its store beyond what `object_store` gives: that where it is does not matter below it
//! ([`rooted`]), that a write outlasts a power loss ([`durable`]), and that one which stays silent is given up on
//! ([`timely`]).

pub mod durable;
#[cfg(all(test, unix))]
mod power_loss;
mod rooted;
mod staged;
pub mod timely;

pub use durable::{Disk, DurableFileSystem, SystemDisk};
pub(crate) use rooted::{LakeStore, Order};
pub use timely::Timely;
