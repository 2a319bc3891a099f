//! The auditor: counts the raw clicks again in plain SQL, up to the stand of `clicks_minute`, and compares window by
//! window.
//!
//! It is the batch layer of old, kept for nothing but this. It shares no code with the operators; anyone can check its
//! result with `recount.sql` and another engine.

mod audit;
mod compared;
mod conservation;
mod copies;
mod costs;
mod covered;
mod difference;
mod foreign;
mod keys;
mod lines;
pub(crate) mod lost;
mod partition;
mod report;
mod rolled_up;
mod session;
mod strangers;

pub use audit::{Audit, Progress, Question, Recompute, Stands, verify};
pub use conservation::{Conservation, Law, conservation};
pub use copies::CountedAgain;
pub use costs::OddCosts;
pub use difference::{Cause, Difference};
pub use foreign::Foreign;
pub use keys::{Key, MeasureSums};
pub use rolled_up::{RolledUp, RolledUps};
pub use strangers::Stranger;
