//! Table functions over one table: `history('t')` and `changes('t', a, b)`.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use lake_schemas::table::Version;
use lake_schemas::{Code, Table};
use lake_store::LakeError;

use super::changes::Changes;
use super::errors::refused;
use super::history::HistoryTable;
use super::row_filter::{hidden, is_for, may_be_named, seen_by};
use super::snapshot::StatementSnapshot;
use crate::access::RowAccess;
use crate::complete::complete;
use crate::totals::{AsOf, literal};

/// The functions over one table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfTable {
    /// The function `history('t')`.
    History,
    /// The function `changes('t', a, b)`.
    Changes,
}

impl OfTable {
    /// All functions over one table.
    pub const ALL: [Self; 2] = [Self::History, Self::Changes];

    /// Returns the name of the function in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Changes => "changes",
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Self::History => "history('t')",
            Self::Changes => "changes('t', first version, last version)",
        }
    }
}

/// A function, over the tables that a statement sees.
pub(crate) struct TableFunction {
    pub function: OfTable,
    pub snapshot: Arc<StatementSnapshot>,
}

impl TableFunction {
    fn call(&self, arguments: &[Expr]) -> std::result::Result<Arc<dyn TableProvider>, LakeError> {
        let of_code =
            |code: Code, why: &str| LakeError::Refused(code.because(format!("{}: {why}", self.function.signature())));
        let why = |why: &str| of_code(Code::ArgumentImpossible, why);
        let name = arguments.first().and_then(literal).and_then(ScalarValue::try_as_str).flatten();
        let name = name.ok_or_else(|| why("the first argument is the name of a table, in quotes"))?;
        let table: Table = name.parse().map_err(|_| why(&format!("'{name}' is no table of the lake")))?;
        let snapshot = Arc::clone(&self.snapshot);
        is_for(snapshot.access(), table)?;
        let opened = snapshot.opened(table, AsOf::Newest).filter(|_| may_be_named(snapshot.access(), table));
        let Some(opened) = opened else { return Err(snapshot.lake().lacks(table)) };
        match (self.function, arguments) {
            (OfTable::History, [_]) if *snapshot.access() != RowAccess::All => Err(hidden("history")),
            (OfTable::History, [_]) => Ok(Arc::new(HistoryTable { snapshot, table })),
            (OfTable::Changes, [_, first, last]) => {
                let version = |argument: &Expr| {
                    let shown = || why(&format!("{argument} is no version of a table"));
                    literal(argument).and_then(version_of).ok_or_else(shown)
                };
                let (first, last) = (version(first)?, version(last)?);
                if last < first {
                    return Err(of_code(Code::RangeImpossible, &format!("version {last} comes before {first}")));
                }
                let changes = Changes::new(snapshot, table, first..=last, &opened.provider.schema());
                seen_by(self.snapshot.access(), table.name(), complete(table, Arc::new(changes)))
            }
            _ => Err(why("wrong number of arguments")),
        }
    }
}

impl fmt::Debug for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.signature())
    }
}

impl TableFunctionImpl for TableFunction {
    fn call_with_args(&self, arguments: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        self.call(arguments.exprs()).map_err(refused)
    }
}

fn version_of(value: &ScalarValue) -> Option<Version> {
    match value {
        ScalarValue::Int64(Some(version)) => Version::try_from(*version).ok(),
        ScalarValue::Int32(Some(version)) => Version::try_from(*version).ok(),
        ScalarValue::UInt64(Some(version)) => Some(*version),
        // Programs also write numbers in quotes.
        value => value.try_as_str()??.parse().ok(),
    }
}
