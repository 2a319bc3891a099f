//! Laws of `clicklake serve`, as a process: what it answers, to whom, and what it lives through.
//!
//! [`server`] starts it and speaks HTTP to it, down to the byte.

mod answers;
mod asked;
mod dashboard;
mod doors;
mod fuzzed;
mod groups;
mod hostile;
mod keys;
mod load;
mod page;
mod patient;
mod postgres;
mod put_right;
mod server;
mod tricks;
