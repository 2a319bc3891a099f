//! Visitors that change the parts of a statement, or call a function with each.
//!
//! As in [`query::sql::visited`], there is one type of visitor for all changes, called through a pointer, so that the
//! parser's traversal is compiled only once.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, TableFactor, Visit, VisitMut, VisitorMut as ParserVisitorMut,
};
use query::sql::visited::{Look, look};

/// Changes the parts of a statement.
pub(super) trait Change {
    /// Changes a query, also a nested one, before its parts.
    fn query(&mut self, _: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes a select, of which a union has several, before its parts.
    fn select(&mut self, _: &mut Select) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes a table, or what stands in its place, before its parts.
    fn table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes an expression before its parts.
    fn whole(&mut self, _: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Changes an expression after its parts.
    fn expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Lets a visitor change a part of a statement, until it breaks off.
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

/// Adapter from [`Change`] to the parser's visitor.
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
