//! The servers: totals over HTTP, a page, and SQL over the PostgreSQL wire, each for whoever has a key.
//!
//! ```text
//!   connection ── server ──> routes ──> asked ──> totals ──> answers ──> form: JSON, CSV, or nothing new
//!                              │ keys      │                    └──────> page   a plot
//!                              │           └─ problem: why not, in one sentence
//!                              └─ served: the lake, looked at once a second whoever asks
//!
//!   connection ── postgres ──> a process for each key ──> a session of SQL, through its eyes
//! ```
//!
//! Connections have places, of which some stay for those with keys, see `places`; descriptors and memory are divided
//! among them, see `resources`.
//!
//! A key sees its own campaigns and nothing else: that is decided where rows are read, see [`query::Sees`].

mod answers;
mod asked;
mod bounded_file;
mod form;
mod keys;
mod keys_file;
mod live;
mod locked;
mod metrics;
mod origins;
mod page;
mod parameters;
mod places;
mod postgres;
mod problem;
mod resources;
mod routes;
mod scram;
mod served;
mod server;
mod tls;
mod unread;

pub use asked::Asked;
pub use keys::Keys;
pub use metrics::told;
pub use origins::origin;
pub use postgres::{Postgres, Program, work};
pub use problem::Problem;
pub use resources::{bound_worker, raise_open_files};
pub use scram::new_key;
pub use server::Server;
pub use tls::Tls;
