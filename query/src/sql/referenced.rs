//! Finds out what a statement asks of the lake: which tables by name, which functions, and over which tables.

use std::ops::ControlFlow;

use datafusion::error::Result;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, ObjectName, ObjectNamePart, ObjectType, TableFactor, Value,
};
use lake_schemas::{Code, Table};
use lake_store::LakeError;

use super::errors::{is_read_only, is_the_lakes_own, refused};
use super::names::SCHEMA;
use super::statements::named;
use super::visited::{Look, look_at};

/// Names by which a statement asks which tables exist: the schema that lists them, and the prefix of PostgreSQL's
/// catalogs.
const LISTS: [&str; 2] = ["information_schema", "pg_"];

/// Tables and functions that a statement names.
#[derive(Debug, Default)]
pub(crate) struct ReferencedNames {
    /// Names of tables, each as often as the statement has it.
    pub tables: Vec<String>,
    /// Names of table functions, and their first argument, if that is a string.
    pub functions: Vec<(String, Option<String>)>,
    /// Names that the statement would give to tables of the session, or take from them.
    pub renamed: Vec<String>,
    /// Whether the statement asks which tables exist.
    pub lists: bool,
}

impl ReferencedNames {
    /// Analyses a statement that has `travels` names with a version or a time. Each must be the name of a table:
    /// anywhere else DataFusion would take it for an alias, and the answer would be of the newest version.
    pub fn of(statement: &Statement, travels: usize) -> Result<Self> {
        let mut asked = Self { lists: lists(statement), ..Self::default() };
        // The visitor never breaks off, so there is no result to look at.
        let _ = look_at(statement, &mut asked);
        let (made, dropped) = (made_by(statement), dropped_by(statement));
        if let Some(name) = made.and_then(in_lake).filter(|name| is_the_lakes(name)) {
            return Err(is_the_lakes_own(&name));
        }
        if let Some(name) = dropped.iter().filter_map(in_lake).find(|name| is_the_lakes(name)) {
            return Err(is_read_only(&name));
        }
        asked.renamed = made.into_iter().chain(dropped).filter_map(in_lake).collect();
        if asked.tables.iter().filter(|name| named(name).is_some()).count() != travels {
            let why = "VERSION AS OF and TIMESTAMP AS OF stand right behind the name of a table, before its alias";
            return Err(refused(LakeError::Refused(Code::StatementUnclear.because(why.to_owned()))));
        }
        Ok(asked)
    }
}

/// Returns whether a statement asks which tables exist.
fn lists(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => {
            let text = statement.to_string().to_ascii_lowercase();
            text.starts_with("show") || LISTS.iter().any(|name| text.contains(name))
        }
        Statement::Explain(explain) => lists(&explain.statement),
        _ => false,
    }
}

/// Returns the name that a statement would give to a table of the session.
fn made_by(statement: &Statement) -> Option<&ObjectName> {
    match statement {
        Statement::CreateExternalTable(made) => Some(&made.name),
        Statement::Statement(statement) => match statement.as_ref() {
            ast::Statement::CreateTable(made) => Some(&made.name),
            ast::Statement::CreateView(made) => Some(&made.name),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the names that a statement would take from tables of the session.
fn dropped_by(statement: &Statement) -> &[ObjectName] {
    match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            ast::Statement::Drop { names, object_type: ObjectType::Table | ObjectType::View, .. } => names,
            _ => &[],
        },
        _ => &[],
    }
}

/// Returns the name of a table, if that is in the schema of the lake.
fn in_lake(name: &ObjectName) -> Option<String> {
    let schema = name.0.iter().rev().nth(1).and_then(ObjectNamePart::as_ident);
    last(name).filter(|_| schema.is_none_or(|schema| schema.value.eq_ignore_ascii_case(SCHEMA)))
}

/// Returns whether a name is that of a table that every lake has.
fn is_the_lakes(name: &str) -> bool {
    name.parse().is_ok_and(|table| Table::ALL.contains(&table))
}

impl Look for ReferencedNames {
    fn relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.tables.extend(last(name));
        ControlFlow::Continue(())
    }

    fn table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(arguments), .. } = factor {
            let first = arguments.args.first().and_then(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                    Value::SingleQuotedString(text) => Some(text.clone()),
                    _ => None,
                },
                _ => None,
            });
            self.functions.extend(last(name).map(|name| (name, first)));
        }
        ControlFlow::Continue(())
    }
}

/// Returns the last part of a name, as the catalog has it.
fn last(name: &ObjectName) -> Option<String> {
    match name.0.last()? {
        ObjectNamePart::Identifier(name) if name.quote_style.is_none() => Some(name.value.to_lowercase()),
        ObjectNamePart::Identifier(name) => Some(name.value.clone()),
        ObjectNamePart::Function(_) => None,
    }
}
