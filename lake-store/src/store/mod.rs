//! Properties of its store that a lake needs beyond `object_store`: names that do not depend on where the lake is
//! ([`rooted`]), writes that outlast a power loss ([`durable`]), and requests that fail when the store stays silent
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
