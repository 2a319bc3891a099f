//! Writes results to a file, a pipe or a terminal, as rows, tables or lines.
//!
//! ```text
//!   rows ── encoder ──> bytes ──┐                       file: whole, or not there
//!   rows ── table ────> text ───┼─> destination ──────> pipe: as it is
//!   lines ── visible ─> text ───┘                       terminal: control characters made visible
//! ```
//!
//! Publishers choose ids freely. This module is the one place that decides how much of them reaches a terminal.

mod destination;
mod encoder;
mod table;
mod visible;
mod writable;
mod writing;

pub use destination::{Destination, Opened};
pub(crate) use encoder::Encoder;
pub(crate) use table::{Breaks, visible_rows};
pub use visible::{is_coloured, is_dumb, visible, visible_lines};
pub use writing::{say, say_error, table, write_rows};
