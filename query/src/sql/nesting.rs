//! Limits how deep the text of a statement may nest: parsers and planners are recursive, and a statement that overflows
//! the stack ends the process. The limit counts words and signs before anything is parsed, whatever they mean, in the
//! tokens of the dialect that the text is parsed in.

use std::ops::ControlFlow;

use datafusion::config::Dialect;
use datafusion::sql::parser;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use lake_schemas::Code;
use lake_store::LakeError;

use super::visited::{Look, look_at};

/// Greatest number of words and signs in a text that may nest what follows by one; queries of programs have a few
/// hundred. Deeper nesting overflows a stack, and takes the planner time by the square of the depth: a tenth of a
/// second for this many.
pub const NESTING_MAX: usize = 1_000;

/// Words of SQL that never nest: they stand beside what they belong to, however many there are. Any other word that the
/// parser knows counts, and so does any word that its next release adds.
const BESIDE: [Keyword; 10] = [
    Keyword::AS,
    Keyword::ASC,
    Keyword::DESC,
    Keyword::ELSE,
    Keyword::END,
    Keyword::FALSE,
    Keyword::NULL,
    Keyword::THEN,
    Keyword::TRUE,
    Keyword::WHEN,
];

/// Greatest number of INTERVALs in a text: the parser does not count the depth of what follows one, and a stack holds
/// this many.
const INTERVALS_MAX: usize = 128;

/// Greatest number of words in a text of which each may nest a plan by one, and of tables that are read: these take
/// more of a stack than operators do.
pub const PLANS_MAX: usize = 128;

/// Words that nest plans.
const PLANS: [Keyword; 9] = [
    Keyword::SELECT,
    Keyword::VALUES,
    Keyword::TABLE,
    Keyword::UNNEST,
    Keyword::LATERAL,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::JOIN,
];

/// Error for a statement that may nest deeper than it is allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

/// Budget of nesting that several statements share.
pub struct Nesting {
    signs: usize,
    plans: usize,
}

impl Default for Nesting {
    fn default() -> Self {
        Self { signs: NESTING_MAX, plans: PLANS_MAX }
    }
}

impl Nesting {
    /// Takes what the tokens of a statement need.
    pub fn take(&mut self, tokens: &[Token]) -> Result<(), TooDeep> {
        let count = |is_one: fn(&Token) -> bool| tokens.iter().filter(|token| is_one(token)).count();
        let left = |allowed: usize, taken: usize| allowed.checked_sub(taken).ok_or(TooDeep);
        self.signs = left(self.signs, count(may_nest))?;
        self.plans = left(self.plans, count(plans))?;
        left(INTERVALS_MAX, count(|token| keyword(token) == Some(Keyword::INTERVAL)))?;
        Ok(())
    }
}

/// Refuses the text of a statement, in the dialect that it is parsed in, if it nests deeper than a stack holds.
pub(super) fn of_text(text: &str, dialect: Dialect) -> Result<(), LakeError> {
    // An unknown dialect, or a text without tokens, is reported by the parser.
    let Some(dialect) = dialect_from_str(dialect) else { return Ok(()) };
    let Ok(tokens) = Tokenizer::new(dialect.as_ref(), text).tokenize() else { return Ok(()) };
    Nesting::default().take(&tokens).map_err(|_| too_deep())
}

/// Refuses a statement that joins more tables than a stack holds: a comma between tables nests, too.
pub(super) fn of_tables(statement: &parser::Statement) -> Result<(), LakeError> {
    struct Tables(usize);
    impl Look for Tables {
        fn relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
    }
    let mut tables = Tables(0);
    // The visitor never breaks off, so there is no result to look at.
    let _ = look_at(statement, &mut tables);
    if tables.0 > PLANS_MAX { Err(too_deep()) } else { Ok(()) }
}

fn too_deep() -> LakeError {
    let most = format!("{NESTING_MAX} words and signs that may nest, and {PLANS_MAX} queries and tables");
    LakeError::Refused(
        Code::StatementTooComplex
            .because(format!("the statement is too complex: it may have {most}; make tables or views of its parts")),
    )
}

/// Returns whether a token may nest what follows: anything but a name, a literal, a comma, a dot or a bracket. The
/// parser itself counts the depth of brackets.
fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword && !BESIDE.contains(&word.keyword),
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::Placeholder(_) | Token::Number(..) => false,
        Token::LParen | Token::RParen | Token::RBracket | Token::SemiColon | Token::EOF => false,
        token => !is_string(token),
    }
}

/// Returns whether a token may nest a plan.
fn plans(token: &Token) -> bool {
    keyword(token).is_some_and(|word| PLANS.contains(&word))
}

/// Returns the keyword that a token is, unless it is quoted.
pub fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    }
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
    )
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    fn refusal(text: &str) -> Option<String> {
        let why = |error: LakeError| error.to_string();
        of_text(text, Dialect::Generic).map_err(why).err().or_else(|| {
            let parsed = SessionContext::new().state().sql_to_statement(text, &Dialect::Generic).expect("SQL");
            of_tables(&parsed).map_err(why).err()
        })
    }

    #[test]
    fn what_is_deeper_than_a_stack_is_refused_in_the_dialect_of_the_shell() {
        let chain = |first: &str, more: &str, times: usize| format!("{first}{}", more.repeat(times));
        for text in [
            chain("select 1", "+1", 200_000),
            chain("select 1", " union all select 1", 3_000),
            chain("select not true", " and not true", 1_000),
            chain("explain select 1", " || 'a'", 2_000),
            chain("copy (select 1", " - 1", 2_000) + ") to 'a.csv'",
            format!("select {}'1'", "interval ".repeat(200)),
            chain("select 1 from a", ", a", PLANS_MAX),
        ] {
            let why = refusal(&text).unwrap_or_else(|| panic!("{}", &text[..40]));
            assert!(why.contains("too complex") && why.lines().count() == 1, "{why}");
        }
    }

    #[test]
    fn what_people_write_is_let_through() {
        let listed = format!("select 1 where 'a' in ({})", vec!["'b'"; 100_000].join(", "));
        let rows = format!("create table a as values {}", vec!["(1, 'x', 2.5)"; 10_000].join(", "));
        let sums = format!("select 1{}", "+1".repeat(300));
        let unions = format!("select 1{}", " union all select 1".repeat(60));
        for text in [listed, rows, sums, unions, "select 1 from a, b, c join d on true".to_owned()] {
            assert_eq!(refusal(&text), None, "{}", &text[..40]);
        }
    }
}
