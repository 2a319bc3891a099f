//! The visitor that checks a statement, and how it refuses one.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::Select;

/// Words in each refusal of this kind.
const UNSUPPORTED: &str = "is not supported";

/// Visitor that checks a statement until there is something to refuse.
pub(super) struct Honoured<'a> {
    /// Functions of the session, by their kinds.
    pub state: &'a SessionState,
    /// The only select that may make a table of its rows.
    pub outermost: Option<&'a Select>,
    /// Reason of the refusal, if there is one.
    pub refusal: Option<String>,
}

impl Honoured<'_> {
    /// Refuses the statement if it has this part.
    pub fn refuse(&mut self, is_said: bool, what: &str, instead: &str) -> ControlFlow<()> {
        if !is_said {
            return ControlFlow::Continue(());
        }
        self.refusal = Some(format!("{what} {UNSUPPORTED}; {instead}"));
        ControlFlow::Break(())
    }
}
