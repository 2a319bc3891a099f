//! Law: a lake may be in any folder that the system permits, is where it was told to be and nowhere else, and is the
//! same lake however its folder is spelled.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use url::Url;

/// A name with everything that other programs give a meaning: in addresses, patterns, shells and partitions.
const NAME: &str = "l 50% #1?x=ü&y=[q]*;+%25 '日本' \"{a}\" %2F a\\b";

/// Runs the program over a lake, in a folder.
fn run(arguments: &[&str], lake: &str, folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    command.args(arguments).args(["--lake", lake]).current_dir(folder).output().expect("the program runs")
}

/// Returns what the program prints; it must succeed.
#[track_caller]
fn shown(arguments: &[&str], lake: &str, folder: &Path) -> String {
    let output = run(arguments, lake, folder);
    assert!(output.status.success(), "{arguments:?} over {lake:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the names of everything in a folder.
fn names(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).expect("a folder").map(|one| one.expect("an entry").file_name());
    let mut names: Vec<_> = all.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort_unstable();
    names
}

/// Makes a folder, in it one with such a name, and in this a lake that `up` has made.
fn made() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a folder");
    let lake = parent.path().join(NAME).join("my lake");
    shown(&["up", "--for", "3s", "--rate", "1000"], lake.to_str().expect("UTF-8"), parent.path());
    (parent, lake)
}

#[test]
fn every_command_works_in_a_folder_of_any_name_and_every_spelling_is_the_same_lake() {
    let (parent, lake) = made();
    let text = lake.to_str().expect("UTF-8");
    assert!(lake.join("clicks/_delta_log").is_dir(), "{:?}", names(parent.path()));
    assert_eq!(
        (names(parent.path()), names(&parent.path().join(NAME))),
        (vec![NAME.to_owned()], vec!["my lake".into()])
    );
    for arguments in [
        &["compact", "--once"][..],
        &["verify"],
        &["verify", "--conservation"],
        &["verify", "--replay"],
        &["backfill", "--into", "again"],
        &["verify", "--table", "again"],
        &["backfill", "--replace", "--dry-run"],
        &["pin", "p1", "--version", "1"],
        &["pins"],
        &["unpin", "p1"],
        &["history"],
        &["history", "clicks"],
        &["top"],
        &["series", "--ad", "ad-0"],
        &["explain", "--ad", "ad-0", "--minute", "2026-03-07T12:00:00Z"],
        &["promote", "again"],
        &["promote", "--undo"],
        &["sql", "select * from clicks_minute VERSION AS OF 1"],
    ] {
        shown(arguments, text, parent.path());
    }
    let link = parent.path().join("link");
    symlink(&lake, &link).expect("a link");
    let address = Url::from_file_path(&lake).expect("a path").to_string();
    let inside = format!("{NAME}/my lake");
    let spellings = [
        (inside.clone(), parent.path()),
        (format!("./{inside}"), parent.path()),
        (format!("{text}/"), parent.path()),
        (text.replace("/my lake", "//my lake"), parent.path()),
        (text.replace("/my lake", "/./my lake"), parent.path()),
        (format!("{text}/../my lake"), parent.path()),
        (link.to_str().expect("UTF-8").to_owned(), parent.path()),
        ("link/".to_owned(), parent.path()),
        (address.clone(), parent.path()),
        (format!("{address}/"), parent.path()),
        (".".to_owned(), lake.as_path()),
    ];
    let count = ["sql", "--format", "csv", "select count(*) from clicks"];
    let total = ["total", "--ad", "ad-0", "--format", "csv"];
    let expected = (shown(&count, text, parent.path()), shown(&total, text, parent.path()));
    assert!(!expected.1.contains("ad-0,0"), "{expected:?}");
    for (spelling, from) in spellings {
        let found = (shown(&count, &spelling, from), shown(&total, &spelling, from));
        assert_eq!(found, expected, "{spelling} from {from:?}");
    }
    let beside = names(parent.path());
    assert_eq!(beside, [NAME.to_owned(), "link".to_owned()], "nothing was made beside it");
}

#[test]
fn copy_into_the_lake_is_refused_whichever_name_is_used_and_elsewhere_it_writes_what_it_is_told_to() {
    let (parent, lake) = made();
    let link = parent.path().join("link");
    symlink(&lake, &link).expect("a link");
    let before = names(&lake);
    let copy = |through: &Path, into: &Path| {
        let into = into.to_str().expect("UTF-8").replace('\'', "''");
        let sql = format!("copy (select 1 as one) to '{into}'");
        run(&["sql", &sql], through.to_str().expect("UTF-8"), parent.path())
    };
    let back = lake.join("../my lake");
    for through in [&lake, &link, &back] {
        for into in
            [&lake, &link, &back].into_iter().flat_map(|lake| [lake.join("clicks/x.csv"), lake.join("new/y.csv")])
        {
            let output = copy(through, &into);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("SQL reads and does not write"), "{into:?}: {said}");
            assert!(!into.exists(), "{into:?}");
        }
        // Beside the lake: a file of that very name, and no other.
        let beside = parent.path().join(NAME).join("out [1]?.csv");
        let output = copy(through, &beside);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(std::fs::read_to_string(&beside).expect("a file"), "one\n1\n");
        std::fs::remove_file(beside).expect("it is there");
    }
    assert_eq!(names(&lake), before);
    assert_eq!(names(parent.path()), [NAME.to_owned(), "link".to_owned()]);
    assert_eq!(names(&parent.path().join(NAME)), ["my lake"]);
}
