//! What has become of a task.

use tokio::task::JoinError;

/// The result of a task that nobody aborts; its panic is ours.
pub(crate) fn unwind<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
