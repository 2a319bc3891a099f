//! Read-only eyes on the lake: SQL over its tables, audits, and totals at any moment. Nothing here writes.

mod error;
mod open;
mod rows;
pub mod shell;
pub mod sql;
pub mod totals;
pub mod verify;

pub use error::QueryError;
pub use sql::run;
