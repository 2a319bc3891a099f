//! Visits the parts of a statement to change them, or to call a function with each.
//!
//! As in [`query::sql::visited`], there is one type of visitor, whoever changes, so that the parser's traversal is
//! compiled once: the visitor is called through a pointer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, TableFactor, Visit, VisitMut, VisitorMut as ParserVisitorMut,
};
use query::sql::visited::{Look, look};

/// Changes the parts of a statement.
pub(super) trait Change {
    /// Changes a query, also one within another, before what it is made of.
    fn query(&mut self, _: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes a select, of which a query has several if they are put together, before what it is made of.
    fn select(&mut self, _: &mut Select) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes what stands in the place of a table, before what it is made of.
    fn table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes an expression, before what it is made of.
    fn whole(&mut self, _: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes an expression, after what it is made of.
    fn expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Has a part of a statement changed, until the visitor breaks off.
pub(super) fn change(part: &mut impl VisitMut, visitor: &mut dyn Change) -> ControlFlow<()> {
    part.visit(&mut Changing(visitor))
}

/// Calls a function with the name of each table, until it breaks off.
pub(super) fn relations(part: &impl Visit, call: &mut dyn FnMut(&ObjectName) -> ControlFlow<()>) -> ControlFlow<()> {
    struct Relations<'a>(&'a mut dyn FnMut(&ObjectName) -> ControlFlow<()>);
    impl Look for Relations<'_> {
        fn relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            (self.0)(name)
        }
    }
    look(part, &mut Relations(call))
}

/// Calls a function with each expression, until it breaks off.
pub(super) fn expressions(part: &impl Visit, call: &mut dyn FnMut(&Expr) -> ControlFlow<()>) -> ControlFlow<()> {
    struct Expressions<'a>(&'a mut dyn FnMut(&Expr) -> ControlFlow<()>);
    impl Look for Expressions<'_> {
        fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            (self.0)(expr)
        }
    }
    look(part, &mut Expressions(call))
}

/// Calls a function with each expression to be changed, until it breaks off.
pub(super) fn expressions_mut(
    part: &mut impl VisitMut,
    call: &mut dyn FnMut(&mut Expr) -> ControlFlow<()>,
) -> ControlFlow<()> {
    struct Expressions<'a>(&'a mut dyn FnMut(&mut Expr) -> ControlFlow<()>);
    impl Change for Expressions<'_> {
        fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            (self.0)(expr)
        }
    }
    change(part, &mut Expressions(call))
}

/// The one visitor that changes, as the parser has it.
struct Changing<'a>(&'a mut dyn Change);

impl ParserVisitorMut for Changing<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.query(query)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.select(select)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.table_factor(factor)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.whole(expr)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.expr(expr)
    }
}
