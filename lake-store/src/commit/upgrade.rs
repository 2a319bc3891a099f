//! Upgrades of a table: one commit, which changes no row, gives it the columns, the spec and the format of this
//! program.
//!
//! A table gets these in no other way, not even by being opened, because programs of the format before refuse it from
//! then on. A job that works on it meanwhile finds it altered, and begins again with what it says.
//!
//! A measure that comes in counts from the cut on that the table has in that very commit: nobody has counted it before,
//! and whoever goes on from there counts it.

use futures::future::BoxFuture;
use lake_schemas::minute::Parameters;
use lake_schemas::spec::PROPERTY_SPEC;
use lake_schemas::stand::cut_of;
use lake_schemas::table::{Definition, FORMAT, Version};
use lake_schemas::{Code, Measures, Table};

use super::definition::{check, format_of};
use super::entry::UPGRADE;
use super::log::TableLog;
use super::{Commit, Outcome};
use crate::error::{LakeError, Result};

/// Number of attempts when other commits are first: an attempt takes two requests, and jobs commit every few seconds.
const TRIES_MAX: usize = 100;

/// Parts of this program's definition that a table lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Table that lacks them.
    pub table: Table,
    /// Format of the table, if it is older than this program's.
    pub format: Option<i64>,
    /// Whether the table records no spec, or one without measures that it gets now.
    pub spec: bool,
    /// Names of the columns that the table lacks.
    pub columns: Vec<String>,
}

impl TableLog {
    /// Returns what the table lacks, if anything.
    pub fn lacking(&self) -> Result<Option<Lacking>> {
        let (table, shape, definition) = (self.table(), self.terms.shape(), self.upgraded()?);
        let format = Some(format_of(table, shape)?).filter(|format| *format < FORMAT);
        let recorded = shape.properties().get(PROPERTY_SPEC).and_then(|spec| Parameters::parse(spec).ok());
        let spec = recorded.map(|spec| spec.to_json()) != definition.spec;
        let columns = shape.lacks(&definition);
        let lacks_any = format.is_some() || spec || !columns.is_empty();
        Ok(lacks_any.then_some(Lacking { table, format, spec, columns }))
    }

    /// Gives the table everything that it lacks. Returns the version that it becomes.
    pub fn upgrade(&mut self) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async move {
            for _ in 0..TRIES_MAX {
                let definition = self.upgraded()?.in_format(FORMAT);
                // Where a measure begins is worked out from this version. Anything else goes onto any version.
                let begins = definition.spec != self.terms.definition().spec;
                let onto = begins.then(|| self.version());
                let commit = Commit { onto, definition: Some(definition), ..Commit::new(UPGRADE) };
                match self.commit(&commit).await? {
                    Outcome::Committed(version) => return Ok(version),
                    Outcome::Overtaken { .. } => {}
                    outcome => unreachable!("it moves and removes nothing: {outcome:?}"),
                }
            }
            let table = self.table();
            let why = format!("{table} was not upgraded: other commits were first, {TRIES_MAX} times; try again");
            Err(LakeError::Refused(Code::Contended.because(why)))
        })
    }

    /// Returns the definition that the table would have if it was upgraded now: its own, with all measures.
    fn upgraded(&self) -> Result<Definition> {
        if !self.table().is_counts() {
            return Ok(self.terms.definition().clone());
        }
        let parameters = self.parameters()?;
        let measures = parameters.measures.completed(&Measures::default(), &cut_of(&self.stands()));
        let definition = Parameters { measures, ..parameters }.definition(self.table());
        // Another program may have given the table a column of that name, and of another type.
        check(&definition, self.terms.shape())?;
        Ok(definition)
    }
}
