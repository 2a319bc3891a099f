//! Both ends of the log, and the one loop that drives operators and commits.
//!
//! A [`source`] is one end of the log, as the loop sees it. [`kafka`] reads the log live, [`decode`] turns its messages
//! into rows, and [`append`] is the job that writes them to the raw tables. [`replay`] reads them back from there,
//! [`follow_source`] as a source that goes on as they grow, and [`restores`] beside the loop. [`hybrid`] joins both
//! ends. [`drive`] runs any job over any source. [`ingest`] and [`compute`] assemble whole jobs. [`backoff`] is how all
//! of them wait for a store.

mod anew;
pub mod append;
mod at_ends;
pub mod backoff;
pub mod decode;
pub mod drive;
pub mod follow_source;
pub mod hybrid;
mod jobs;
pub mod kafka;
pub mod replay;
pub mod restores;
mod run;
pub mod source;
mod task;

pub use jobs::{compute, ingest};
pub use run::{Run, Until};
