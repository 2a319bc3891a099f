//! Editor of the shell: a statement goes on until its semicolon, Tab completes words and files, words have colours.

use std::borrow::Cow;

use datafusion::config::Dialect;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_cli::highlighter::SyntaxHighlighter;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

/// Words of SQL that are completed.
const KEYWORDS: [&str; 42] = [
    "and",
    "as",
    "as of",
    "asc",
    "between",
    "by",
    "case",
    "copy",
    "create",
    "cross join",
    "desc",
    "describe",
    "distinct",
    "else",
    "end",
    "explain",
    "external table",
    "from",
    "full join",
    "group by",
    "having",
    "in",
    "inner join",
    "intersect",
    "interval",
    "is not null",
    "is null",
    "left join",
    "limit",
    "location",
    "not",
    "order by",
    "over",
    "partition by",
    "select",
    "show tables",
    "stored as",
    "timestamp as of",
    "union all",
    "version as of",
    "where",
    "with",
];

/// Words that Tab completes to, in order.
#[derive(Default)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Collects the words of SQL, the names of tables and columns, and the functions.
    pub fn new(names: impl IntoIterator<Item = String>, functions: impl IntoIterator<Item = String>) -> Self {
        let functions = functions.into_iter().map(|name| format!("{name}("));
        let mut all: Vec<_> = KEYWORDS.map(str::to_owned).into_iter().chain(names).chain(functions).collect();
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Yields the words that begin like a given one; words of SQL and functions are not case-sensitive.
    fn beginning(&self, word: &str) -> impl Iterator<Item = &String> {
        let word = word.to_lowercase();
        self.0.iter().filter(move |candidate| candidate.starts_with(&word))
    }
}

/// Helper that the editor calls while somebody types.
pub(super) struct Helper {
    pub words: Words,
    files: FilenameCompleter,
    is_coloured: bool,
}

impl Helper {
    pub fn new(is_coloured: bool) -> Self {
        Self { words: Words::default(), files: FilenameCompleter::new(), is_coloured }
    }
}

/// Returns whether a line can be answered: a command, or statements up to the last semicolon.
fn is_whole(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('\\') {
        return true;
    }
    let tokens = Tokenizer::new(&GenericDialect {}, line).tokenize();
    // The tokenizer fails on a string without its closing quote: the statement goes on.
    let Ok(tokens) = tokens else { return false };
    let last = tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_)));
    last.is_none_or(|token| *token == Token::SemiColon)
}

/// Returns where the last word of a line begins.
fn word_start(line: &str) -> usize {
    line.rfind(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8))
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        let is_in_string = before.matches('\'').count() % 2 == 1;
        if is_in_string || before.starts_with("\\i ") {
            return self.files.complete(line, at, context);
        }
        let start = word_start(before);
        if start == at {
            return Ok((at, Vec::new()));
        }
        let pair = |word: &String| Pair { display: word.clone(), replacement: word.clone() };
        Ok((start, self.words.beginning(&before[start..]).map(pair).collect()))
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, at: usize) -> Cow<'l, str> {
        if !self.is_coloured {
            return Cow::Borrowed(line);
        }
        Cow::Owned(SyntaxHighlighter::new(&Dialect::Generic).highlight(line, at).into_owned())
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.is_coloured
    }
}

impl Hinter for Helper {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        line.is_empty().then(|| "\\d tables, \\? help, \\q quit".to_owned())
    }
}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_its_semicolon() {
        for whole in ["", "\\d", "select 1;", "select ';';  ", "select 1; -- done", "select \"a;b\"\n;"] {
            assert!(is_whole(whole), "{whole}");
        }
        for open in ["select 1", "select ';", "select 1; select 2", "select 'a;\n", "select 1 -- ;"] {
            assert!(!is_whole(open), "{open}");
        }
    }

    #[test]
    fn words_are_completed() {
        let words = Words::new(["clicks".to_owned(), "clicks_minute".to_owned()], ["count".to_owned()]);
        let found = |line: &str| words.beginning(&line[word_start(line)..]).cloned().collect::<Vec<_>>();
        assert_eq!(found("select cou"), ["count("]);
        assert_eq!(found("select * from CLI"), ["clicks", "clicks_minute"]);
        assert_eq!(found("select * from clicks Ver"), ["version as of"]);
    }
}
