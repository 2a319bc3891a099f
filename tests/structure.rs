//! Law: the tree has the structure that the design demands: dependency edges, modules without circles, headers,
//! lengths, and what must not be written.
//!
//! Clippy forbids what it can (clocks, randomness, `unwrap`); see `clippy.toml`. [`texts`] is about what people read.

mod texts;

mod lints;
mod modules;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lake_schemas::field::Member;
use lake_schemas::{Field, Measure, Table};
use serde_json::Value;

/// Most lines of a file: a longer one should be two files.
const LINES_MAX: usize = 500;

/// Most characters of a line: a longer one is not read.
const LINE_CHARS_MAX: usize = 120;

/// Fewest words of a doc: with fewer there is nothing to say, and the name should say it.
const DOC_WORDS_MIN: usize = 3;

/// Beginnings that leave a doc without its subject, so that it cannot be read alone.
const DOC_BEGINNINGS_BANNED: [&str; 7] = ["That", "Those", "Of", "Whose", "Whom", "As", "What is"];

/// Packages that do I/O, or wait for it. Delta's own library is built under another name.
const IO: [&str; 8] =
    ["tokio", "futures", "async-trait", "deltalake", "delta_kernel", "buoyant_kernel", "object_store", "parquet"];

/// Returns the root of the checkout where the tests run, and not where they were built: two checkouts may share a
/// target folder.
fn root() -> &'static Path {
    Path::new(".")
}

/// Returns all Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![root().to_owned()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if entry.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources.push(entry);
            }
        }
    }
    assert!(sources.len() > 30, "only {} sources found", sources.len());
    sources
}

/// Returns all files that git tracks, or would track.
pub fn files() -> Vec<PathBuf> {
    let ignored = read(&root().join(".gitignore"));
    let ignored: Vec<_> = ignored.lines().map(|path| root().join(path.trim_start_matches('/'))).collect();
    let (mut folders, mut files) = (vec![root().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.ends_with(".git") || ignored.contains(&entry) {
                continue;
            }
            let of_its_kind = if entry.is_dir() && !entry.is_symlink() { &mut folders } else { &mut files };
            of_its_kind.push(entry);
        }
    }
    assert!(files.len() > 300, "only {} files found", files.len());
    files
}

pub fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a text")
}

/// Returns cargo's description of the packages of the workspace.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata");
    metadata["packages"].as_array().expect("packages").clone()
}

/// Returns the name of a package or of a dependency.
fn name_of(value: &Value) -> String {
    value["name"].as_str().expect("a name").to_owned()
}

/// Returns the folder of a package.
fn folder_of(package: &Value) -> PathBuf {
    let here = root().canonicalize().expect("the root");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(&here).ok()).expect("a folder below here");
    root().join(folder)
}

/// Returns the direct dependencies of each package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|one| one["kind"].is_null()).map(name_of).collect()
    };
    packages().iter().map(|package| (name_of(package), of(package))).collect()
}

/// Dependencies that no source names: the package, the dependency, and why it is needed all the same.
const UNNAMED: [(&str, &str, &str); 1] =
    [("clicklake", "md-5", "it has the features that the tests need of it, so that the lake is not built twice")];

/// Returns whether code names a crate, at the beginning of a path or in an import.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, rest) = (&code[..at], &code[at + name.len()..]);
        // A crate is written `::name` where a module has its name.
        let before = before.strip_suffix("::").unwrap_or(before);
        let is_whole = !before.ends_with(|sign: char| sign.is_ascii_alphanumeric() || sign == '_' || sign == ':');
        is_whole && (rest.starts_with("::") || (before.ends_with("use ") && rest.starts_with([';', ' '])))
    })
}

/// A dependency that is not named is built for nothing. One that only tests need is a dev-dependency.
#[test]
fn each_dependency_is_named_in_the_sources_of_its_package() {
    let sources = sources();
    let code_in = |folders: &[PathBuf]| {
        let of_package = sources.iter().filter(|file| folders.iter().any(|folder| file.starts_with(folder)));
        let texts: Vec<_> = of_package.map(|file| read(file)).collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    for package in packages() {
        let folder = folder_of(&package);
        let program = code_in(&[folder.join("src")]);
        let with_tests = code_in(&[folder.join("src"), folder.join("tests")]);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["rename"].as_str().map_or_else(|| name_of(dependency), str::to_owned);
            let code = if dependency["kind"].is_null() { &program } else { &with_tests };
            let is_named = names_crate(code, &name.replace('-', "_"));
            let of = name_of(&package);
            let is_exception = UNNAMED.iter().any(|(package, other, _)| *package == of && *other == name);
            assert_eq!(is_named, !is_exception, "{of} has the dependency {name}; is it named in its sources?");
        }
    }
}

/// Crates whose types are those of deltalake: another version of one would have other types, which do not fit.
const ONCE: [&str; 6] = ["arrow", "parquet", "object_store", "datafusion", "deltalake", "buoyant_kernel"];

/// Name of the crates registry in Cargo.lock.
const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// `cargo deny` holds licenses, too, but must be installed first: see `deny.toml` and `.ci/long deny`.
#[test]
fn dependencies_come_from_the_registry_and_those_of_the_lake_are_there_once() {
    let lock = read(&root().join("Cargo.lock"));
    let sources: BTreeSet<_> = lock.lines().filter(|line| line.starts_with("source = ")).collect();
    assert_eq!(sources, BTreeSet::from([REGISTRY]));
    for name in ONCE {
        let line = format!("name = \"{name}\"");
        assert_eq!(lock.lines().filter(|other| *other == line).count(), 1, "versions of {name} in Cargo.lock");
    }
}

#[test]
fn packages_depend_only_on_what_the_design_allows() {
    let dependencies = dependencies();
    let ours: BTreeSet<_> = dependencies.keys().cloned().collect();
    let allowed = BTreeMap::from([
        ("lake-schemas", &[][..]),
        ("lake-store", &["lake-schemas"]),
        ("stream-agg", &["lake-schemas"]),
        ("consume-batch", &[]),
        ("ingest", &["lake-schemas", "lake-store", "stream-agg", "consume-batch"]),
        ("backfill", &["lake-schemas", "lake-store", "stream-agg", "ingest"]),
        ("compactor", &["lake-schemas", "lake-store"]),
        ("query", &["lake-schemas", "lake-store"]),
        ("serve", &["lake-schemas", "lake-store", "query"]),
        ("localstack", &["lake-schemas"]),
    ]);
    for (package, allowed) in allowed {
        let found: Vec<_> = dependencies[package].intersection(&ours).collect();
        let foreign: Vec<_> = found.into_iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(foreign.is_empty(), "{package} depends on {foreign:?}");
    }
}

#[test]
fn what_any_package_logs_is_seen() {
    let seen = read(&root().join("src/logging.rs"));
    let unseen: Vec<_> = dependencies()
        .into_iter()
        .filter(|(_, on)| on.contains("tracing"))
        .map(|(package, _)| format!("\"{}\"", package.replace('-', "_")))
        .filter(|name| !seen.contains(name.as_str()))
        .collect();
    assert!(unseen.is_empty(), "src/logging.rs does not name {unseen:?}");
}

#[test]
fn rdkafka_is_named_only_at_the_ends_of_the_log() {
    let named: Vec<_> =
        dependencies().into_iter().filter(|(_, on)| on.contains("rdkafka")).map(|(name, _)| name).collect();
    assert_eq!(named, ["consume-batch", "ingest", "localstack"]);
}

#[test]
fn operators_have_no_io_and_no_async() {
    let dependencies = dependencies();
    for forbidden in ["tokio", "futures", "deltalake", "object_store", "rdkafka", "rand", "chrono"] {
        assert!(!dependencies["stream-agg"].contains(forbidden), "stream-agg depends on {forbidden}");
    }
}

/// Pure packages, which define the data and compute on them, link nothing that does I/O, not even indirectly.
#[test]
fn pure_packages_link_no_io() {
    for package in ["lake-schemas", "stream-agg"] {
        let output = Command::new(env!("CARGO"))
            .args("tree --offline --locked -e normal --prefix none --format {p} -p".split(' '))
            .arg(package)
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8(output.stdout).expect("a tree is text");
        let linked: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(linked.contains(package) && linked.contains("arrow"), "no tree of {package}: {said}");
        for forbidden in IO {
            assert!(!linked.contains(forbidden), "{package} links {forbidden}: cargo tree -p {package} -i {forbidden}");
        }
    }
}

#[test]
fn only_the_protocol_puts_commits() {
    for file in sources() {
        let is_protocol = file.starts_with(root().join("lake-store/src/commit"));
        let text = read(&file);
        for word in [concat!("write_commit", "_entry"), concat!("Commit", "Builder")] {
            assert!(is_protocol || !text.contains(word), "{} commits by itself: {word}", file.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    for file in sources() {
        let text = read(&file);
        assert!(text.starts_with("//! "), "{} does not open with what it is", file.display());
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
        for (number, line) in (1..).zip(text.lines()) {
            // Addresses cannot be broken into lines.
            let is_address = line.contains("://");
            let chars = line.chars().count();
            assert!(is_address || chars <= LINE_CHARS_MAX, "{}:{number} has {chars} characters", file.display());
        }
    }
}

/// Returns the docs of a source, of items and of files, each with the number of its first line.
fn docs(text: &str) -> Vec<(usize, String)> {
    let mut docs: Vec<(usize, String)> = Vec::new();
    let mut before = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        let mark = ["///", "//!"].into_iter().find(|mark| line.starts_with(*mark));
        if let Some(mark) = mark {
            if before != Some(mark) {
                docs.push((number, String::new()));
            }
            let (_, doc) = docs.last_mut().expect("the first line of a doc was pushed");
            doc.push(' ');
            doc.push_str(&line[mark.len()..]);
        }
        before = mark;
    }
    docs
}

#[test]
fn each_doc_stands_alone() {
    let mut faults = Vec::new();
    for file in sources() {
        for (number, doc) in docs(&read(&file)) {
            let words: Vec<_> = doc.split_whitespace().collect();
            let begins = |banned: &str| words.starts_with(&banned.split(' ').collect::<Vec<_>>());
            let is_short = words.len() < DOC_WORDS_MIN;
            if is_short || DOC_BEGINNINGS_BANNED.into_iter().any(begins) {
                faults.push(format!("{}:{number}: {}", file.display(), words.join(" ")));
            }
        }
    }
    let banned = DOC_BEGINNINGS_BANNED.join(", ");
    let rule = format!("a doc has {DOC_WORDS_MIN} words or more, and begins with none of {banned}");
    assert!(faults.is_empty(), "{rule}; these do not:\n{}", faults.join("\n"));
}

/// Other names come from a script that took the name of a variable for its value, or make trouble where they are
/// quoted.
#[test]
fn names_of_files_are_of_letters_digits_and_few_signs() {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-@+".contains(sign);
    for file in files() {
        let is_plain = file.to_str().is_some_and(|name| name.chars().all(is_plain));
        assert!(is_plain, "{file:?} has a name of other characters than letters, digits and . _ - @ +");
    }
}

/// Returns the modules of a source that are built for tests alone: the paths of their files, without `.rs`.
fn modules_of_tests(source: &Path) -> Vec<PathBuf> {
    let is_of_its_folder = ["mod.rs", "lib.rs", "main.rs"].into_iter().any(|name| source.ends_with(name));
    let folder = if is_of_its_folder { source.with_file_name("") } else { source.with_extension("") };
    let text = read(source);
    let for_tests = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = for_tests.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    names.map(|name| folder.join(name)).collect()
}

/// A field of a click is a value in one list, and whoever needs the name of its column, or of a member of a message,
/// takes it from there. SQL, the page and documents write the names out, and so do tests, because they say what must
/// hold. Three names have other meanings, too, and are not looked for: `topic` is also a label of metrics and answers,
/// `timestamp` a type in SQL and a member of Delta's entries, and `cost_micros` also the name of the measure that sums
/// it up.
#[test]
fn names_of_a_clicks_fields_stand_in_their_list_alone() {
    let list = root().join("lake-schemas/src/field.rs");
    let measures = ["minute.rs", "measure.rs"].map(|name| root().join("lake-schemas/src").join(name));
    let columns = Field::ALL.into_iter().map(Field::column).filter(|name| *name != "topic");
    let members = Member::all().map(Member::name).filter(|name| *name != "timestamp");
    let names: BTreeSet<_> = columns.chain(members).collect();
    let sources: Vec<_> = sources().into_iter().filter(|file| !file.starts_with(root().join("tests"))).collect();
    let of_tests: Vec<_> = sources.iter().flat_map(|file| modules_of_tests(file)).collect();
    let is_of_tests = |file: &Path| of_tests.iter().any(|module| file.with_extension("").starts_with(module));
    for file in sources.iter().filter(|file| **file != list && !is_of_tests(file)) {
        let text = read(file);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for name in &names {
            let is_measure = *name == Field::CostMicros.column() && measures.contains(file);
            let is_written = code.contains(&format!("\"{name}\"")) && !is_measure;
            assert!(!is_written, "{} writes {name:?}; it is in {}", file.display(), list.display());
        }
    }
    let text = read(&list);
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for name in names {
        assert!(code.contains(&format!("\"{name}\"")), "{} does not have {name:?}", list.display());
    }
}

#[test]
fn nothing_is_left_open() {
    let words = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ign", "ore"), concat!("FIX", "ME")];
    for file in sources() {
        let text = read(&file);
        for word in words {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}

#[test]
fn libraries_do_not_unwrap() {
    for file in sources().into_iter().filter(|file| !file.starts_with(root().join("tests"))) {
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains(".unwrap()"), "{} unwraps", file.display());
    }
}

/// The only file that names tables, except in messages for people.
const NAMES_TABLES: &str = "lake-schemas/src/table.rs";

/// The only file that names measures.
const NAMES_MEASURES: &str = "lake-schemas/src/measure.rs";

/// Files with a name that is not that of the measure: a column of `clicks`, a pane, a member of a message.
const NAMESAKES: [(&str, &str); 2] =
    [("lake-schemas/src/field.rs", "cost_micros"), ("lake-schemas/src/minute.rs", "late")];

/// Files beside the code that are tests as a whole.
const FILES_OF_TESTS: [&str; 3] = ["tests.rs", "commit/others.rs", "store/power_loss.rs"];

/// Returns the code of a file that is built and is no test.
pub fn built(file: &Path) -> Option<String> {
    let is_built = |kind: &std::ffi::OsStr| ["rs", "js", "html", "css"].iter().any(|built| kind == *built);
    let is_test = file.starts_with(root().join("tests")) || FILES_OF_TESTS.iter().any(|name| file.ends_with(name));
    if is_test || !file.extension().is_some_and(is_built) {
        return None;
    }
    Some(read(file).split("#[cfg(test)]").next().unwrap_or_default().to_owned())
}

/// A further measure is a further entry of the list: code that is written over the list has no names.
#[test]
fn measures_are_named_in_one_file() {
    let mut looked_at = 0;
    for file in files() {
        let Some(code) = built(&file).filter(|_| file != root().join(NAMES_MEASURES)) else { continue };
        looked_at += 1;
        for name in Measure::ALL.map(Measure::column) {
            let mut ways = vec![format!("sum({name})")];
            // Scripts name measures as members of answers.
            if file.extension().is_some_and(|extension| extension == "js") {
                ways.extend([format!("row.{name}"), format!("row?.{name}"), format!("row[\"{name}\"]")]);
            }
            // A table may have that name, too.
            if Table::ALL.iter().all(|table| table.name() != name) {
                ways.push(format!("\"{name}\""));
            }
            let is_namesake = NAMESAKES.iter().any(|(other, of)| file == root().join(other) && *of == name);
            for way in ways.into_iter().filter(|_| !is_namesake) {
                assert!(!code.contains(&way), "{} names a measure: {way}", file.display());
            }
        }
    }
    assert!(looked_at > 200, "only {looked_at} files were looked at");
}

/// Statements and definitions take the names of tables from values. The raw table is exempt, because its name is also
/// that of the topic, and of what is counted.
#[test]
fn tables_are_named_in_one_file() {
    for file in files() {
        let Some(code) = built(&file).filter(|_| file != root().join(NAMES_TABLES)) else { continue };
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Clicks) {
            for way in [format!("\"{table}\""), format!("from {table} ")] {
                assert!(!code.contains(&way), "{} names a table: {way}", file.display());
            }
        }
    }
}

/// The loop drives any job, into whatever tables it has: what depends on the table is asked of the table, or of the
/// job.
#[test]
fn the_loop_that_drives_jobs_names_no_table() {
    let is_of_the_loop = |file: &PathBuf| file.starts_with(root().join("ingest/src/drive"));
    let files: Vec<_> = sources().into_iter().filter(is_of_the_loop).collect();
    assert!(files.len() > 8, "only {} files of the loop found", files.len());
    for file in files {
        let code = built(&file).unwrap_or_default();
        assert!(!code.contains("Table::"), "{} names a table", file.display());
    }
}

/// Files whose numbers are units of something else: of PostgreSQL, of the generator, and of the page, which know no
/// lake.
const OTHER_UNITS: [&str; 3] =
    ["serve/src/postgres/settings.rs", "localstack/src/generate.rs", "serve/src/page/page.js"];

/// The length of a window, and of minutes, hours and days, is written once.
#[test]
fn lengths_of_time_are_numbers_in_one_file() {
    let said = "lake-schemas/src/time.rs";
    for file in files() {
        let Some(code) = built(&file).filter(|_| file != root().join(said)) else { continue };
        if OTHER_UNITS.iter().any(|other| file == root().join(other)) {
            continue;
        }
        let mut tokens = code.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        let found = tokens.find(|token| ["60_000", "3_600_000", "86_400_000"].contains(token));
        assert_eq!(found, None, "{} has what {said} has", file.display());
        for way in ["date_trunc('minute'", "const MICROS_PER_MILLI"] {
            assert!(!code.contains(way), "{}: {way}", file.display());
        }
    }
}

/// Files that know how long a minute is as such: of the calendar, of durations, and of the axis of the page.
const KNOW_MINUTES: [&str; 4] =
    ["lake-schemas/src/time.rs", "lake-schemas/src/width.rs", "src/drawing.rs", "serve/src/page/ticks.rs"];

/// How wide windows are is asked of the windowing of a table, and of nothing else.
#[test]
fn the_width_of_windows_is_known_in_one_file() {
    let said = "lake-schemas/src/windowing.rs";
    let mut knows = false;
    for file in files() {
        let Some(code) = built(&file) else { continue };
        for way in ["MILLIS_PER_MINUTE", "WINDOW_MS", "Width::Minute.fixed_ms"] {
            let is_there = code.contains(way);
            if file == root().join(said) {
                knows |= is_there;
            } else if KNOW_MINUTES.iter().all(|other| file != root().join(other)) {
                assert!(!is_there, "{} has {way}; ask the windowing", file.display());
            }
        }
    }
    assert!(knows, "{said} does not say how wide windows are");
}
