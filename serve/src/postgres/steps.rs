//! Parses statements in a limited number of steps.
//!
//! sqlparser tries one reading after another wherever a word may be a function, a type, an operator or a name, and each
//! try reads the rest again: text behind each such word or bracket is read two, three or six times as often for each of
//! them. Which words these are changes with each release of the parser, so they are not listed here. Instead, the text
//! is first parsed with PostgreSQL's dialect, changed in one respect: it counts how often the parser calls it, and
//! reports that the nesting is too deep once the limit is reached. The parser stops at that error, and wherever it
//! tries another reading, it gets the same error at once.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::{Expr, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Parses tokens in at most `steps` steps, and subtracts those that it took. A parse that needs more fails with
/// [`ParserError::RecursionLimitExceeded`], as does one that nests deeper than the parser goes.
pub(super) fn parse(tokens: Vec<Token>, steps: &mut u32) -> Result<Vec<Statement>, ParserError> {
    let counting = Counting { left: Cell::new(*steps) };
    let parsed = Parser::new(&counting).with_tokens(tokens).parse_statements();
    *steps = counting.left.get();
    // The error of the last try may be about a word that was not reached any more.
    if *steps == 0 { Err(ParserError::RecursionLimitExceeded) } else { parsed }
}

/// Dialect that all but the counting is delegated to.
const LIKE: PostgreSqlDialect = PostgreSqlDialect {};

/// PostgreSQL's dialect with a step counter.
#[derive(Debug)]
struct Counting {
    left: Cell<u32>,
}

impl Counting {
    /// Takes one step; fails if none is left.
    fn step(&self) -> Result<(), ParserError> {
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 { Err(ParserError::RecursionLimitExceeded) } else { Ok(()) }
    }
}

/// Delegates properties of the dialect to PostgreSQL's.
macro_rules! as_postgresql {
    ($($says:ident)*) => {
        $(fn $says(&self) -> bool {
            LIKE.$says()
        })*
    };
}

impl Dialect for Counting {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn parse_prefix(&self, _: &mut Parser) -> Option<Result<Expr, ParserError>> {
        self.step().err().map(Err)
    }

    fn parse_statement(&self, _: &mut Parser) -> Option<Result<Statement, ParserError>> {
        self.step().err().map(Err)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match self.step() {
            Ok(()) => LIKE.get_next_precedence(parser),
            Err(error) => Some(Err(error)),
        }
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        LIKE.is_identifier_start(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        LIKE.is_identifier_part(letter)
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        LIKE.is_delimited_identifier_start(letter)
    }

    fn is_custom_operator_part(&self, letter: char) -> bool {
        LIKE.is_custom_operator_part(letter)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        LIKE.identifier_quote_style(identifier)
    }

    fn is_reserved_for_identifier(&self, word: Keyword) -> bool {
        LIKE.is_reserved_for_identifier(word)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        LIKE.prec_value(precedence)
    }

    as_postgresql! {
        allow_extract_custom
        allow_extract_single_quotes
        supports_alter_column_type_using
        supports_array_typedef_with_brackets
        supports_bitwise_shift_operators
        supports_comma_separated_trim
        supports_comment_on
        supports_comment_optimizer_hint
        supports_create_index_with_clause
        supports_create_table_like_parenthesized
        supports_empty_projections
        supports_explain_with_utility_options
        supports_factorial_operator
        supports_filter_during_aggregation
        supports_geometric_types
        supports_group_by_expr
        supports_insert_table_alias
        supports_interval_options
        supports_listen_notify
        supports_load_extension
        supports_named_fn_args_with_colon_operator
        supports_named_fn_args_with_expr_name
        supports_nested_comments
        supports_notnull_operator
        supports_numeric_literal_underscores
        supports_select_wildcard_with_alias
        supports_set_names
        supports_string_escape_constant
        supports_unicode_string_literal
        supports_xml_expressions
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().expect("tokens")
    }

    /// Statements that PostgreSQL's dialect parses differently from others.
    const ITS_OWN: [&str; 20] = [
        "select a::text, b #> '{c}', d #>> '{e}', f @> g, h # i, j || k, l ^ m",
        "select extract('year' from a), extract(century from b)",
        "select a notnull, b isnull, c is not distinct from d, !!5, @ -3, |/ 4",
        "select sum(a) filter (where b), array_agg(c order by d) from e group by f + 1",
        "select interval '1 day', interval(3) '1 second', max(interval), a::interval from b",
        "select interval year to month '1-2', time '12:00' at time zone 'UTC'",
        "select array[1, 2][1], a[1:2], b::int[], array(select 1)",
        "select point '(1,2)', box '((1,2),(3,4))'",
        "select json_object('a': 1), f(a => 1), g(b := 2)",
        "select E'a\\nb', U&'\\0061', x'ff', 1_000, $1, $$a$$, 'it''s'",
        "select * from a, lateral (select 1) b, unnest(c) with ordinality d(e, f)",
        "select t.* as u from t limit 1 offset 2",
        "select from a",
        "select a between 1 and 2 and not b like 'c' escape '!' or d ~* 'e' and f similar to 'g'",
        "select trim(a, b), trim(both 'x' from c), substring(d from 1 for 2), position('e' in f)",
        "select case a when 1 then 2 else 3 end, cast(b as numeric(10, 2)), coalesce(c, d)",
        "set names 'UTF8'",
        "explain (analyze, format json) select 1",
        "listen a",
        "declare c cursor for select 1",
    ];

    #[test]
    fn counting_steps_does_not_change_what_is_parsed() {
        for text in ITS_OWN {
            let plain = Parser::new(&PostgreSqlDialect {}).with_tokens(tokens(text)).parse_statements();
            let counted = parse(tokens(text), &mut 10_000);
            match (plain, counted) {
                (Ok(plain), Ok(counted)) => assert_eq!(plain, counted, "{text}"),
                (plain, counted) => assert_eq!(plain.is_err(), counted.is_err(), "{text}: {plain:?}, {counted:?}"),
            }
        }
    }

    #[test]
    fn a_parse_ends_when_its_steps_are_taken() {
        let repeated = |word: &str| format!("select {}", word.repeat(15));
        let signs = format!("select {}", "not - ".repeat(20));
        for text in ["interval(", "interval -abs(", "not -abs(", "abs("].map(repeated).into_iter().chain([signs]) {
            let mut steps = 5_000;
            let parsed = parse(tokens(&text), &mut steps);
            assert!(matches!(parsed, Err(ParserError::RecursionLimitExceeded)), "{text}: {parsed:?}");
        }
        let mut steps = 5_000;
        assert!(parse(tokens("select 1 + 1"), &mut steps).is_ok());
        assert!(steps > 4_900, "{steps} are left");
    }
}
