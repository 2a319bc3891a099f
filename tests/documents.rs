//! Law: every link of a document, and every page that a source names, leads somewhere, down to its heading; the README
//! stays short; the path of one click names functions that are there; and each code of a refusal is explained once, as
//! the list of codes says, and is used.
//!
//! Links to other sites are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lake_schemas::Code;

use crate::structure::{built, files, read};

/// Longest README, in lines: a longer one is a manual, which belongs into `docs`.
const README_LINES_MAX: usize = 150;

/// Returns all documents of the repository.
fn documents() -> Vec<PathBuf> {
    let is_document = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let documents: Vec<_> = files().into_iter().filter(is_document).collect();
    assert!(documents.len() > 5, "only {} documents found", documents.len());
    documents
}

/// Returns the lines of a document that are not code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && !line.starts_with("    ") {
            lines.push((number, line));
        }
    }
    lines
}

/// Returns the links of a document that stay in this repository, each with the number of its line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        for (at, mark) in line.match_indices("](") {
            let is_code = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + mark.len()..].split([')', ' ']).next().unwrap_or_default();
            if !is_code && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number, target));
            }
        }
    }
    links
}

/// Returns the anchors of a document's headings, as GitHub makes them: lower case, blanks as hyphens, no punctuation,
/// and a number if the anchor exists already.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |sign: &char| sign.is_alphanumeric() || " -_".contains(*sign);
        let anchor = title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let before = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
        *before += 1;
    }
    anchors
}

/// Returns the fault of a target that a file names, if it has one. A target is a path from the file's folder, a
/// heading, or both.
fn fault(from: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { from.to_owned() } else { from.parent().unwrap_or(from).join(path) };
    if !file.exists() {
        return Some(format!("{} is not there", file.display()));
    }
    let anchor = anchor?;
    let is_there = anchors(&read(&file)).contains(anchor);
    (!is_there).then(|| format!("{} has no heading of the anchor {anchor}", file.display()))
}

/// Returns the pages of `docs` that a text names by their paths from the root.
fn pages_named(text: &str) -> Vec<&str> {
    let is_of_a_path = |sign: char| sign.is_ascii_alphanumeric() || "/._-#".contains(sign);
    let named = text.match_indices("docs/").filter(|(at, _)| !text[..*at].ends_with(is_of_a_path));
    let paths = named.map(|(at, _)| text[at..].split(|sign: char| !is_of_a_path(sign)).next().unwrap_or_default());
    paths.map(|path| path.trim_end_matches('.')).filter(|path| path.contains(".md")).collect()
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for document in documents() {
        for (number, target) in links(&read(&document)) {
            faults.extend(fault(&document, target).map(|fault| format!("{}:{number}: {fault}", document.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pages_that_sources_name_are_there() {
    let (mut faults, mut named) = (Vec::new(), 0);
    let root = Path::new("./README.md");
    for file in files().into_iter().filter(|file| file.extension().is_none_or(|extension| extension != "md")) {
        // Pictures and the like name nothing.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for target in pages_named(&text) {
            named += 1;
            faults.extend(fault(root, target).map(|fault| format!("{}: {fault}", file.display())));
        }
    }
    assert!(named > 0, "no source names a page");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_is_short_and_leads_to_all_pages() {
    let readme = read(Path::new("./README.md"));
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
    let linked: BTreeSet<_> =
        links(&readme).into_iter().map(|(_, target)| target.split('#').next().unwrap_or_default()).collect();
    for page in documents().into_iter().filter(|document| document.starts_with("./docs")) {
        let path = page.strip_prefix("./").expect("it begins so").to_str().expect("UTF-8").to_owned();
        assert!(linked.contains(path.as_str()), "README.md has no link to {path}");
    }
}

/// Page with the chapter that leads through the code, function by function.
const ARCHITECTURE: &str = "./docs/architecture.md";

/// Heading of the chapter that leads through the code.
const PATH_OF_A_CLICK: &str = "## The path of one click";

/// Returns the numbered steps of a chapter, each with the lines that go on with it.
fn steps(text: &str, chapter: &str) -> Vec<String> {
    let chapter = text.lines().skip_while(|line| *line != chapter).skip(1).take_while(|line| !line.starts_with("## "));
    let mut steps = Vec::<String>::new();
    for line in chapter {
        if line.starts_with(|sign: char| sign.is_ascii_digit()) {
            steps.push(line.to_owned());
        } else if line.starts_with("   ")
            && let Some(step) = steps.last_mut()
        {
            step.push('\n');
            step.push_str(line);
        }
    }
    steps
}

/// Whether a file has a function: one of a type that it names, or of the module that it is, if the name says so.
fn has_function(file: &Path, name: &str) -> bool {
    let code = read(file);
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (owner, function) = name.rsplit_once("::").map_or((None, name), |(owner, function)| (Some(owner), function));
    let is_named = |owner: &str| code.split(|sign: char| !is_word(sign)).any(|word| word == owner);
    let is_module = |owner: &str| file.file_stem().is_some_and(|stem| stem == owner);
    let has_owner = owner.is_none_or(|owner| is_named(owner) || is_module(owner));
    has_owner && ["(", "<"].iter().any(|after| code.contains(&format!("fn {function}{after}")))
}

/// Whoever reads the code for the first time looks for these.
#[test]
fn the_path_of_one_click_names_functions_that_its_files_have() {
    let page = Path::new(ARCHITECTURE);
    let steps = steps(&read(page), PATH_OF_A_CLICK);
    assert!(steps.len() > 10, "only {} steps are found", steps.len());
    for step in steps {
        let files: Vec<_> = links(&step).into_iter().map(|(_, target)| page.with_file_name(target)).collect();
        // Names of files are in back quotes, too.
        let functions = step.split('`').skip(1).step_by(2).filter(|name| !name.contains('.'));
        for function in functions {
            assert!(files.iter().any(|file| has_function(file, function)), "{function} is in none of {files:?}");
        }
    }
}

/// Page that explains the codes of refusals.
const ERRORS: &str = "./docs/errors.md";

#[test]
fn errors_are_explained_as_the_list_of_codes_says() {
    let page = read(Path::new(ERRORS));
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `CL")).collect();
    let row = |code: Code| format!("| `{code}` | {} | {} |", code.meaning(), code.way_out());
    assert_eq!(rows, Code::ALL.map(row), "rows of {ERRORS}");
}

/// A code that nothing refuses with is one that people look for in vain.
#[test]
fn every_code_is_used() {
    let list = Path::new("./lake-schemas/src/code.rs");
    let is_of_tests = |file: &Path| file.starts_with("./lake-store/src/commit/others");
    let sources = files().into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let code = sources.filter(|file| file != list && !is_of_tests(file)).filter_map(|file| built(&file));
    // Lines may be broken anywhere.
    let code: String = code.flat_map(|code| code.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    for one in Code::ALL {
        let ways = [format!("Code::{one:?}.because("), format!("Some(Code::{one:?})")];
        assert!(ways.iter().any(|way| code.contains(way)), "{one:?} is used nowhere outside of tests");
    }
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# A b\n\n## `x_y`, and Z: (what)?\n\n    # code\n\n```\n# code\n```\n\n### A b\n\n#no heading\n";
    assert_eq!(anchors(text), BTreeSet::from(["a-b", "x_y-and-z-what", "a-b-1"].map(str::to_owned)));
}

#[test]
fn links_in_code_are_none() {
    let text = "[a](b.md) `[c](d)` [`e`](f#g) [h](https://i)\n\n    [j](k)\n";
    assert_eq!(links(text), [(1, "b.md"), (1, "f#g")]);
}
