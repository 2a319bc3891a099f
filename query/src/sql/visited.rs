//! Visits the parts of a statement.
//!
//! sqlparser's traversal is generic in the visitor and consists of thousands of functions, which are compiled once more
//! for each type of visitor. Here there is one type, whoever looks, so that each crate compiles them once: the visitor
//! is called through a pointer.

use std::ops::ControlFlow;

use datafusion::sql::parser::{self, CopyToSource};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, Visit, Visitor as ParserVisitor,
};

/// Looks at the parts of a statement, each before what it is made of.
pub trait Look {
    /// Looks at a statement, also at one that is explained by another.
    fn statement(&mut self, _: &Statement) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Looks at a query, also at one within another.
    fn query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Leaves a query, all of which was looked at.
    fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Looks at a select, of which a query has several if they are put together by UNION and the like.
    fn select(&mut self, _: &Select) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Looks at the name of a table.
    fn relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Looks at what stands in the place of a table.
    fn table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Looks at an expression.
    fn expr(&mut self, _: &Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Is told that all of an expression has been looked at.
    fn after_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Has a part of a statement looked at, until the visitor breaks off.
pub fn look(part: &impl Visit, visitor: &mut dyn Look) -> ControlFlow<()> {
    part.visit(&mut Looking(visitor))
}

/// Has a statement of DataFusion's looked at, until the visitor breaks off. What its parser reads by itself has no
/// queries, but for those that are copied or explained.
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

/// The one visitor that looks, as the parser has it.
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
