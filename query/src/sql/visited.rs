//! Visits the parts of a statement.
//!
//! sqlparser's traversal is generic in the visitor and consists of thousands of functions, which are compiled once more
//! for each type of visitor. Here there is one type for all visitors, called through a pointer, so that each crate
//! compiles the functions once.

use std::ops::ControlFlow;

use datafusion::sql::parser::{self, CopyToSource};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, Visit, Visitor as ParserVisitor,
};

/// Visitor of the parts of a statement; each part is visited before those inside it.
pub trait Look {
    /// Visits a statement, including one inside of EXPLAIN.
    fn statement(&mut self, _: &Statement) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Visits a query, including one inside another.
    fn query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Leaves a query, all of which was visited.
    fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Visits a select; a query has several if UNION and the like combine them.
    fn select(&mut self, _: &Select) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Visits the name of a table.
    fn relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Visits an item of FROM: a table, or what takes its place.
    fn table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Visits an expression, before those inside it.
    fn expr(&mut self, _: &Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Leaves an expression, all of which was visited.
    fn after_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Visits a part of a statement, until the visitor breaks off.
pub fn look(part: &impl Visit, visitor: &mut dyn Look) -> ControlFlow<()> {
    part.visit(&mut Looking(visitor))
}

/// Visits a statement of DataFusion's, until the visitor breaks off. The kinds of statements that its own parser adds
/// have no queries, except for those that are copied or explained.
pub(crate) fn look_at(statement: &parser::Statement, visitor: &mut dyn Look) -> ControlFlow<()> {
    match statement {
        parser::Statement::Statement(statement) => look(statement.as_ref(), visitor),
        parser::Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Relation(name) => visitor.relation(name),
            CopyToSource::Query(query) => look(query.as_ref(), visitor),
        },
        parser::Statement::Explain(explain) => look_at(&explain.statement, visitor),
        parser::Statement::CreateExternalTable(_) | parser::Statement::Reset(_) => ControlFlow::Continue(()),
    }
}

/// The one type of visitor that the parser calls.
struct Looking<'a>(&'a mut dyn Look);

impl ParserVisitor for Looking<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.0.statement(statement)
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.leave_query(query)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.0.select(select)
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.query(query)
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.0.relation(name)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.table_factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.expr(expr)
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.after_expr(expr)
    }
}
