//! Finds rows of partitions that their table has no position of. They are in every total, and no recount of a partition
//! would ever meet them.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use lake_schemas::{Stand, Table, TopicPartition, counted};

use super::keys::text;
use super::session::run;
use crate::error::QueryError;

/// Rows of a partition that a table has no position of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Table that has the rows.
    pub table: Table,
    /// Partition that the rows name.
    pub partition: TopicPartition,
    /// Number of rows.
    pub rows: i64,
}

/// Finds the strangers among the rows of a table that satisfy a condition; the session knows the table by `name`.
pub(super) async fn strangers(
    context: &SessionContext,
    table: Table,
    name: &str,
    condition: &str,
    known: &BTreeMap<TopicPartition, Stand>,
) -> Result<Vec<Stranger>, QueryError> {
    let sql = format!(
        "select topic, kafka_partition, count(*) from {name} where {condition} \
         group by topic, kafka_partition order by topic, kafka_partition"
    );
    let mut found = Vec::new();
    for batch in run(context, &sql).await? {
        let partitions = batch.column(1).as_primitive::<Int32Type>().values();
        let rows = batch.column(2).as_primitive::<Int64Type>().values();
        for (row, topic) in text(batch.column(0)).into_iter().enumerate() {
            let partition = TopicPartition::new(topic.unwrap_or_default(), partitions[row]);
            if !known.contains_key(&partition) {
                found.push(Stranger { table, partition, rows: rows[row] });
            }
        }
    }
    Ok(found)
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, partition, rows } = self;
        write!(f, "{partition}: {} of {table}, which has no position of that partition", counted(*rows, "row"))
    }
}
