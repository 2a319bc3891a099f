//! Counts how large expressions become when the planner replaces columns by the expressions that they are made of.
//!
//! ```text
//!   with a1 as (select a + a as a from clicks), a2 as (select a + a as a from a1) select … from a2 where a > 0
//!                      3 expressions                          7 expressions                         9
//! ```
//!
//! The planner does so with every expression that it moves towards the tables, so that a chain of queries doubles with
//! each of them. Names are resolved as in SQL, and where that is not certain, a column is taken to be the largest that
//! it may be. Aggregates stop such a replacement, which is not counted: a chain that is refused for that is longer than
//! people write.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins, Visit,
};
use query::sql::visited::{Look, look};

use super::copies::Times;

/// Returns how many expressions a statement has beyond those that are written, once columns are replaced by what they
/// are made of, all of its own together. A column that is only passed on counts nothing.
pub(super) fn beyond_written(statement: &Statement) -> u64 {
    let mut queries = Queries::default();
    let mut outermost = Outermost { queries: &mut queries, depth: 0 };
    // The visitor never stops early.
    let _ = look(statement, &mut outermost);
    queries.beyond
}

/// Size of the columns of a relation, in expressions.
#[derive(Clone)]
struct Columns {
    by_name: HashMap<String, u64>,
    /// Size of a column of any other name.
    other: u64,
}

impl Default for Columns {
    /// Returns the columns of a table, of one expression each.
    fn default() -> Self {
        Self::alike(1)
    }
}

impl Columns {
    /// Returns columns of any name that are all of one size.
    fn alike(size: u64) -> Self {
        Self { by_name: HashMap::new(), other: size }
    }

    fn of(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(self.other)
    }

    fn largest(&self) -> u64 {
        self.by_name.values().copied().fold(self.other, u64::max)
    }

    /// Adds a column, or another one of the same name.
    fn add(&mut self, name: String, size: u64) {
        let known = self.by_name.entry(name).or_default();
        *known = size.max(*known);
    }

    /// Adds a column without a name of its own.
    fn add_unnamed(&mut self, size: u64) {
        self.other = self.other.max(size);
    }

    fn add_all(&mut self, columns: &Self) {
        columns.by_name.iter().for_each(|(name, size)| self.add(name.clone(), *size));
        self.add_unnamed(columns.other);
    }
}

/// Relation of a query, with its name if it has one.
#[derive(Clone)]
struct Relation {
    name: Option<String>,
    columns: Rc<Columns>,
}

/// Returns the size of the column that a name refers to among these relations.
fn column(name: &[Ident], relations: &[Relation]) -> u64 {
    let Some((name, of)) = name.split_last() else { return 1 };
    let (name, of) = (folded(name), of.last().map(folded));
    let may_be = relations.iter().filter(|relation| of.is_none() || relation.name == of);
    may_be.map(|relation| relation.columns.of(&name)).fold(1, u64::max)
}

/// Returns a name in lower case: two names that differ only in case count as the larger column.
fn folded(name: &Ident) -> String {
    name.value.to_ascii_lowercase()
}

/// Returns the parts of a name.
fn parts(name: &ObjectName) -> Vec<&Ident> {
    name.0.iter().filter_map(|part| part.as_ident()).collect()
}

/// Visitor of the queries of a statement.
#[derive(Default)]
struct Queries {
    /// Queries that `WITH` has named around the current query, the innermost last.
    named: Vec<(String, Columns)>,
    beyond: u64,
}

impl Queries {
    /// Returns the columns of a query that is nested in one with these relations.
    fn query(&mut self, query: &Query, around: &[Relation]) -> Columns {
        let known = self.named.len();
        for named in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = self.query(&named.query, around);
            let columns = renamed(columns, Some(&named.alias));
            self.named.push((folded(&named.alias.name), columns));
        }
        let (columns, mut relations) = self.body(&query.body, around);
        // A query sorts its rows by its own columns, or those of its relations.
        relations.push(Relation { name: None, columns: Rc::new(columns.clone()) });
        self.expressions(&query.order_by, &relations);
        self.named.truncate(known);
        columns
    }

    /// Returns the columns of a query's body, and the relations that it reads.
    fn body(&mut self, body: &SetExpr, around: &[Relation]) -> (Columns, Vec<Relation>) {
        let columns = match body {
            SetExpr::Select(select) => return self.select(select, around),
            SetExpr::Query(query) => self.query(query, around),
            SetExpr::SetOperation { left, right, .. } => {
                // Columns of the two sides match by position, and are named as on the left.
                let (mut left, _) = self.body(left, around);
                let right = self.body(right, around).0.largest();
                left.by_name.values_mut().for_each(|size| *size = right.max(*size));
                left.add_unnamed(right);
                left
            }
            SetExpr::Table(table) => {
                let name = table.table_name.as_deref().unwrap_or_default().to_ascii_lowercase();
                self.columns_named(&name)
            }
            _ => Columns::default(),
        };
        (columns, Vec::new())
    }

    fn select(&mut self, select: &Select, around: &[Relation]) -> (Columns, Vec<Relation>) {
        let mut relations = around.to_vec();
        select.from.iter().for_each(|from| self.joined(from, around, &mut relations));
        let own = relations.split_off(around.len());
        let all: Vec<_> = own.iter().chain(&relations).cloned().collect();
        let mut columns = Columns::default();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => match expr {
                    Expr::Identifier(name) => columns.add(folded(name), self.column_of(expr, &all)),
                    Expr::CompoundIdentifier(names) => {
                        let size = self.column_of(expr, &all);
                        if let Some(name) = names.last() {
                            columns.add(folded(name), size);
                        }
                    }
                    _ => columns.add_unnamed(self.column_of(expr, &all)),
                },
                SelectItem::ExprWithAlias { expr, alias } => columns.add(folded(alias), self.column_of(expr, &all)),
                SelectItem::ExprWithAliases { expr, .. } => columns.add_unnamed(self.column_of(expr, &all)),
                SelectItem::Wildcard(_) => own.iter().for_each(|relation| columns.add_all(&relation.columns)),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let name = parts(name).last().map(|name| folded(name));
                    let named = all.iter().filter(|relation| relation.name == name);
                    named.for_each(|relation| columns.add_all(&relation.columns));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                    columns.add_unnamed(self.column_of(expr, &all));
                }
            }
        }
        if let Some(Distinct::On(by)) = &select.distinct {
            self.expressions(by, &all);
        }
        for condition in [&select.selection, &select.having, &select.qualify] {
            self.expressions(condition, &all);
        }
        self.expressions(&select.group_by, &all);
        self.expressions(&select.sort_by, &all);
        self.expressions(&select.named_window, &all);
        (columns, all)
    }

    /// Adds joined relations to those of a query that is nested in others.
    fn joined(&mut self, joined: &TableWithJoins, around: &[Relation], relations: &mut Vec<Relation>) {
        self.relation(&joined.relation, around, relations);
        for join in &joined.joins {
            self.relation(&join.relation, around, relations);
            self.expressions(&join.join_operator, relations);
        }
    }

    fn relation(&mut self, factor: &TableFactor, around: &[Relation], relations: &mut Vec<Relation>) {
        let (columns, alias, name) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts = parts(name);
                let name = parts.last().map(|name| folded(name)).unwrap_or_default();
                let columns = if parts.len() == 1 { self.columns_named(&name) } else { Columns::default() };
                (columns, alias, Some(name))
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                let around = if *lateral { relations.clone() } else { around.to_vec() };
                (self.query(subquery, &around), alias, None)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return self.joined(table_with_joins, around, relations);
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let before = relations.len();
                self.joined(table_with_joins, around, relations);
                let mut all = Columns::default();
                relations.drain(before..).for_each(|relation| all.add_all(&relation.columns));
                (all, alias, None)
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                // The array that is unnested is computed first.
                self.expressions(array_exprs, relations);
                (Columns::default(), alias, None)
            }
            other => {
                self.expressions(other, relations);
                return relations.push(Relation { name: None, columns: Rc::default() });
            }
        };
        let name = alias.as_ref().map(|alias| folded(&alias.name)).or(name);
        relations.push(Relation { name, columns: Rc::new(renamed(columns, alias.as_ref())) });
    }

    /// Returns the columns of the query that `WITH` names so, or else of a table.
    fn columns_named(&self, name: &str) -> Columns {
        let named = self.named.iter().rev().find(|(known, _)| known == name);
        named.map_or_else(Columns::default, |(_, columns)| columns.clone())
    }

    /// Returns the size of a column that is made by this expression.
    fn column_of(&mut self, expr: &Expr, relations: &[Relation]) -> u64 {
        match expr {
            Expr::Identifier(name) => column(std::slice::from_ref(name), relations),
            Expr::CompoundIdentifier(names) => column(names, relations),
            expr => self.expressions(expr, relations),
        }
    }

    /// Returns the size of all expressions of a part of a query together.
    fn expressions(&mut self, part: &impl Visit, relations: &[Relation]) -> u64 {
        let mut sizing = Sizing { queries: self, relations, times: Times::default(), depth: 0, size: 0 };
        // The visitor never stops early.
        let _ = look(part, &mut sizing);
        sizing.size
    }
}

/// Returns the columns of a relation under an alias. If the alias renames them, each may be any of them.
fn renamed(columns: Columns, alias: Option<&TableAlias>) -> Columns {
    match alias {
        Some(alias) if !alias.columns.is_empty() => Columns::alike(columns.largest()),
        _ => columns,
    }
}

/// Finds the outermost queries of a statement.
struct Outermost<'a> {
    queries: &'a mut Queries,
    depth: usize,
}

impl Look for Outermost<'_> {
    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            self.queries.query(query, &[]);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Adds up the sizes of expressions.
struct Sizing<'a> {
    queries: &'a mut Queries,
    relations: &'a [Relation],
    times: Times,
    /// Number of nested queries around the current expression: these are visited on their own.
    depth: usize,
    size: u64,
}

impl Sizing<'_> {
    /// Adds an expression of this size that is written so many times.
    fn add(&mut self, times: u64, size: u64) {
        self.size = self.size.saturating_add(times.saturating_mul(size));
        let beyond = times.saturating_mul(size.saturating_sub(1));
        self.queries.beyond = self.queries.beyond.saturating_add(beyond);
    }
}

impl Look for Sizing<'_> {
    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            let size = self.queries.query(query, self.relations).largest();
            self.add(self.times.now(), size);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            let size = match expr {
                Expr::Identifier(name) => column(std::slice::from_ref(name), self.relations),
                Expr::CompoundIdentifier(names) => column(names, self.relations),
                _ => 1,
            };
            let times = self.times.enter(expr);
            self.add(times, size);
        }
        ControlFlow::Continue(())
    }

    fn after_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            self.times.leave();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn beyond(text: &str) -> u64 {
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, text).expect("SQL").pop().expect("a statement");
        beyond_written(&parsed)
    }

    #[test]
    fn a_column_counts_as_what_it_is_made_of() {
        for (text, expected) in [
            // A column as it is in the table, or only passed on.
            ("select a + a from b where a > 0", 0),
            ("with b as (select a + 1 as a from c) select a, b.a from b", 0),
            // Three expressions in place of one.
            ("with b as (select a + 1 as a from c) select 1 from b where a > 0", 2),
            ("select a + b.a from (select a + 1 as a from c) b", 4),
            ("select 1 from (select *, a + 1 as d from c) b where a > 0 and b.d > 0", 2),
            ("select 1 from (select a + 1 from c) b where \"c.a + Int64(1)\" > 0", 2),
            ("select 1 from (select a + 1 as a, 2 from c) b (d, e) where e > 0", 2),
            ("select 1 from c join (select a + 1 as a from c) b on b.a = c.a", 2),
            ("select 1 from (c cross join (select a + 1 as a from c) b) d where d.a > 0", 2),
            ("select 1 from (select 1 as a union select a + 1 from c) b where a > 0", 2),
            ("select a + 1 as d from (select a + 1 as a from c) b order by d + 0", 2 + 4),
            ("select 1 from (select a + 1 as a from c) b order by a + 0", 2),
            ("select (select b.a) from (select a + 1 as a from c) b", 2),
            ("select 1 from (select a + 1 as a from c) b, lateral (select b.a + 0 as d) e where d > 0", 2 + 4),
            // A name inside a query is not visible outside.
            (
                "with b as (select a + 1 as a from c) select 1 from (with b as (select 1 as a) select * from b) d \
                 where a > 0",
                0,
            ),
            ("with recursive b as (select 1 as a union all select a + 1 from b) select 1 from b where a > 0", 2),
            // Each copy that the planner writes counts.
            ("with b as (select a + 1 as a from c) select a between 0 and 1 from b", 4),
        ] {
            assert_eq!(beyond(text), expected, "{text}");
        }
    }

    #[test]
    fn a_chain_counts_as_what_it_becomes() {
        for made in ["a + a", "(a between 0 and 1)::int", "(select t.a + t.a)"] {
            let chain = |links: usize| {
                let more = (0..links).map(|at| format!(", a{} as (select {made} as a from a{at} t)", at + 1));
                format!("with a0 as (select a from b){} select 1 from a{links} where a > 0", more.collect::<String>())
            };
            assert!(beyond(&chain(20)) > 1 << 20, "{made}: {}", beyond(&chain(20)));
            assert!(beyond(&chain(1_000)) > beyond(&chain(20)), "and nothing runs over");
        }
        let nested = |depth: usize| {
            format!("select 1 from {}b{} where a > 0", "(select a + a as a from ".repeat(depth), ") t".repeat(depth))
        };
        assert!(beyond(&nested(20)) > 1 << 20);
        // A chain that adds one column for each step, and passes on the others, is far from the limit.
        let more = (0..40).map(|at| format!(", a{} as (select *, c{at} + 1 as c{} from a{at})", at + 1, at + 1));
        let steps = format!("with a0 as (select 1 as c0){} select * from a40 where c40 > 0", more.collect::<String>());
        assert!(beyond(&steps) < 4_000, "{}", beyond(&steps));
    }
}
