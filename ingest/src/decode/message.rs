//! A message as it comes from the log.

use lake_schemas::LogTime;

/// A message of a partition, before anything is known of what it says.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its log time, if it has one.
    pub log_time: Option<LogTime>,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` is Kafka's tombstone.
    pub payload: Option<&'a [u8]>,
}
