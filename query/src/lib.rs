//! Read-only eyes on the lake: SQL over its tables, audits, and totals at any moment. Nothing here writes.

mod catalog;
mod sql;
pub mod totals;
pub mod verify;

pub use sql::{QueryError, run};
