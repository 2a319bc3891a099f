//! Plans the tables of a statement: a table with a version or a time keeps its own name. Clauses beside a table that
//! would be ignored were refused before: see [`super::honoured`].

use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, TableAlias, TableFactor};

use super::statements::named;

/// Planner that sees each table of a statement before DataFusion does.
#[derive(Debug)]
pub(crate) struct Relations;

impl RelationPlanner for Relations {
    fn plan_relation(&self, mut relation: TableFactor, _: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        if let TableFactor::Table { name, alias: alias @ None, .. } = &mut relation
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last()
            && let Some((table, _)) = named(&last.value)
        {
            let name = Ident::with_quote('"', table);
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
