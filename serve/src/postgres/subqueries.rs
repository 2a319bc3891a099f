//! Rewrites scalar subqueries in statements that query PostgreSQL's own tables. The library would silently turn some
//! into NULL, and take one of several rows of others. Here each has one value, or fails, or is refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, LimitClause, ObjectName, Query, SelectItem, SetExpr,
    Statement, TableFactor, TableWithJoins, Value, Visit,
};
use query::sql::visited::{Look, look};

use super::arrays::{ONLY_ELEMENT, collect, is_ungrouped};
use super::calls::{call, parsed};
use super::catalog::{is_in_catalog, last_of};
use super::errors::Refused;
use super::visited::{Change, change, expressions};

/// Tables of PostgreSQL that have no rows here: defaults, and sequences.
const HAVE_NO_ROWS: [&str; 2] = ["pg_attrdef", "pg_sequence"];

/// Table of collations in PostgreSQL's catalog.
const COLLATIONS: &str = "pg_collation";

/// Column of the catalog that refers to a collation: no column has a collation of its own here.
const OF_COLUMN: &str = "attcollation";

/// Names of functions that make one value of many rows.
static AGGREGATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names = BTreeSet::new();
    for function in all_default_aggregate_functions() {
        names.insert(function.name().to_owned());
        names.extend(function.aliases().iter().cloned());
    }
    names
});

/// Rewrites the scalar subqueries of a statement, before the library applies its rules.
pub(super) fn shielded(statement: &mut Statement) -> Result<(), Refused> {
    let mut shielding = Shielding::default();
    let _ = change(statement, &mut shielding);
    shielding.refused.map_or(Ok(()), Err)
}

#[derive(Default)]
struct Shielding {
    refused: Option<Refused>,
}

impl Change for Shielding {
    fn query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = query.body.as_mut() else { return ControlFlow::Continue(()) };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                count_found(expr);
                shield(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match take_one(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                self.refused = Some(why);
                ControlFlow::Break(())
            }
        }
    }
}

/// Puts a subquery in brackets, so that the library does not take it for one that cannot be planned: it looks at
/// selected items, and not into brackets.
fn shield(expr: &mut Expr) {
    let is_value = match &*expr {
        Expr::Subquery(query) => !says_nothing(query),
        _ => false,
    };
    if is_value {
        *expr = Expr::Nested(Box::new(expr.clone()));
    }
}

/// Writes a subquery as the only element of the list of its rows. DataFusion then sees that it has one value, even if
/// it is correlated, and that it may have no row. Two rows are an error, as in PostgreSQL.
fn take_one(expr: &mut Expr) -> Result<(), Refused> {
    let Expr::Subquery(query) = expr else { return Ok(()) };
    if says_nothing(query) || is_of_bases(query) || is_one_row(query) {
        return Ok(());
    }
    let (mut list, takes_first) = (query.clone(), takes_first(query));
    if takes_first {
        list.limit_clause = None;
    }
    if !collect(&mut list) {
        if !is_correlated(query) {
            return Ok(());
        }
        let how = "a query in the place of a value takes plain rows of one column, and LIMIT 1; write it as a join";
        return Err(Refused::unsupported(how));
    }
    let list = Expr::Subquery(list);
    *expr = match takes_first {
        true => call("array_element", vec![list, Expr::value(Value::Number("1".to_owned(), false))]),
        false => call(ONLY_ELEMENT, vec![list]),
    };
    Ok(())
}

/// Writes a selected `EXISTS` as a comparison of a count. DataFusion knows `EXISTS` only as a condition.
fn count_found(expr: &mut Expr) {
    let Expr::Exists { subquery, negated } = expr else { return };
    let is_whole = subquery.with.is_none() && subquery.limit_clause.is_none() && subquery.fetch.is_none();
    let SetExpr::Select(select) = subquery.body.as_mut() else { return };
    let is_plain = is_ungrouped(&select.group_by) && select.having.is_none();
    if !is_whole || !is_plain || select.projection.iter().any(calls_aggregate) {
        return;
    }
    let counted = if *negated { "count(*) = 0" } else { "count(*) > 0" };
    (select.projection, select.distinct) = (vec![SelectItem::UnnamedExpr(parsed(counted))], None);
    subquery.order_by = None;
    *expr = Expr::Subquery(subquery.clone());
}

/// Returns whether a query takes only the first of its rows.
fn takes_first(query: &Query) -> bool {
    let Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by }) = &query.limit_clause else {
        return false;
    };
    let is_one = matches!(limit, Expr::Value(value) if matches!(&value.value, Value::Number(one, _) if one == "1"));
    is_one && limit_by.is_empty()
}

/// Returns whether a query always has one row: an aggregate, or constants.
fn is_one_row(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_of_nothing = select.from.is_empty() && select.selection.is_none();
    is_of_nothing || select.projection.iter().any(calls_aggregate)
}

/// Returns whether a selected item calls an aggregate function.
fn calls_aggregate(part: &SelectItem) -> bool {
    let found = expressions(part, &mut |expr| match expr {
        Expr::Function(function) if AGGREGATES.contains(&last_of(&function.name)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Returns whether a query follows the base types of a type recursively.
pub(super) fn is_of_bases(query: &Query) -> bool {
    query.with.as_ref().is_some_and(|with| with.recursive) && names(query, "typbasetype")
}

/// Returns whether a part of a statement names a column.
pub(super) fn names(part: &impl Visit, column: &str) -> bool {
    let named = expressions(part, &mut |expr| {
        let name = match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        match name {
            Some(name) if name.value.eq_ignore_ascii_case(column) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    named.is_break()
}

/// Returns whether a query names columns of tables that it does not read.
pub(super) fn is_correlated(query: &Query) -> bool {
    let mut own = TableNames(BTreeSet::new());
    let _ = look(query, &mut own);
    let outer = expressions(query, &mut |expr| match expr {
        Expr::CompoundIdentifier(names) if !own.has(names) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    outer.is_break()
}

/// Names by which a query refers to its tables.
struct TableNames(BTreeSet<String>);

impl TableNames {
    fn has(&self, names: &[Ident]) -> bool {
        // The name of the table stands before that of the column.
        let table = names.iter().rev().nth(1);
        table.is_none_or(|table| self.0.contains(&table.value.to_ascii_lowercase()))
    }
}

impl Look for TableNames {
    fn table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } => (Some(last_of(name)), alias),
            TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (None, alias),
            _ => return ControlFlow::Continue(()),
        };
        self.0.extend(alias.as_ref().map(|alias| alias.name.value.to_ascii_lowercase()).or(name));
        ControlFlow::Continue(())
    }
}

/// Returns whether a scalar subquery has no row, whatever the tables of the lake: it reads a table that has none, or
/// looks up the collation of a column.
pub(super) fn says_nothing(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_plain = query.with.is_none()
        && select.having.is_none()
        && is_ungrouped(&select.group_by)
        && !select.projection.iter().any(calls_aggregate);
    let mut joined = Joined::default();
    select.from.iter().for_each(|from| joined.add(from));
    joined.conditions.extend(&select.selection);
    // By now, all of PostgreSQL's own tables have their schema; a bare name is another table.
    let is_own = |table: &ObjectName| table.0.len() > 1 && is_in_catalog(table);
    let has = |name: &str| joined.tables.iter().any(|table| is_own(table) && last_of(table) == name);
    is_plain && (HAVE_NO_ROWS.iter().any(|name| has(name)) || (has(COLLATIONS) && joined.is_by(OF_COLUMN)))
}

/// Inner-joined tables, each of which must have a row for a query to have one, and the conditions on these rows.
#[derive(Default)]
struct Joined<'a> {
    tables: Vec<&'a ObjectName>,
    conditions: Vec<&'a Expr>,
}

impl<'a> Joined<'a> {
    /// Adds joined tables, unless an outer join lets one of them have no row.
    fn add(&mut self, from: &'a TableWithJoins) {
        let mut inner = Self::default();
        let table = |factor: &'a TableFactor| match factor {
            TableFactor::Table { name, args: None, .. } => Some(name),
            _ => None,
        };
        inner.tables.extend(table(&from.relation));
        for join in &from.joins {
            match &join.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                    inner.tables.extend(table(&join.relation));
                    inner.conditions.extend(if let JoinConstraint::On(on) = on { Some(on) } else { None });
                }
                _ => return,
            }
        }
        self.tables.extend(inner.tables);
        self.conditions.extend(inner.conditions);
    }

    /// Returns whether a column of that name must be equal to something.
    fn is_by(&self, column: &str) -> bool {
        let is_it = |expr: &Expr| match expr {
            Expr::Identifier(name) => name.value.eq_ignore_ascii_case(column),
            Expr::CompoundIdentifier(names) => names.last().is_some_and(|name| name.value.eq_ignore_ascii_case(column)),
            _ => false,
        };
        let mut left = self.conditions.clone();
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Nested(inner) => left.push(inner),
                Expr::BinaryOp { left: one, op: BinaryOperator::And, right: other } => left.extend([&**one, &**other]),
                Expr::BinaryOp { left: one, op: BinaryOperator::Eq, right: other } if is_it(one) || is_it(other) => {
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::without_numbered;
    use super::super::parsed::{adapted, parse};

    fn put(asked: &str) -> String {
        let put = parse(asked).and_then(|statement| adapted(statement, asked)).expect("SQL");
        let put = without_numbered(&put.to_string());
        // The AS before an alias is optional.
        ["n", "c", "t", "d"].iter().fold(put, |put, name| put.replace(&format!(" AS {name} "), &format!(" {name} ")))
    }

    #[test]
    fn a_query_in_the_place_of_a_value_is_that_value_or_fails() {
        for (asked, expected) in [
            // This fails if there are several.
            (
                "SELECT (SELECT nspname FROM pg_namespace)",
                "SELECT (only_element((SELECT array_agg(nspname) FROM pg_catalog.pg_namespace)))",
            ),
            (
                "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid < c.oid) FROM pg_class c",
                "SELECT (only_element((SELECT array_agg(n.nspname) FROM pg_catalog.pg_namespace n WHERE n.oid < \
                 c.oid))) FROM pg_catalog.pg_class c",
            ),
            (
                "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.oid ORDER BY 1 DESC LIMIT 1) FROM \
                 pg_class c",
                "SELECT (array_element((SELECT array_agg(n.nspname ORDER BY n.nspname DESC) FROM \
                 pg_catalog.pg_namespace n WHERE n.oid = c.oid), 1)) FROM pg_catalog.pg_class c",
            ),
            (
                "SELECT (SELECT stddev(n.oid) FROM pg_namespace n WHERE n.oid = c.oid) FROM pg_class c",
                "SELECT ((SELECT stddev(n.oid) FROM pg_catalog.pg_namespace n WHERE n.oid = c.oid)) FROM \
                 pg_catalog.pg_class c",
            ),
            // These have rows, even though one of the tables has none.
            (
                "SELECT (SELECT t.typname FROM pg_type t LEFT JOIN pg_attrdef d ON d.oid = t.oid LIMIT 1)",
                "SELECT (array_element((SELECT array_agg(t.typname) FROM pg_catalog.pg_type t LEFT JOIN \
                 pg_catalog.pg_attrdef d ON d.oid = t.oid), 1))",
            ),
            (
                "SELECT (SELECT adbin FROM pg_attrdef UNION SELECT 'x')",
                "SELECT ((SELECT adbin FROM pg_catalog.pg_attrdef UNION SELECT 'x'))",
            ),
            (
                "SELECT (SELECT EXISTS (SELECT 1 FROM pg_attrdef))",
                "SELECT ((SELECT ((SELECT count(*) > 0 FROM pg_catalog.pg_attrdef))))",
            ),
            (
                "SELECT NOT EXISTS (SELECT * FROM pg_class c WHERE c.relnamespace = n.oid ORDER BY 1) FROM \
                 pg_namespace n",
                "SELECT ((SELECT count(*) = 0 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)) FROM \
                 pg_catalog.pg_namespace n",
            ),
            (
                "SELECT (SELECT collname FROM pg_collation WHERE oid = 100)",
                "SELECT (only_element((SELECT array_agg(collname) FROM pg_catalog.pg_collation WHERE oid = 100)))",
            ),
        ] {
            assert_eq!(put(asked), expected, "{asked}");
        }
        for asked in [
            "SELECT (SELECT DISTINCT n.nspname FROM pg_namespace n WHERE n.oid = c.oid) FROM pg_class c",
            "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.oid LIMIT 2) FROM pg_class c",
            "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.oid LIMIT 1 OFFSET 1) FROM pg_class c",
            "SELECT (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.oid UNION SELECT 'x') FROM pg_class c",
        ] {
            let refused = parse(asked).and_then(|statement| adapted(statement, asked));
            assert!(refused.is_err(), "{asked}");
        }
    }
}
