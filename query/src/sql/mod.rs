//! SQL over the lake: DataFusion's own, with time travel, over tables that nobody can write by it.
//!
//! ```text
//!   text ── statements ──▶ one statement ── session ──▶ rows
//!           VERSION AS OF        │
//!                                ├─ catalog   which tables there are, which names are the lake's
//!                                ├─ sight     each at one version for as long as the statement runs
//!                                ├─ table     scans it there; refuses to write
//!                                ├─ functions history, changes (totals and series: see crate::totals)
//!                                └─ guard     no file of the lake is put, replaced or deleted
//! ```

mod asked;
mod catalog;
mod changes;
mod functions;
mod guard;
mod held;
mod history;
mod relations;
mod session;
mod sight;
mod statements;
mod table;

pub use held::Held;
pub use session::{Session, run};
pub use statements::{Statement, statements};
