//! The computation: pure event-time operators, assembled once and run live or bounded.
//!
//! To follow one click, read in this order: [`window`] finds the minute it belongs to, [`watermark`] tells how far
//! event time has come, [`dedup`] tells whether it was counted before, which [`ids`] remembers, and [`sums`] adds it
//! up; [`minutes`] puts these steps in their order, and [`rows`] writes the result. [`restore`] says where a restart
//! must begin to read, [`explain`] explains single events, [`cells`] tells what is not written yet, and [`job`] is the
//! job that the loop drives.
//!
//! There is no clock here, no randomness, no I/O and no async: time arrives as data. Each partition is its own stream;
//! nothing is shared between them.

pub mod cells;
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
