//! What programs ask that PostgreSQL answers and DataFusion cannot plan, put into words that it can: nothing of the
//! lake is asked differently by that.
//!
//! Much of it is what libraries ask of PostgreSQL's own tables to describe a table, whatever it is: its indexes,
//! sequences and defaults. Tables of the lake have none.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Statement, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::sql::visited::{Change, change, relations};

/// Tables of PostgreSQL that say of a column what no column here has: a default, a sequence, a collation of its own.
const SAY_NOTHING: [&str; 5] = ["pg_attrdef", "pg_sequence", "pg_collation", "pg_namespace", "pg_type"];

/// Columns of PostgreSQL's that are lists of what an index is made of.
const OF_INDEXES: [&str; 4] = ["indkey", "indclass", "indoption", "conkey"];

/// How PostgreSQL names the parts of a time, and how `strftime` does.
const TIME_PARTS: [(&str, &str); 9] = [
    ("YYYY", "%Y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("HH24", "%H"),
    ("MI", "%M"),
    ("SS.US", "%S%.f"),
    ("SS.MS", "%S%.f"),
    ("SS", "%S"),
    ("\"T\"", "T"),
];

/// No number of anything.
static NO_NUMBER: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as bigint)"));

/// No text.
static NO_TEXT: LazyLock<Expr> = LazyLock::new(|| parsed("cast(null as text)"));

/// What escapes in patterns.
const ESCAPE: &str = "\\";

/// A character that is nobody's.
const NOT_IN_TEXTS: &str = "\u{e000}";

/// Puts a statement into such words.
pub(super) fn adapt(statement: &mut Statement) {
    // It goes through to the end.
    let _ = change(statement, &mut Adapting);
}

struct Adapting;

impl Change for Adapting {
    fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) if says_nothing(query) => *expr = Expr::value(Value::Null),
            Expr::Function(function) if is_of_indexes(function) => *expr = NO_NUMBER.clone(),
            // DataFusion's table of tables lacks it.
            Expr::CompoundIdentifier(names) if names.last().is_some_and(|name| name.value == "reloptions") => {
                *expr = NO_TEXT.clone();
            }
            Expr::Function(function) if is_named(function, "to_timestamp") => write_format(function),
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                write_escape(pattern, escape_char);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether a query in the place of a value asks only of what says nothing here.
fn says_nothing(query: &Query) -> bool {
    let mut tables = 0;
    let only = relations(query, &mut |name| {
        tables += 1;
        let name = name.to_string();
        let is_one = name.strip_prefix("pg_catalog.").is_some_and(|name| SAY_NOTHING.contains(&name));
        if is_one { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    tables > 0 && only.is_continue()
}

/// Whether a function takes apart what an index is made of.
fn is_of_indexes(function: &Function) -> bool {
    let takes_apart = is_named(function, "unnest") || is_named(function, "generate_subscripts");
    let of = |argument: Option<&Expr>| match argument {
        Some(Expr::Identifier(name)) => name.value.clone(),
        Some(Expr::CompoundIdentifier(names)) => names.last().map_or_else(String::new, |name| name.value.clone()),
        _ => String::new(),
    };
    takes_apart && OF_INDEXES.contains(&of(arguments(function).first().copied()).as_str())
}

/// Writes the format of a time as DataFusion reads it.
fn write_format(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan { value, .. })))] = &mut list.args[..]
    else {
        return;
    };
    if let Value::SingleQuotedString(format) = value
        && !format.contains('%')
    {
        *format = TIME_PARTS.iter().fold(format.clone(), |format, (theirs, ours)| format.replace(theirs, ours));
    }
}

/// Writes a pattern, in which a character of one's own escapes, with the one that DataFusion knows.
fn write_escape(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(ValueWithSpan { value: Value::SingleQuotedString(theirs), .. }) = escape else { return };
    if theirs.chars().count() != 1 || theirs == ESCAPE {
        return;
    }
    let own = replaced(pattern.clone(), ESCAPE, &ESCAPE.repeat(2));
    // Twice, it stands for itself.
    let own = replaced(own, &theirs.repeat(2), NOT_IN_TEXTS);
    let own = replaced(own, theirs, ESCAPE);
    *pattern = replaced(own, NOT_IN_TEXTS, theirs);
    *escape = None;
}

/// A text in which one text is in the place of another. It is put together, and not written out and parsed again: what
/// it is made of may be deep.
fn replaced(text: Expr, from: &str, to: &str) -> Expr {
    let mut replaced = parsed("replace(null)");
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut replaced {
        let [from, to] = [from, to].map(|text| Expr::value(Value::SingleQuotedString(text.to_owned())));
        list.args = [text, from, to].map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).into();
    }
    replaced
}

/// An expression that is written here.
fn parsed(text: &str) -> Expr {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).expect("it is SQL")
}

fn is_named(function: &Function, name: &str) -> bool {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    last.is_some_and(|Ident { value, .. }| value.eq_ignore_ascii_case(name))
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expr = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_adapted_says_the_same_here() {
        for (asked, adapted) in [
            (
                "SELECT a LIKE b || '%' ESCAPE '/'",
                "SELECT a LIKE replace(replace(replace(replace(b || '%', '\\', '\\\\'), '//', '\u{e000}'), '/', '\\'), '\u{e000}', '/')",
            ),
            ("SELECT a LIKE b ESCAPE '\\'", "SELECT a LIKE b ESCAPE '\\'"),
            ("SELECT a LIKE b", "SELECT a LIKE b"),
            (
                "SELECT to_timestamp('2026', 'YYYY-MM-DD HH24:MI:SS.US')",
                "SELECT to_timestamp('2026', '%Y-%m-%d %H:%M:%S%.f')",
            ),
            ("SELECT to_timestamp('2026', '%Y')", "SELECT to_timestamp('2026', '%Y')"),
            ("SELECT (SELECT adbin FROM pg_catalog.pg_attrdef WHERE adnum = attnum)", "SELECT NULL"),
            ("SELECT (SELECT clicks FROM clicks_minute)", "SELECT (SELECT clicks FROM clicks_minute)"),
            ("SELECT (SELECT 1)", "SELECT (SELECT 1)"),
            ("SELECT unnest(i.indkey), unnest(a)", "SELECT CAST(NULL AS BIGINT), unnest(a)"),
        ] {
            let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, asked).expect("SQL").remove(0);
            adapt(&mut statement);
            assert_eq!(statement.to_string(), adapted, "{asked}");
        }
    }
    #[test]
    fn patterns_within_patterns_are_not_parsed_again() {
        let patterns = (0..12).fold("b".to_owned(), |pattern, _| format!("(a LIKE {pattern} ESCAPE '/')"));
        let asked = format!("SELECT {patterns}");
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, &asked).expect("SQL").remove(0);
        adapt(&mut statement);
        assert_eq!(statement.to_string().matches("replace(").count(), 4 * 12);
    }
}
