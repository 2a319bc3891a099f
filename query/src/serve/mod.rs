//! Numbers for advertisers: totals over HTTP, a page, and SQL over the PostgreSQL wire, each for whoever has a key.
//!
//! ```text
//!   connection ── server ──> routes ──> asked ──> totals ──> answers ──> form: JSON, CSV, or nothing new
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
mod form;
mod keys;
mod live;
mod metrics;
mod origins;
mod page;
mod postgres;
mod problem;
mod routes;
mod served;
mod server;

pub use asked::Asked;
pub use keys::Keys;
pub use metrics::told;
pub use origins::origin;
pub use postgres::Postgres;
pub use problem::Problem;
pub use server::Server;
