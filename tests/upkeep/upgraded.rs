//! Law of upgrades: whenever a compactor works between the upgrades of two tables, no hour or day is summed again.

use std::sync::Arc;

use lake_schemas::minute::Parameters;
use lake_schemas::{Measures, Table};
use lake_store::commit::TableLog;
use lake_store::{Lake, upgrade};
use object_store::memory::InMemory;

use crate::simulation::{Computation, Log, compact, lake_on, simulate, versions};

/// Counts the roll-ups that a lake has seen.
async fn roll_ups(lake: &Lake) -> usize {
    let mut many = 0;
    for table in Table::ROLLED_UP {
        many += versions(lake, table).await.iter().filter(|version| version.job == "roll-up").count();
    }
    many
}

#[test]
fn a_compactor_between_the_upgrades_of_two_tables_sums_nothing_again() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 3, 400)));
        let parameters = Parameters { measures: Measures::of_format_1(), ..Parameters::default() };
        drop(TableLog::open_or_make(&lake, &parameters.definition(Table::ClicksMinute)).await.expect("a table"));
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, &log).await.expect("aggregate ends");
        compact(&lake, 1).await.expect("memory works");
        let (before, mut upgraded) = (roll_ups(&lake).await, Vec::new());
        for lacking in upgrade::lacking(&lake).await.expect("it is told") {
            upgrade::upgrade(&lake, lacking.table).await.expect("memory works");
            compact(&lake, 1).await.expect("memory works");
            upgraded.push(lacking.table);
        }
        assert_eq!((before, roll_ups(&lake).await), (2, 2));
        upgraded.retain(|table| table.is_counts());
        let before_their_sources = [Table::ClicksDaily, Table::ClicksHourly, Table::ClicksMinute];
        assert_eq!(upgraded, before_their_sources, "no row of a source has a measure that a roll-up of it lacks");
    });
}
