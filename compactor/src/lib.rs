//! Keeps the lake cheap: roll-ups, file compaction, vacuum, log clean-up, retention.
//!
//! Nothing here yet. What belongs here depends on neither `ingest` nor `stream-agg`, and commits through the one
//! protocol in `lake-schemas`.
