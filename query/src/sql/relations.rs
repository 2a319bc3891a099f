//! How a table in a statement is taken: one that travels in time goes by its own name, and what DataFusion would pass
//! over in silence is refused.

use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, TableAlias, TableFactor};
use lake_schemas::LakeError;

use super::statements::named;
use super::table::refused;

/// Looks at each table of a statement before DataFusion does.
#[derive(Debug)]
pub(crate) struct Relations;

impl RelationPlanner for Relations {
    fn plan_relation(&self, mut relation: TableFactor, _: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        if let TableFactor::Table { name, alias, version, sample, partitions, index_hints, .. } = &mut relation {
            if let Some(version) = version {
                return Err(unsupported(&version.to_string()));
            }
            if let Some(ObjectNamePart::Identifier(last)) = name.0.last()
                && let Some((table, _)) = named(&last.value)
                && alias.is_none()
            {
                let name = Ident::with_quote('"', table);
                *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            }
            if sample.is_some() {
                return Err(unsupported("TABLESAMPLE"));
            }
            if !partitions.is_empty() || !index_hints.is_empty() {
                return Err(unsupported("a choice of partitions, or an index hint"));
            }
        }
        if let TableFactor::Derived { sample: Some(_), .. } = &relation {
            return Err(unsupported("TABLESAMPLE"));
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}

fn unsupported(what: &str) -> datafusion::error::DataFusionError {
    let why = format!("{what} is not supported; for an earlier version write t VERSION AS OF 412");
    refused(LakeError::Refused(why))
}
