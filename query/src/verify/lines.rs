//! Writes the lines of a report that are of one kind.

use std::fmt;

/// Greatest number of lines of a kind that are printed.
const LINES_MAX: usize = 20;

/// Writes the first lines of a kind, and how many more there are.
pub(super) fn lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
    lines_of(f, all, all.len())
}

/// Writes the first lines of a kind, of which there are `in_all`.
pub(super) fn lines_of<T: fmt::Display>(f: &mut fmt::Formatter<'_>, first: &[T], in_all: usize) -> fmt::Result {
    let shown = first.len().min(LINES_MAX);
    for one in &first[..shown] {
        writeln!(f, "  {one}")?;
    }
    match in_all.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}
