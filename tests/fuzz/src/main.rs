//! Fuzzing with libFuzzer: whatever bytes come from outside are understood or refused. `CLICKLAKE_FUZZ` picks a target.
#![no_main]

mod decoded;
mod parameters;
mod recorded;
mod statements;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// Function that reads the bytes, and panics where a law is broken.
type Target = fn(&[u8]);

static TARGET: LazyLock<Target> = LazyLock::new(|| match std::env::var("CLICKLAKE_FUZZ").as_deref() {
    Ok("decoded") => decoded::law,
    Ok("recorded") => recorded::law,
    Ok("statements") => statements::law,
    Ok("parameters") => parameters::law,
    other => panic!("CLICKLAKE_FUZZ is {other:?}; it is decoded, recorded, statements or parameters"),
});

fuzz_target!(|data: &[u8]| TARGET(data));
