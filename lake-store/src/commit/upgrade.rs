//! Upgrades of a table: it gets the columns, the spec and the format of this program, in a commit that changes no row.
//!
//! Nothing else gives a table any of these, and none gets them by being opened: programs of the format before refuse it
//! from then on. Whoever works on it meanwhile finds it altered, and begins again with what it says.

use deltalake::kernel::Action;
use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::spec::{PROPERTY_SPEC, Spec};
use lake_schemas::table::{FORMAT, Version};

use super::definition::format_of;
use super::entry::job_of;
use super::log::TableLog;
use super::{Commit, Outcome};
use crate::error::Result;

/// The job, as `history` names it.
const JOB: &str = "upgrade";

/// What a table lacks of what this program makes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which table.
    pub table: Table,
    /// The format that it is of, if that is older than this program's.
    pub format: Option<i64>,
    /// Whether it does not record its spec, or one without measures that it gets now.
    pub spec: bool,
    /// Columns.
    pub columns: Vec<String>,
}

impl TableLog {
    /// What it lacks, if anything.
    pub fn lacking(&self) -> Result<Option<Lacking>> {
        let (table, shape, definition) = (self.table(), self.terms.shape(), self.terms.definition());
        let format = Some(format_of(table, shape)?).filter(|format| *format < FORMAT);
        let recorded = shape.properties().get(PROPERTY_SPEC).and_then(|spec| Spec::parse(spec).ok());
        let spec = recorded.map(|spec| spec.to_json()) != definition.spec;
        let columns = shape.lacks(definition);
        let lacks_any = format.is_some() || spec || !columns.is_empty();
        Ok(lacks_any.then_some(Lacking { table, format, spec, columns }))
    }

    /// Gives it all that it lacks; the version that it becomes.
    pub fn upgrade(&mut self) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async move {
            let definition = Some(self.terms.definition().clone().in_format(FORMAT));
            match self.commit(&Commit { definition, ..Commit::new(JOB) }).await? {
                Outcome::Committed(version) => Ok(version),
                outcome => unreachable!("it moves and removes nothing, and goes onto any version: {outcome:?}"),
            }
        })
    }
}

/// Whether an entry of the log is that of an upgrade.
pub(super) fn is_upgrade(action: &Action) -> bool {
    matches!(action, Action::CommitInfo(info) if job_of(info).as_deref() == Some(JOB))
}
