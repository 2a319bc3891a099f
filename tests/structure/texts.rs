//! Texts that people read, as messages, help or the description of the API, take names from lists: a text that has them
//! by hand is wrong after the next measure, dimension or table.

use lake_schemas::field::Role;
use lake_schemas::{Field, Measure, Table};

use super::{NAMES_MEASURES, built, docs, root, sources};

/// The generator of clicks: it tells of kinds of messages, some of which have the names of measures.
const NAMES_KINDS: &str = "localstack/src/generate.rs";

/// Returns the texts of a source that people read: its literals, and its docs if these become help or a description.
fn told(code: &str) -> Vec<String> {
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let lines: Vec<_> = code.lines().filter(|line| !is_comment(line)).collect();
    // Without quotes that begin and end no literal, every second part is one.
    let plain = ["\\\\", "\\\"", "'\"'"].into_iter().fold(lines.join("\n"), |code, quote| code.replace(quote, ""));
    let literals = plain.split('"').skip(1).step_by(2).map(str::to_owned);
    let is_told = ["utoipa::", "clap::"].into_iter().any(|library| code.contains(library));
    let docs = docs(code).into_iter().filter(|_| is_told).map(|(_, doc)| doc);
    literals.chain(docs).collect()
}

/// Returns whether a text has two of these names side by side, as a list has them.
fn lists(text: &str, names: &[&str]) -> bool {
    let is_of_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let words: Vec<_> = text.split(|sign: char| !is_of_name(sign)).filter(|word| !word.is_empty()).collect();
    let is_name = |word: &&str| names.contains(word);
    let without_and: Vec<_> = words.into_iter().filter(|word| !["and", "or"].contains(word)).collect();
    without_and.windows(2).any(|pair| pair[0] != pair[1] && pair.iter().all(is_name))
}

#[test]
fn no_text_lists_measures_or_dimensions_by_hand() {
    let dimensions: Vec<_> = Field::of_role(Role::Dimension).map(Field::column).collect();
    let named = [NAMES_MEASURES, NAMES_KINDS].map(|name| root().join(name));
    for file in sources().into_iter().filter(|file| !named.contains(file)) {
        for text in built(&file).iter().flat_map(|code| told(code)) {
            for names in [&Measure::ALL.map(Measure::column)[..], &dimensions[..]] {
                assert!(!lists(&text, names), "{} lists some of {names:?}: {text}", file.display());
            }
        }
    }
    assert!(lists("there are country and device", &["country", "device"]), "it finds what it looks for");
}

/// The description of the API speaks of tables and measures by their lists, or in general.
#[test]
fn the_description_of_the_api_names_no_table_and_no_measure_by_hand() {
    for file in sources() {
        let Some(code) = built(&file).filter(|code| code.contains("utoipa::")) else { continue };
        let tables = Table::ALL.iter().filter(|table| **table != Table::Clicks).map(|table| table.name().to_owned());
        let measures = Measure::ALL.map(|measure| format!("`{}`", measure.column()));
        let names: Vec<_> = tables.chain(measures).collect();
        for (number, doc) in docs(&code) {
            let named = names.iter().find(|name| doc.contains(name.as_str()));
            assert_eq!(named, None, "{}:{number}: {doc}", file.display());
        }
    }
}
