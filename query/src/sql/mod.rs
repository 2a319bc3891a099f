//! SQL over the lake: DataFusion's own, with time travel, over tables that SQL cannot write.
//!
//! ```text
//!   text ── statements ──▶ one statement ── session ──▶ rows
//!           VERSION AS OF        │
//!           numbers              ├─ nesting   no deeper than a stack holds
//!                                ├─ honoured  refuses what DataFusion would ignore
//!                                ├─ catalog   which tables there are, which names are the lake's
//!                                ├─ snapshot  each table at one version while the statement runs
//!                                ├─ table     scans a table there; refuses to write
//!                                ├─ functions history, changes (totals and series: see crate::totals)
//!                                ├─ printing  prints rows for people or programs, as they come
//!                                ├─ row_filter   row-level access: only the rows of some campaigns
//!                                ├─ checked_sum, checked_arithmetic   no whole number wraps around
//!                                ├─ set_comparison   ALL and ANY compare with the rows of their query
//!                                ├─ lists     a text is never cast to a list
//!                                ├─ truth, spans, whole_minutes   comparisons, products, times as in PostgreSQL
//!                                ├─ targets   a path that COPY writes to is taken literally
//!                                └─ guard     no file of the lake is put, replaced or deleted
//! ```

mod catalog;
mod changes;
mod checked_arithmetic;
mod checked_sum;
mod errors;
mod functions;
mod guard;
mod history;
mod honoured;
mod lists;
mod names;
pub mod nesting;
mod numbers;
mod printing;
mod referenced;
mod relations;
mod row_filter;
mod session;
mod set_comparison;
mod shared;
mod snapshot;
mod spans;
mod statements;
mod summary;
mod table;
mod targets;
mod truth;
pub mod visited;
mod whole_minutes;

pub(crate) use guard::is_in_lake;
pub use names::{CATALOG, SCHEMA};
pub use row_filter::HIDDEN;
pub(crate) use row_filter::seen_by;
pub use session::{Session, run};
pub use shared::Shared;
pub use snapshot::StatementSnapshot;
pub use statements::{Statement, statements};
pub use summary::TableSummary;
