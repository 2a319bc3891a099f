//! Calls of functions, as they stand in statements.

use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Returns a call of a function.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let mut called = parsed(&format!("{name}()"));
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut called {
        list.args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    }
    called
}

/// Parses an expression that is written in this source.
pub(super) fn parsed(text: &str) -> Expr {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).expect("it is SQL")
}

/// Returns whether a function has this name.
pub(super) fn is_named(function: &Function, name: &str) -> bool {
    let last = function.name.0.last().and_then(|part| part.as_ident());
    last.is_some_and(|Ident { value, .. }| value.eq_ignore_ascii_case(name))
}

/// Returns the arguments of a function.
pub(super) fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expr = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}
