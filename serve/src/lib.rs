//! Servers: totals over HTTP, a live page, and SQL over the PostgreSQL wire, each for clients with a key.
//!
//! ```text
//!   connection ── server ──> routes ──> request ──> totals ──> answers ──> form: JSON, CSV, or nothing new
//!                              │ keys      │                      └──────> page   a plot
//!                              │           └─ problem: why not, in one sentence
//!                              └─ served: the lake, refreshed once a second whoever asks
//!
//!   connection ── postgres ──> a process for each key ──> a SQL session with the key's row-level access
//! ```
//!
//! Connections are limited, and those that have shown a key keep their places, see `places`; descriptors and memory are
//! divided among them, see `resources`.
//!
//! A key sees its own campaigns and nothing else: rows are filtered where they are read, see [`query::RowAccess`].

mod answers;
mod bounded_file;
mod form;
mod keys;
mod keys_file;
mod live;
mod metrics;
mod origins;
mod page;
mod parameters;
mod places;
mod postgres;
mod problem;
mod request;
mod resources;
mod routes;
mod scram;
mod served;
mod server;
mod tls;
mod unread;

pub use keys::Keys;
pub use metrics::told;
pub use origins::origin;
pub use postgres::{Postgres, Program, work};
pub use problem::Problem;
pub use request::RequestParameters;
pub use resources::{bound_worker, raise_open_files};
pub use scram::new_key;
pub use server::Server;
pub use tls::Tls;
