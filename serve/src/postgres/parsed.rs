//! Parses a text as PostgreSQL reads it, and rewrites the statement for DataFusion.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::adapted::adapt;
use super::errors::Refused;
use super::names::{as_written, call_as_written, tell_apart};
use super::of_catalog;

/// Word that ends a transaction and that the parser does not know, and its synonym.
const ABORT: (&str, &str) = ("abort", "rollback");

/// Words that begin a transaction, and a word at its end that has no effect here: statements that only read wait for
/// nobody.
const BEGINS: [&str; 2] = ["begin", "start"];
const DEFERRABLE: &str = "deferrable";

/// Parses a text that is one statement.
pub(super) fn parse(text: &str) -> Result<Statement, Refused> {
    let first = first_word(text);
    let ends = first.eq_ignore_ascii_case(ABORT.0).then(|| format!("{}{}", ABORT.1, &text[first.len()..]));
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, ends.as_deref().unwrap_or(text));
    let parsed = parsed.map_err(|error| Refused::syntax(&error.to_string()))?;
    let count = parsed.len();
    let [statement] = <[Statement; 1]>::try_from(parsed)
        .map_err(|_| Refused::syntax(&format!("one statement is expected, not {count}")))?;
    Ok(statement)
}

/// Removes `DEFERRABLE` from the beginning of a transaction, which the parser does not know.
pub(super) fn undeferred(text: &str) -> &str {
    if !BEGINS.contains(&first_word(text).to_ascii_lowercase().as_str()) {
        return text;
    }
    let Some(before) = without_last(text, DEFERRABLE) else { return text };
    without_last(before, "not").unwrap_or(before)
}

fn first_word(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default()
}

/// Returns a text without its last word, if it is `word`.
fn without_last<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_end();
    let (before, last) = text.split_at_checked(text.len().checked_sub(word.len())?)?;
    (last.eq_ignore_ascii_case(word) && before.ends_with(char::is_whitespace)).then(|| before.trim_end())
}

/// Returns a statement rewritten for the planner.
pub(super) fn adapted(statement: Statement, text: &str) -> Result<Statement, Refused> {
    let names = as_written(&statement);
    let mut statement = of_catalog::known(statement, text);
    adapt(&mut statement)?;
    let mut statement = of_catalog::put(statement)?;
    call_as_written(&mut statement, &names);
    tell_apart(&mut statement);
    Ok(statement)
}
