//! The causes of an error.

use std::error::Error;

/// Returns an error and its causes, the deepest last.
pub(crate) fn causes<'a>(first: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(first), |cause: &&(dyn Error + 'static)| -> Option<&(dyn Error + 'static)> {
        (*cause).source()
    })
}
