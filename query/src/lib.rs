//! Read-only eyes on the lake, without a server: SQL over its tables at any version, with its shell; totals and series
//! at any moment; audits. Nothing here writes the lake.
//!
//! What others await of it is boxed: a future that is not is compiled again by each crate that awaits it, and these are
//! large.

mod complete;
mod error;
mod locked;
mod open;
pub mod output;
mod rows;
mod sees;
pub mod shell;
pub mod sql;
pub mod totals;
pub mod verify;

pub use error::{Overflow, QueryError};
pub use sees::Sees;
pub use sql::run;
