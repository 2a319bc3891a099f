//! A message as it is read from the log.

use lake_schemas::LogTime;

/// A message of a partition, before its payload is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Offset of the message.
    pub offset: i64,
    /// Log time, if the message has one.
    pub log_time: Option<LogTime>,
    /// Key, if the message has one.
    pub key: Option<&'a [u8]>,
    /// Payload; `None` is Kafka's tombstone.
    pub payload: Option<&'a [u8]>,
}
