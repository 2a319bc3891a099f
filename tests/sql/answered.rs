//! Law: the files of queries give the answers that they contain.

use std::path::PathBuf;

use lake_store::Lake;
use sqllogictest::{Runner, strict_column_validator};

use super::{Asked, session, world};
use crate::simulation::simulate;

/// Returns the files, in order.
fn files() -> Vec<PathBuf> {
    let folder = "tests/sql";
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|kind| kind == "slt")).collect();
    files.sort();
    files
}

#[test]
fn every_statement_answers_as_its_file_says() {
    let files = files();
    assert!(files.len() >= 5, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        simulate(async {
            let folder = tempfile::tempdir().expect("a folder");
            let lake = folder.path().join("lake");
            world::write(&Lake::at(lake.to_str().expect("UTF-8")).expect("a lake"), &lake).await;
            let mut runner = Runner::new(|| async { Ok(Asked(session(&lake))) });
            runner.with_column_validator(strict_column_validator);
            runner.set_var("FOLDER".to_owned(), folder.path().to_str().expect("UTF-8").to_owned());
            wrong.extend(runner.run_file_async(&file).await.err().map(|error| error.to_string()));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
