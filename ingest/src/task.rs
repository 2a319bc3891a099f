//! Result of a finished task.

use tokio::task::JoinError;

/// Returns the result of a task that nobody aborts; a panic of the task goes on in the caller.
pub(crate) fn unwind<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
