//! Refuses, before parsing or planning, texts that would take too much time or stack. A parser and a planner cannot be
//! stopped on the way.
//!
//! This is only the first line of defence: it keeps statements from taking tenths of a second where the planner cannot
//! be interrupted. A statement that gets past it ends a process that serves one key, see [`super::workers`].
//!
//! Texts are split into tokens in the dialect that they are parsed in. In another dialect the same characters are other
//! tokens: one name or one string there may be a thousand operators here.

mod copies;
mod substituted;

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, Expr, Query, Statement, Visit};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use query::sql::nesting::{Nesting, PLANS_MAX, keyword};
use query::sql::visited::{Look, look};

use self::copies::Times;
use super::errors::Refused;
use super::steps;
use super::visited::relations;

/// Maximum size of a text, in bytes: lists of some thousand names are shorter.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Maximum steps that the parser may take for a text, see [`steps`]. A list of ten thousand names takes some tens of
/// thousands, and this many take less than half a second.
const STEPS_MAX: u32 = 1 << 18;

/// Maximum copies of expressions that the planner may make of a statement, see [`copies`]: this many take it a tenth of
/// a second, and twice as many twice as long.
const COPIES_MAX: u64 = 1 << 12;

/// Maximum expressions that columns may expand to beyond those that are written, see [`substituted`]: this many, in a
/// chain of queries that doubles with each, take the planner a second, and four times as many ten times as long.
const SUBSTITUTED_MAX: u64 = 1 << 12;

/// Refuses a text that is too long to be parsed.
pub(super) fn of_length(text: &str) -> Result<(), Refused> {
    let too_long = || Refused::too_much(&format!("a statement has {TEXT_BYTES_MAX} bytes at most; shorten it"));
    if text.len() > TEXT_BYTES_MAX { Err(too_long()) } else { Ok(()) }
}

/// Budget of all statements of one text together.
pub(super) struct Allowance {
    nesting: Nesting,
    steps: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { nesting: Nesting::default(), steps: STEPS_MAX }
    }
}

/// Refuses the text of a statement that exceeds the budget, or takes what it needs from it.
pub(super) fn of_text(text: &str, allowed: &mut Allowance) -> Result<(), Refused> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize();
    let mut tokens = tokens.map_err(|error| Refused::syntax(&error.to_string()))?;
    allowed.nesting.take(&tokens).map_err(|_| too_complex())?;
    tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
    for token in &mut tokens {
        // The parser does not know ABORT, and gets its synonym.
        if keyword(token) == Some(Keyword::ABORT) {
            *token = Token::make_keyword("ROLLBACK");
        }
    }
    match steps::parse(tokens, &mut allowed.steps) {
        Ok(_) => Ok(()),
        Err(ParserError::RecursionLimitExceeded) => Err(too_complex()),
        Err(error) => Err(Refused::syntax(&error.to_string())),
    }
}

/// Refuses a statement that reads more tables than a stack holds, or the same table too often: the planner plans a
/// query of `WITH` again wherever its name stands.
pub(super) fn of_statement(statement: &Statement) -> Result<(), Refused> {
    let mut found = RepeatedParts { grouping_sets: 1, ..RepeatedParts::default() };
    // The visitor never stops early.
    let _ = look(statement, &mut found);
    if found.grouping_sets > PLANS_MAX || found.copies > COPIES_MAX {
        return Err(too_complex());
    }
    if substituted::beyond_written(statement) > SUBSTITUTED_MAX {
        return Err(too_complex());
    }
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    // A named query may use any other: each round finds the sizes of those whose parts are known already.
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

/// Parts of a statement that the planner plans more than once.
#[derive(Default)]
struct RepeatedParts {
    /// Names given by `WITH`, each with the names of the tables that its query reads.
    named: Vec<(String, Vec<String>)>,
    /// Number of sets that rows are grouped by: the product of all that are written.
    grouping_sets: usize,
    /// Expressions that the planner makes beyond those that are written.
    copies: u64,
    /// Counter of how often the planner writes the visited expression.
    times: Times,
}

impl Look for RepeatedParts {
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
        self.copies = self.copies.saturating_add(self.times.enter(expr) - 1);
        ControlFlow::Continue(())
    }

    fn after_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.times.leave();
        ControlFlow::Continue(())
    }
}

/// Returns the names of all tables in a part of a statement, as often as they occur.
fn tables_of(part: &impl Visit) -> Vec<String> {
    let mut tables = Vec::new();
    let _ = relations(part, &mut |name| {
        tables.push(name.to_string().replace('"', "").to_ascii_lowercase());
        ControlFlow::Continue(())
    });
    tables
}

#[cfg(test)]
mod tests;
