//! Numbers for advertisers: totals over HTTP, a page, and SQL over the PostgreSQL wire, each for whoever has a key.
//!
//! ```text
//!   connection ── server ──> routes ──> asked ──> totals ──> answers ──> JSON
//!                              │ keys      │                    └──────> page   a plot
//!                              │           └─ problem: why not, in one sentence
//!                              └─ served: the lake, looked at once a second whoever asks
//!
//!   connection ── postgres ──> a session of SQL, through the eyes of its key
//! ```
//!
//! A key sees its own campaigns and nothing else: that is decided where rows are read, see [`crate::Sees`].

mod answers;
mod asked;
mod keys;
mod live;
mod metrics;
mod page;
mod postgres;
mod problem;
mod routes;
mod scram;
mod served;
mod server;
mod tls;

pub use asked::Asked;
pub use keys::Keys;
pub use metrics::told;
pub use postgres::Postgres;
pub use problem::Problem;
pub use scram::new_key;
pub use server::Server;
pub use tls::Tls;
