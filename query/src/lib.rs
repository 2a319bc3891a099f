//! Reads the lake without a server: SQL over its tables at any version, with a shell; totals and series at any moment;
//! audits. Nothing here writes the lake.
//!
//! Futures that other crates await are boxed: each crate that awaits one that is not compiles it again, and these are
//! large.

mod access;
mod causes;
mod complete;
mod damaged;
mod error;
mod gone;
mod open;
pub mod output;
mod rows;
pub mod shell;
pub mod sql;
pub mod totals;
pub mod verify;

pub use access::RowAccess;
pub use error::{Overflow, QueryError};
pub use gone::Gone;
pub use sql::run;
