//! What is refused before it is parsed or planned: texts that would take more time, or more of a stack, than anyone may
//! have. A parser and a planner do as they are told, and nobody can stop them on the way.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, Expr, Query, Statement, Visit};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::errors::Refused;
use crate::sql::visited::{Look, look, relations};

/// Bytes of a text: lists of some thousand names are shorter.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Operators in a text. Each may nest what follows by one, and what is nested too deep is more than a stack holds;
/// queries of programs have a few hundred.
const OPERATORS_MAX: usize = 1_000;

/// Words that nest as operators do.
const NESTING: [&str; 16] = [
    "AND",
    "OR",
    "NOT",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "JOIN",
    "CASE",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "IS",
    "IN",
    "COLLATE",
    "AT",
    "SIMILAR",
];

/// Words in a text of which each may nest a plan by one, and tables that are read: they weigh more on a stack than
/// operators do.
const PLANS_MAX: usize = 128;

/// Words that nest plans.
const PLANS: [&str; 9] = ["SELECT", "VALUES", "TABLE", "UNNEST", "LATERAL", "UNION", "EXCEPT", "INTERSECT", "JOIN"];

/// What a text may weigh: each word of it as much as the parser may read it, which is twice as often for each bracket
/// that it stands in. So much takes some tenths of a second.
const WEIGHT_MAX: u64 = 1 << 18;

/// Refuses a text.
pub(super) fn of_text(text: &str) -> Result<(), Refused> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refused::too_much("the statement is too long"));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| Refused::syntax(&error.to_string()))?;
    let count = |is_one: fn(&Token) -> bool| tokens.iter().filter(|token| is_one(token)).count();
    if count(nests) > OPERATORS_MAX || count(plans) > PLANS_MAX {
        return Err(too_complex());
    }
    if weight(&tokens) > WEIGHT_MAX {
        return Err(Refused::too_much("the statement has too many brackets in brackets"));
    }
    Ok(())
}

/// Refuses a statement that reads more tables than a stack holds, or more often than anyone waits for: what `WITH`
/// names is planned again wherever the name stands.
pub(super) fn of_statement(statement: &Statement) -> Result<(), Refused> {
    let mut found = Found { named: Vec::new(), grouping_sets: 1 };
    // It goes through to the end.
    let _ = look(statement, &mut found);
    if found.grouping_sets > PLANS_MAX {
        return Err(too_complex());
    }
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    // What is named may stand anywhere: each look finds the sizes of those that are made of what is known already.
    loop {
        let is_known = sizes.clone();
        for (name, tables) in &found.named {
            let others = tables.iter().filter(|table| *table != name);
            let size = others.map(|table| is_known.get(table.as_str()).copied().unwrap_or(1)).sum::<usize>().max(1);
            let largest = sizes.entry(name).or_default();
            *largest = size.max(*largest);
        }
        if sizes.values().any(|size| *size > PLANS_MAX) {
            return Err(too_complex());
        }
        if sizes == is_known {
            break;
        }
    }
    let tables = tables_of(statement);
    let size: usize = tables.iter().map(|table| sizes.get(table.as_str()).copied().unwrap_or(1)).sum();
    if size > PLANS_MAX { Err(too_complex()) } else { Ok(()) }
}

fn too_complex() -> Refused {
    Refused::too_much("the statement is too complex")
}

/// What of a statement is planned more than once.
struct Found {
    /// What is named by `WITH`, and the names of the tables that it is made of.
    named: Vec<(String, Vec<String>)>,
    /// The sets that rows are grouped by, each with each.
    grouping_sets: usize,
}

impl Look for Found {
    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let named = named.map(|Cte { alias, query, .. }| (alias.name.value.to_ascii_lowercase(), tables_of(query)));
        self.named.extend(named);
        ControlFlow::Continue(())
    }

    fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let sets = match expr {
            Expr::Cube(columns) => {
                u32::try_from(columns.len()).map_or(usize::MAX, |count| 2_usize.saturating_pow(count))
            }
            Expr::Rollup(columns) => columns.len() + 1,
            Expr::GroupingSets(sets) => sets.len().max(1),
            _ => 1,
        };
        self.grouping_sets = self.grouping_sets.saturating_mul(sets);
        ControlFlow::Continue(())
    }
}

/// The names of all tables in a part of a statement, as often as they stand there.
fn tables_of(part: &impl Visit) -> Vec<String> {
    let mut tables = Vec::new();
    let _ = relations(part, &mut |name| {
        tables.push(name.to_string().replace('"', "").to_ascii_lowercase());
        ControlFlow::Continue(())
    });
    tables
}

/// How much a text weighs.
fn weight(tokens: &[Token]) -> u64 {
    let mut depth = 0_u32;
    tokens.iter().fold(0, |weight, token| {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_word = !matches!(token, Token::Whitespace(_));
        weight.saturating_add(if is_word { 1_u64.checked_shl(depth).unwrap_or(u64::MAX) } else { 0 })
    })
}

/// Whether it may nest what follows.
fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && is_one_of(&NESTING, &word.value),
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::Placeholder(_) | Token::Number(..) => false,
        Token::LParen | Token::RParen | Token::RBracket | Token::SemiColon | Token::EOF => false,
        token => !is_string(token),
    }
}

/// Whether it may nest a plan.
fn plans(token: &Token) -> bool {
    matches!(token, Token::Word(word) if is_one_of(&PLANS, &word.value))
}

fn is_one_of(words: &[&str], word: &str) -> bool {
    words.iter().any(|one| word.eq_ignore_ascii_case(one))
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
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn is_let_through(text: &str) -> bool {
        let parsed = || Parser::parse_sql(&PostgreSqlDialect {}, text).expect("SQL").pop().expect("a statement");
        of_text(text).is_ok() && of_statement(&parsed()).is_ok()
    }

    #[test]
    fn what_people_and_programs_write_is_let_through() {
        let nested = |depth: usize| format!("select {}1{}", "abs(".repeat(depth), ")".repeat(depth));
        let listed = format!("select 1 where 'a' in ({})", vec!["'b'"; 10_000].join(", "));
        for text in [
            nested(12),
            listed,
            "with recursive a as (select 1 union all select * from a) select * from a".to_owned(),
            "with a as (select 1), b as (select * from a, a c) select * from b join b d on true".to_owned(),
            "with a as (select * from a) select * from a, \"A\"".to_owned(),
            "select 1 from a group by cube (b, c, d), rollup (e, f)".to_owned(),
        ] {
            assert!(is_let_through(&text), "{text}");
        }
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        let deep = |operator: &str| format!("select 1{}", format!(" {operator} 1").repeat(OPERATORS_MAX + 1));
        let minus = format!("select {}1", "- ".repeat(5_000));
        let brackets = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        for text in [deep("+"), deep("and"), deep("union select"), deep("::"), minus, brackets] {
            assert!(of_text(&text).is_err(), "{}", &text[..40]);
        }
        assert!(!is_let_through(&("select * from clicks".to_owned() + &", clicks".repeat(PLANS_MAX))));
    }

    #[test]
    fn what_doubles_again_and_again_is_refused() {
        let nested = |word: &str| format!("select {}1{}", word.repeat(20), ")".repeat(20));
        let chain = |rows: &str| {
            let more =
                (0..12).map(|at| format!(", a{} as (select * from {})", at + 1, rows.replace('#', &at.to_string())));
            format!("with a0 as (select 1){} select * from a12", more.collect::<String>())
        };
        assert!(is_let_through(&chain("a#")));
        let joined = ["a# x, \"a#\" y", "a# x, (select * from A#) y"].map(chain);
        let cubes = "select 1 from a group by cube (b, c, d, e), cube (f, g, h, i)".to_owned();
        for text in joined.into_iter().chain([nested("abs("), nested("row("), cubes]) {
            assert!(!is_let_through(&text), "{text}");
        }
    }
}
