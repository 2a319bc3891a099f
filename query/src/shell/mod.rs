//! The shell: DataFusion's own, over a lake. Statements come from a command line, a file, a pipe, or an interactive
//! user; the printing, and the commands that begin with a backslash, are DataFusion's.

mod editor;
mod interactive;
mod run;

pub use datafusion_cli::print_format::PrintFormat;
pub use datafusion_cli::print_options::MaxRows;

pub use run::Shell;
