//! Upgrades of a table: one commit, which changes no row, gives it the columns, the spec and the format of this
//! program.
//!
//! A table gets these in no other way, not even by being opened, because programs of the format before refuse it from
//! then on. A job that works on it meanwhile finds it altered, and begins again with what it says.

use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::spec::{PROPERTY_SPEC, Spec};
use lake_schemas::table::{FORMAT, Version};

use super::definition::format_of;
use super::entry::UPGRADE;
use super::log::TableLog;
use super::{Commit, Outcome};
use crate::error::Result;

/// Parts of this program's definition that a table lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Table that lacks them.
    pub table: Table,
    /// Format of the table, if it is older than this program's.
    pub format: Option<i64>,
    /// Whether it records no spec, or one without measures that it gets now.
    pub spec: bool,
    /// Names of the columns that it lacks.
    pub columns: Vec<String>,
}

impl TableLog {
    /// Returns what the table lacks, if anything.
    pub fn lacking(&self) -> Result<Option<Lacking>> {
        let (table, shape, definition) = (self.table(), self.terms.shape(), self.terms.definition());
        let format = Some(format_of(table, shape)?).filter(|format| *format < FORMAT);
        let recorded = shape.properties().get(PROPERTY_SPEC).and_then(|spec| Spec::parse(spec).ok());
        let spec = recorded.map(|spec| spec.to_json()) != definition.spec;
        let columns = shape.lacks(definition);
        let lacks_any = format.is_some() || spec || !columns.is_empty();
        Ok(lacks_any.then_some(Lacking { table, format, spec, columns }))
    }

    /// Gives the table everything that it lacks. Returns the version that it becomes.
    pub fn upgrade(&mut self) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async move {
            let definition = Some(self.terms.definition().clone().in_format(FORMAT));
            match self.commit(&Commit { definition, ..Commit::new(UPGRADE) }).await? {
                Outcome::Committed(version) => Ok(version),
                outcome => unreachable!("it moves and removes nothing, and goes onto any version: {outcome:?}"),
            }
        })
    }
}
