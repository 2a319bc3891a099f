//! Law: one file has `unsafe`, and the lints of all packages but its own forbid it.

use std::path::PathBuf;

use super::tokens::tokens;
use super::{folder_of, name_of, packages, read, root, sources};

/// The only file with `unsafe`, which `.ci/long unsafe` runs under valgrind.
const UNSAFE: &str = "consume-batch/src/queue.rs";

/// The file that lets it, against the lints of its package; those of all others forbid it.
const LETS_UNSAFE: &str = "consume-batch/src/lib.rs";

/// Packages that do not have the lints of the workspace, and why is written in their manifests.
const OTHER_LINTS: [&str; 2] = ["consume-batch", "clicklake-fuzz"];

#[test]
fn one_file_has_what_the_lints_of_all_others_forbid() {
    for (word, only) in [("unsafe", UNSAFE), ("unsafe_code", LETS_UNSAFE)] {
        let has = |file: &PathBuf| tokens(&read(file)).contains(&word);
        let found: Vec<_> = sources().into_iter().filter(has).collect();
        assert_eq!(found, [root().join(only)], "{word}");
    }
    for package in packages() {
        let manifest = read(&folder_of(&package).join("Cargo.toml"));
        let (name, has_lints) = (name_of(&package), manifest.contains("[lints]\nworkspace = true"));
        assert_eq!(has_lints, !OTHER_LINTS.contains(&name.as_str()), "{name}: lints of the workspace");
    }
}
