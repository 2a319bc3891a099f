//! History through the same operators: into a table of its own, or in place of what is there.
//!
//! | | |
//! |---|---|
//! | [`Shadow`] | a table is made, and written like the live job's, by the same loop, from the raw table alone |
//! | [`Replace`] | closed windows of `clicks_minute` are computed again, and replaced in one commit |
//! | [`replay()`] | the rows that a table should have where it stands, kept in memory for who compares |
//! | [`Promote`] | such a table of all history becomes `clicks_minute`, in one commit |
//! | [`explain()`] | the events behind one count, and why others do not count |
//!
//! [`Range`] says which part of history, [`Work`] how it is read; `end.rs` makes of the live job's source a bounded
//! one, which `bounded.rs` reads, and `recompute.rs` runs the operators over.

mod bounded;
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
mod shadow;
mod work;

pub use contents::{Changes, Day, Sums};
pub use explain::{Explanation, explain};
pub use promote::{Promote, Promoted, What};
pub use range::Range;
pub use replace::{Replace, Replaced, Writes};
pub use replay::replay;
pub use shadow::{Made, Shadow};
pub use work::Work;
