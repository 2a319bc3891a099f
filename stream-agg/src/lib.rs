//! The computation: pure event-time operators, assembled once and run live or bounded.
//!
//! Nothing here yet. What belongs here has no clock, no randomness, no I/O and no async: time arrives as data. It
//! depends on `lake-schemas` and on nothing else.
