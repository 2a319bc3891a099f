//! A text into a statement, as PostgreSQL reads it, and into words that DataFusion plans.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::adapted::adapt;
use super::errors::Refused;
use super::names::{as_written, call_as_written, tell_apart};
use super::of_catalog;

/// What ends a transaction that the parser does not know, and what it knows instead.
const ABORT: (&str, &str) = ("abort", "rollback");

/// How a transaction begins, and a word behind it that says nothing here: statements that only ask wait for nobody.
const BEGINS: [&str; 2] = ["begin", "start"];
const DEFERRABLE: &str = "deferrable";

/// The one statement of a text, as it is written.
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

/// A statement as the parser knows it: how a transaction begins, without whether it is deferred.
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

/// A text without its last word, if it is that one.
fn without_last<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_end();
    let (before, last) = text.split_at_checked(text.len().checked_sub(word.len())?)?;
    (last.eq_ignore_ascii_case(word) && before.ends_with(char::is_whitespace)).then(|| before.trim_end())
}

/// A statement of this text, as it is planned.
pub(super) fn adapted(statement: Statement, text: &str) -> Result<Statement, Refused> {
    let names = as_written(&statement);
    let mut statement = of_catalog::known(statement, text);
    adapt(&mut statement)?;
    let mut statement = of_catalog::put(statement)?;
    call_as_written(&mut statement, &names);
    tell_apart(&mut statement);
    Ok(statement)
}
