//! Splits a text into statements, and translates what DataFusion does not know: `t VERSION AS OF n` becomes the table
//! name `"t VERSION AS OF n"`, which the catalog knows.
//!
//! DataFusion's parser knows these words in other dialects only, and its planner ignores them: it would answer with the
//! newest version. Here nothing is ignored. In plain SQL the words never stand before a number or a string, so a
//! statement that does not mean them stays as it is; `asked` refuses those that do not directly follow the name of a
//! table.

use chrono::SecondsFormat;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};
use lake_schemas::{Code, time};
use lake_store::LakeError;

use super::numbers;
use crate::totals::AsOf;

const VERSION: &str = "VERSION AS OF";
const TIMESTAMP: &str = "TIMESTAMP AS OF";

/// Phrases by which other engines name a version or a time.
const OF_OTHERS: [&str; 4] =
    ["FOR VERSION AS OF", "FOR SYSTEM_VERSION AS OF", "FOR TIMESTAMP AS OF", "FOR SYSTEM_TIME AS OF"];

/// Advice on how to name a version or a time.
const FORMS: &str = "write `t VERSION AS OF 412` or `t TIMESTAMP AS OF '2026-03-07T12:00:00Z'`, t a table of the lake";

/// One statement, ready to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Text that DataFusion parses.
    pub text: String,
    /// Number of tables in the statement that are named with a version or a time.
    pub travels: usize,
}

/// Splits a text into its statements.
pub fn statements(text: &str) -> Result<Vec<Statement>, LakeError> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize_with_location();
    let tokens = tokens.map_err(|error| LakeError::Refused(Code::StatementUnclear.because(error.to_string())))?;
    let text = Text::new(text);
    if !text.is_made_of(&tokens) {
        let why = "/*! begins a comment to some and code to others; write /* for a comment";
        return Err(LakeError::Refused(Code::StatementUnclear.because(why.to_owned())));
    }
    numbers::check(&tokens)?;
    let mut statements = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        let words: Vec<_> = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        if !words.is_empty() {
            statements.push(rewritten(&text, &words)?);
        }
    }
    Ok(statements)
}

/// Splits the name of a table into the table and its version or time.
pub(crate) fn named(name: &str) -> Option<(&str, AsOf)> {
    let word = [VERSION, TIMESTAMP].into_iter().find(|word| name.contains(word))?;
    let (table, value) = name.split_once(word)?;
    let as_of = match word {
        VERSION => AsOf::Version(value.trim().parse().ok()?),
        _ => AsOf::Time(time::written(value.trim())?),
    };
    Some((table.trim_end(), as_of))
}

/// Moves the versions and times of a statement into names of tables.
fn rewritten(text: &Text, words: &[&TokenWithSpan]) -> Result<Statement, LakeError> {
    let (mut statement, mut travels) = (String::new(), 0);
    let (mut copied, end) = (text.at(words[0].span.start), text.at(words[words.len() - 1].span.end));
    for (at, of) in words.windows(4).enumerate() {
        if let Some(other) = of_other_engines(of) {
            return Err(LakeError::Refused(
                Code::StatementUnsupported.because(format!("{other} is not supported; {FORMS}")),
            ));
        }
        let Some(word) = time_travel(of) else { continue };
        let name = at.checked_sub(1).and_then(|before| name(words[before]));
        let value = &of[3].token;
        let value = match (word, value) {
            (VERSION, Token::Number(number, _)) => number.parse::<u64>().ok().map(|version| version.to_string()),
            (TIMESTAMP, Token::SingleQuotedString(written)) => {
                time::written(written).map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
            }
            (_, Token::Number(..) | Token::SingleQuotedString(_) | Token::Minus | Token::Plus) => None,
            // Another token is no value: the words are a column name, or a syntax error that the parser reports.
            _ => continue,
        };
        let (Some(name), Some(value)) = (name, value) else {
            return Err(LakeError::Refused(Code::StatementUnclear.because(format!("{word} {}: {FORMS}", of[3].token))));
        };
        let before = text.at(words[at - 1].span.start);
        statement.push_str(text.between(copied, before));
        statement.push_str(&format!("\"{} {word} {value}\"", name.replace('"', "\"\"")));
        copied = text.at(of[3].span.end);
        travels += 1;
    }
    statement.push_str(text.between(copied, end));
    Ok(Statement { text: statement, travels })
}

/// Returns which of the two phrases these words begin with.
fn time_travel(words: &[&TokenWithSpan]) -> Option<&'static str> {
    [VERSION, TIMESTAMP].into_iter().find(|travel| begin_with(words, travel))
}

/// Returns which phrase of other engines for a version or a time these words begin with.
fn of_other_engines(words: &[&TokenWithSpan]) -> Option<&'static str> {
    OF_OTHERS.into_iter().find(|phrase| begin_with(words, phrase))
}

/// Returns whether words begin with those of a phrase, in letters of any case.
fn begin_with(words: &[&TokenWithSpan], phrase: &str) -> bool {
    let is = |word: &TokenWithSpan, expected: &str| match &word.token {
        Token::Word(Word { value, quote_style: None, .. }) => value.eq_ignore_ascii_case(expected),
        _ => false,
    };
    phrase.split(' ').zip(words).all(|(expected, word)| is(word, expected))
}

/// Returns a name as the catalog has it.
fn name(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_lowercase()),
        Token::Word(Word { value, quote_style: Some('"'), .. }) => Some(value.replace("\"\"", "\"")),
        _ => None,
    }
}

/// A text, with the bytes at which its lines begin.
struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    /// Converts a place, counted in lines and characters from 1, to a byte.
    fn at(&self, place: Location) -> usize {
        let (line, column) = (place.line.saturating_sub(1), place.column.saturating_sub(1));
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let start = self.lines.get(index(line)).copied().unwrap_or(self.text.len());
        self.text[start..].char_indices().nth(index(column)).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// Returns whether the tokens cover the whole text, one after the other. The tokenizer expands the code inside of
    /// `/*! … */`, and its places are wrong from there on.
    fn is_made_of(&self, tokens: &[TokenWithSpan]) -> bool {
        let are_neighbours = |two: &[TokenWithSpan]| two[0].span.end == two[1].span.start;
        tokens.windows(2).all(are_neighbours)
            && tokens.last().map_or(0, |last| self.at(last.span.end)) == self.text.len()
    }

    fn between(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let all = statements(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(all.len(), 1, "{text}");
        all[0].text.clone()
    }

    #[test]
    fn a_version_becomes_part_of_the_name() {
        let expected = "select * from \"clicks VERSION AS OF 12\" c \
                        join \"clicks TIMESTAMP AS OF 2026-03-07T00:00:00.000000Z\" on true";
        let text = "select * from Clicks version as of 12 c join\n \"clicks\" TIMESTAMP  AS OF '2026-03-07' on true";
        assert_eq!(one(text), expected.replace("join ", "join\n "));
        assert_eq!(one("table public.clicks VERSION AS OF 3"), "table public.\"clicks VERSION AS OF 3\"");
    }

    #[test]
    fn statements_end_where_sql_says_so() {
        let text = "select ';' -- not; here\n, \"a;b\"; ; /* ; */ select 'ä', 1 from clicks VERSION AS OF 7;\n";
        let expected = ["select ';' -- not; here\n, \"a;b\"", "select 'ä', 1 from \"clicks VERSION AS OF 7\""];
        let found: Vec<_> = statements(text).expect("statements").into_iter().map(|one| one.text).collect();
        assert_eq!(found, expected);
        assert!(statements(" ; -- nothing\n").expect("nothing").is_empty());
        assert!(statements("select 'open").is_err());
    }

    #[test]
    fn statements_without_time_travel_are_left_alone() {
        for text in
            ["select version as of from history('clicks')", "select timestamp as of, 1", "select 'VERSION AS OF 5'"]
        {
            assert_eq!(one(text), text);
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for text in [
            "select * from clicks VERSION AS OF '5'",
            "select * from clicks VERSION AS OF 5.5",
            "select * from clicks VERSION AS OF -1",
            "select * from clicks TIMESTAMP AS OF 5",
            "select * from clicks TIMESTAMP AS OF 'yesterday'",
            "select * from clicks TIMESTAMP AS OF '2026-03-07T12:00:00'",
            "select * from clicks TIMESTAMP AS OF '2016-12-31T23:59:60Z'",
            "select * from totals(null, null) VERSION AS OF 5",
            "select * from (select 1) TIMESTAMP AS OF '2026-03-07'",
            "select * from clicks FOR VERSION AS OF 5",
            "select * from clicks for system_version as of 5",
            "select * from clicks FOR TIMESTAMP AS OF '2026-03-07'",
            "select * from clicks FOR SYSTEM_TIME AS OF '2026-03-07' c",
            "select * from clicks FOR SYSTEM_TIME AS OF now()",
        ] {
            let error = statements(text).expect_err(text).to_string();
            assert!(error.contains("AS OF") && error.contains("write `t VERSION"), "{text}: {error}");
        }
    }

    #[test]
    fn comments_that_are_code_are_refused() {
        for text in
            ["/*!1*/", "/*!50110*/", "/*!50110 */", "select 1 /*! + 1 */", "select /*!1*/ + 1", "/*! */ select 1"]
        {
            let refused = statements(text).expect_err(text).to_string();
            assert!(refused.contains("write /*"), "{text}: {refused}");
        }
        assert_eq!(one("select /* ! */ 1 /* /*! */ */"), "select /* ! */ 1");
        assert_eq!(statements(" \n/* nothing */").expect("a comment").len(), 0);
        assert_eq!(statements("").expect("nothing").len(), 0);
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!(named("clicks VERSION AS OF 12"), Some(("clicks", AsOf::Version(12))));
        let noon = AsOf::Time("2026-03-07T12:00:00Z".parse().expect("a time"));
        assert_eq!(named("clicks TIMESTAMP AS OF 2026-03-07T12:00:00.000000Z"), Some(("clicks", noon)));
        assert_eq!(named("clicks"), None);
        assert_eq!(named("clicks TIMESTAMP AS OF 2016-12-31T23:59:60Z"), None);
    }
}
