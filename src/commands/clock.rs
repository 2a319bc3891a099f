//! The clock of the commands that need to know what time it is.

/// Returns the time now, for messages that are made now.
#[expect(clippy::disallowed_methods, reason = "generated clicks happen now")]
pub fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}
