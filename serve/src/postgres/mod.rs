//! SQL over the PostgreSQL wire, for psql, Grafana, Superset and other clients: read-only, and each key sees its own
//! campaigns.
//!
//! ```text
//!   listener ── door ── relay ──▶ a process for each key (workers, process, worker):
//!               login,  bytes     connection ── statements ── a session of its own ── rows
//!               the key           one message   what is       sees the lake
//!                                 at a time     allowed       through its key
//! ```
//!
//! The dialect is PostgreSQL's and the engine is DataFusion: `pg_catalog` exists as far as programs read it to find
//! tables and columns. Transactions are accepted and change nothing: each statement sees the lake as it is when it
//! begins. [`workers`] says why each key has a process of its own.

mod accepting;
mod adapted;
mod answering;
mod answers;
mod arrays;
mod binary;
mod bound;
mod calls;
mod catalog;
mod connection;
mod copying;
mod cursors;
mod door;
mod engine;
mod entering;
mod errors;
mod frames;
mod functions;
mod handed;
mod hex;
mod information_schema;
mod kept;
mod limits;
mod login;
mod messages;
mod names;
mod numbered;
mod of_catalog;
mod only_element;
mod parameters;
mod parsed;
mod placed;
mod prepared;
mod priority;
mod process;
mod proofs;
mod protocol;
mod relay;
mod rows;
mod savepoints;
mod sendable;
mod server;
mod sessions;
mod settings;
mod simple;
mod statements;
mod steps;
mod subqueries;
mod tables;
mod times;
mod turns;
mod under_way;
mod visited;
mod worker;
mod workers;

pub use self::server::Postgres;
pub use self::worker::work;
pub use self::workers::Program;
