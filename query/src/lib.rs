//! Read-only eyes on the lake: SQL over its tables. Nothing here writes.

mod catalog;
mod sql;
pub mod verify;

pub use sql::{QueryError, run};
