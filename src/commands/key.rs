//! `clicklake key`: makes a key for somebody who asks a server. Its line for the file of keys goes to standard output.
//! The key itself, which is kept nowhere, goes to standard error.

use anyhow::Context;
use serve::{Keys, new_key};

use crate::arguments::Key;
use crate::report::{print_bytes, say};

pub fn run(command: &Key) -> anyhow::Result<()> {
    let mut random = [0; 32];
    getrandom::getrandom(&mut random).context("random bytes")?;
    let (key, line) = new_key(random, &command.campaigns);
    // Check it in the way in which the server will read it.
    Keys::parse(&line)?;
    print_bytes(format!("{line}\n").as_bytes())?;
    say(&format!("the key, which is not kept: {key}"));
    Ok(())
}
