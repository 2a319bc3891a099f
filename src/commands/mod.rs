//! The commands, and how each kind of failure ends the process.

pub mod aggregate;
pub mod backfill;
mod clock;
pub mod compact;
pub mod explain;
mod failure;
pub mod generate;
pub mod history;
pub mod ingest;
pub mod key;
pub mod lag;
pub mod live;
pub mod manual;
mod options;
pub mod pins;
pub mod promote;
pub mod retire;
pub mod series;
pub mod serve;
pub mod sql;
pub mod sql_worker;
pub mod status;
pub mod top;
pub mod total;
pub mod up;
pub mod upgrade;
pub mod verify;

pub use self::clock::now;
pub use self::failure::{Usage, fail, fail_usage};
pub use self::options::{kafka, requested, until, windows};
