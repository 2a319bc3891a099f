//! Totals and series of clicks, exact at any moment: taken from days where these are clean, from hours where only those
//! are, and from minutes elsewhere.
//!
//! ```text
//!   clicks_minute ──newest, or as of──┐
//!   clicks_hourly ──made of V ≤ n────>├─ what changed since V, W ─> parts ─> files ─> pages ─> sums
//!   clicks_daily  ──made of W ≤ h────>┘      follow, as_of          stitch    files     scan     plan
//! ```
//!
//! In the picture, n and h are the newest versions of minutes and hours, and V and W are the versions that the roll-ups
//! were made of. Its last line names modules.
//!
//! A question has a filter, dimensions to group by, a granularity and a stretch of time, whether a command, a server or
//! SQL asks it: see `question` and `filter`. An earlier version is read once for all who ask for it at the same time:
//! see `loads`.
//!
//! Each roll-up records the version of its source that it was made of; whatever changed after that is taken from the
//! source. So an answer equals the sum over `clicks_minute` at that version, whether the roll-ups are recent, late or
//! missing.

mod as_of;
mod columns;
mod current;
mod files;
mod filter;
mod fits;
mod follow;
mod functions;
mod interval_set;
mod large;
mod level;
mod loads;
mod plan;
mod prune;
mod question;
mod reading;
mod scan;
mod small;
mod sources;
mod span;
mod stitch;
mod store;
mod summed;
#[expect(clippy::module_inception, reason = "it is what the module is for")]
mod totals;

pub(crate) use as_of::sources_as_of;
pub(crate) use current::Current;
pub(crate) use files::location;
pub(crate) use functions::{Function, TotalsFunction, literal};
pub(crate) use store::store_url;

pub use filter::{Filter, counted_by, dimension, dimensions, repeated, short_name, values};
pub use question::{Answer, AsOf, Page, Question, StandsAt};
pub use span::{Bounds, last, width_for};
pub use totals::Totals;
