//! How a table in a statement is taken: one that travels in time goes by its own name. What stands beside a table and
//! is not taken was refused before: see [`super::honoured`].

use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Ident, ObjectNamePart, TableAlias, TableFactor};

use super::statements::named;

/// Looks at each table of a statement before DataFusion does.
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
