//! The computation: pure event-time operators, assembled once and run live or bounded.
//!
//! To follow one click, read in this order: [`window`] says which minute it belongs to, [`watermark`] how far event
//! time has come, [`dedup`] whether it was counted before, which [`ids`] remembers, [`sums`] where it is added up;
//! [`minutes`] puts them in their order, and [`rows`] writes what comes of it. [`restore`] says where a restart must
//! begin to read, [`explain`] tells of single events, and [`job`] is what the loop drives.
//!
//! There is no clock here, no randomness, no I/O and no async: time arrives as data. Each partition is its own stream;
//! nothing is shared between them.

pub mod dedup;
pub mod explain;
pub mod ids;
pub mod job;
pub mod minutes;
pub mod restore;
pub mod rows;
pub mod sums;
pub mod watermark;
pub mod window;
