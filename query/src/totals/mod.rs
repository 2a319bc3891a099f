//! Totals and series of clicks, stitched exactly at any moment: clean days from days, clean hours from hours, the rest
//! from minutes.
//!
//! ```text
//!   clicks_minute ──newest, or as of──┐
//!   clicks_hourly ──made of V ≤ n────>├─ what changed since V, W ─> parts ─> files ─> pages ─> sums
//!   clicks_daily  ──made of W ≤ h────>┘      follow, as_of          stitch    files     scan     plan
//! ```
//!
//! A question is a filter, dimensions to group by, a granularity and a stretch of time, whoever asks it: see `question`
//! and `filter`. What is read of earlier versions is read once for all who ask for them, see `loads`.
//!
//! Each table says by which version it stands; whatever changed behind that is taken from below. So an answer is what a
//! sum over `clicks_minute` at that version says, whatever has been rolled up by then, late or never.

mod as_of;
mod current;
mod files;
mod filter;
mod fits;
mod follow;
mod functions;
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
mod stretches;
mod summed;
#[expect(clippy::module_inception, reason = "it is what the module is for")]
mod totals;

pub(crate) use as_of::sources_as_of;
pub(crate) use current::Current;
pub(crate) use files::location;
pub(crate) use functions::{Function, TotalsFunction, literal};
pub(crate) use reading::store_url;

pub use filter::{Filter, counted_by, dimension, dimensions, repeated, values};
pub use question::{Answer, AsOf, Page, Question, StandsAt};
pub use span::{Bounds, last, width_for};
pub use totals::Totals;
