//! Rows that no position of their table covers: of partitions that it does not know. They are in every total, and no
//! recount of a partition would ever meet them.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use lake_schemas::{Stand, Table, TopicPartition};

use super::partition::text;
use super::run;
use crate::error::QueryError;

/// Rows of a partition that a table has no position of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The table.
    pub table: Table,
    /// The partition that its rows name.
    pub partition: TopicPartition,
    /// How many there are.
    pub rows: i64,
}

/// Those of a table that the session knows by a name, of the rows for which a condition holds.
pub(super) async fn strangers(
    context: &SessionContext,
    (table, name): (Table, &str),
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
        write!(f, "{partition}: {rows} rows of {table}, which has no position of that partition")
    }
}
