//! A laptop's substitute for a cloud: a broker, and clicks to send through it.
//!
//! [`broker`] is librdkafka's own test broker, in process: for demonstration and tests, never for clicks that matter.
//! [`generate`] makes clicks from a seed, with all that goes wrong with clicks; [`produce`] sends them at a rate.

pub mod broker;
pub mod generate;
pub mod produce;
