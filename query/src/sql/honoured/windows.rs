//! Refuses the parts of windows that DataFusion's planner would ignore, or would take for others.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Query, Value, Visit, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

use super::visitor::Honoured;
use crate::sql::visited::{Look, look};

impl Honoured<'_> {
    /// Refuses named windows in a part of a query: DataFusion finds a window by its name only in the select list.
    pub fn refuse_named_windows(&mut self, part: &impl Visit) -> ControlFlow<()> {
        let what = "a window by its name outside of the list of what is selected";
        self.refuse(has_named_windows(part), what, "write the window out: OVER (…)")
    }

    /// Checks a window that is written out.
    pub fn window(&mut self, window: &WindowSpec) -> ControlFlow<()> {
        let WindowSpec { window_name, partition_by: _, order_by: _, window_frame } = window;
        self.refuse(window_name.is_some(), "a window that is made of another", "write the window out: OVER (…)")?;
        let Some(WindowFrame { units, start_bound, end_bound }) = window_frame else {
            return ControlFlow::Continue(());
        };
        // DataFusion adds the offset to row numbers, which wraps around. In frames of values, it notices the overflow.
        let is_counted = matches!(units, WindowFrameUnits::Rows | WindowFrameUnits::Groups);
        let is_beyond = std::iter::once(start_bound).chain(end_bound).any(is_beyond_all_rows);
        let what = "a frame of more rows or groups than 9223372036854775807";
        self.refuse(is_counted && is_beyond, what, "write UNBOUNDED PRECEDING or UNBOUNDED FOLLOWING")
    }
}

/// Returns whether a frame begins or ends so many rows away that 63 bits do not hold the number.
fn is_beyond_all_rows(bound: &WindowFrameBound) -> bool {
    let (WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset))) = bound else {
        return false;
    };
    // DataFusion takes a number, and an interval of nothing but a number.
    let offset = match offset.as_ref() {
        Expr::Interval(interval) => interval.value.as_ref(),
        offset => offset,
    };
    let Expr::Value(value) = offset else { return false };
    match &value.value {
        Value::Number(number, _) | Value::SingleQuotedString(number) => {
            number.trim().parse::<u64>().is_ok_and(|rows| i64::try_from(rows).is_err())
        }
        _ => false,
    }
}

/// Returns whether a function in this part of a statement names its window. Queries within it are checked as parts of
/// their own.
fn has_named_windows(part: &impl Visit) -> bool {
    struct Windows {
        depth: usize,
        is_named: bool,
    }
    impl Look for Windows {
        fn query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn leave_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(Function { over: Some(WindowType::NamedWindow(_)), .. }) = expr {
                self.is_named |= self.depth == 0;
            }
            ControlFlow::Continue(())
        }
    }
    let mut windows = Windows { depth: 0, is_named: false };
    let _ = look(part, &mut windows);
    windows.is_named
}
