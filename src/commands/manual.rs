//! `clicklake completions` and `clicklake man`: what a shell, and `man`, want to know of the command line.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use crate::arguments::{Arguments, Completions, Man};
use crate::report::print_bytes;

pub fn completions(command: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), "clicklake", &mut script);
    print_bytes(&script)
}

/// Prints the page of the program, or puts a page for each command into a folder.
pub fn man(command: &Man) -> anyhow::Result<()> {
    match &command.folder {
        Some(folder) => {
            let what = || format!("folder {}", folder.display());
            fs::create_dir_all(folder).with_context(what)?;
            clap_mangen::generate_to(Arguments::command(), folder).with_context(what)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            print_bytes(&page)
        }
    }
}
