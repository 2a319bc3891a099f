//! The live page: all files that a browser gets, contained in the binary. It uses no other origin, no inline script and
//! no inline style, so that the strictest policy fits it.

mod assets;
mod measures;
pub(crate) mod plot;
mod svg;
mod ticks;

pub(crate) use assets::{CONTENT_SECURITY_POLICY, assets};
