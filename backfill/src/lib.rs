//! Recomputes history with the live operators: into a table of its own, or in place of the live rows.
//!
//! | | |
//! |---|---|
//! | [`Staging`] | makes a staging table, by the loop that writes the live table, from the raw table alone |
//! | [`Replace`] | computes closed windows of `clicks_minute` again, and replaces them in one commit |
//! | [`replay()`] | computes the rows that a table should have where it stands, in memory, for a comparison |
//! | [`has_all_of_history()`] | refuses a staging table that is not complete, where a complete one is needed |
//! | [`Promote`] | makes a staging table of all history `clicks_minute`, in one commit |
//! | [`explain()`] | lists the events behind one count, and why others do not count |
//!
//! [`Range`] says which part of history, [`Work`] how it is read. `end.rs` makes a bounded source out of the live
//! job's, `bounded.rs` reads it, and `recompute.rs` runs the operators over it.

mod bounded;
mod complete;
mod contents;
mod end;
mod explain;
mod feed;
mod in_place;
mod minute_files;
mod newest;
mod promote;
mod provenance;
mod range;
mod recompute;
mod replace;
mod replay;
mod scope;
mod staging;
mod work;

pub use complete::has_all_of_history;
pub use contents::{Changes, Day, MeasureSums};
pub use explain::{Explanation, explain};
pub use promote::{Promote, Promoted, What};
pub use range::Range;
pub use replace::{Replace, Replaced, Writes};
pub use replay::replay;
pub use staging::{Made, Staging};
pub use work::Work;
