//! Law: the lake in `lake-of-0dbf1a6.tar.gz`, which the last program before formats were versioned has made, is gone on
//! with and upgraded like one that this program makes in the first format.
//!
//! That program, commit 0dbf1a6, took in half of the log in `messages` beside the lake, counted it, promoted the counts
//! by country on the way, and left a staging table by device. A test that makes such a lake with this program cannot
//! tell whether this program still writes what that one wrote.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::goes_on_through_an_upgrade;
use crate::simulation::Log;
use crate::start_up::folder;

#[test]
fn a_lake_that_the_program_before_formats_made_is_gone_on_with_and_upgraded() {
    let (folder, path) = folder();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evolution/lake-of-0dbf1a6.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status();
    assert!(unpacked.expect("tar runs").success(), "the archive is whole");
    let messages = std::fs::read_to_string(folder.path().join("messages")).expect("they are in the archive");
    goes_on_through_an_upgrade(&path, &Arc::new(Log::recorded(&messages)));
}
