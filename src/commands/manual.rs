//! `clicklake completions` and `clicklake man`: print the command line's completion script and manual pages.

use std::fs;

use anyhow::Context;

use crate::arguments::environment::command as definition;
use crate::arguments::{Completions, Man};
use crate::report::print_bytes;

pub fn completions(command: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut definition(), "clicklake", &mut script);
    print_bytes(&script)
}

/// Prints the manual page of the program, or writes one page for each command into a folder.
pub fn man(command: &Man) -> anyhow::Result<()> {
    match &command.folder {
        Some(folder) => {
            let what = || format!("folder {}", folder.display());
            fs::create_dir_all(folder).with_context(what)?;
            clap_mangen::generate_to(definition(), folder).with_context(what)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(definition()).render(&mut page)?;
            print_bytes(&page)
        }
    }
}
