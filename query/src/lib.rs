//! Read-only eyes on the lake: SQL over its tables, audits, and totals at any moment. Nothing here writes the lake.
//!
//! What others await of it is boxed: a future that is not is compiled again by each crate that awaits it, and these are
//! large.

mod error;
mod locked;
mod open;
pub mod output;
mod rows;
mod sees;
pub mod serve;
pub mod shell;
pub mod sql;
pub mod totals;
pub mod verify;

pub use error::{Overflow, QueryError};
pub use sees::Sees;
pub use sql::run;
