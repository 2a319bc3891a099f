//! Laws of upgrades: whenever a compactor works between the upgrades of two tables, no hour or day is summed again; and
//! a compactor beside an upgrade goes on, whichever table it finds upgraded in which pass of its round.

use std::sync::Arc;
use std::time::Duration;

use lake_schemas::minute::Parameters;
use lake_schemas::{Measures, Table};
use lake_store::commit::TableLog;
use lake_store::{Lake, upgrade};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{Computation, Log, compact, lake_on, simulate, versions};

/// Counts the roll-ups that a lake has seen.
async fn roll_ups(lake: &Lake) -> usize {
    let mut many = 0;
    for table in Table::ROLLED_UP {
        many += versions(lake, table).await.iter().filter(|version| version.job == "roll-up").count();
    }
    many
}

/// Makes a store with a lake of format 1 that is rolled up.
async fn of_format_1() -> InMemory {
    let store = Arc::new(InMemory::new());
    let (lake, log) = (lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>), Arc::new(Log::of_seed(8, 3, 400)));
    let parameters = Parameters { measures: Measures::of_format_1(), ..Parameters::default() };
    drop(TableLog::open_or_make(&lake, &parameters.definition(Table::ClicksMinute)).await.expect("a table"));
    Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
    Computation::Minutes(Parameters::default()).read_all(&lake, &log).await.expect("aggregate ends");
    compact(&lake, 1).await.expect("memory works");
    store.fork()
}

#[test]
fn a_compactor_between_the_upgrades_of_two_tables_sums_nothing_again() {
    simulate(async {
        let lake = lake_on(Arc::new(of_format_1().await));
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

#[test]
fn a_compactor_beside_an_upgrade_goes_on() {
    simulate(async {
        let first = of_format_1().await;
        for pause in (1..=20).map(|step| Duration::from_millis(5 * step)) {
            let store: Arc<dyn ObjectStore> = Arc::new(first.fork());
            // A read takes the compactor a millisecond, so that a pass takes about as long as some of the pauses.
            let slow = FaultStore::by_nature(Arc::clone(&store), Box::new(|_| Fault::Slow(Duration::from_millis(64))));
            let (lake, of_compactor) = (lake_on(store), lake_on(Arc::new(slow)));
            let upgrading = async {
                for lacking in upgrade::lacking(&lake).await.expect("it is told") {
                    tokio::time::sleep(pause).await;
                    upgrade::upgrade(&lake, lacking.table).await.expect("memory works");
                }
            };
            let (compacted, ()) = tokio::join!(compact(&of_compactor, 2), upgrading);
            compacted.unwrap_or_else(|error| panic!("an upgrade every {pause:?}: {error}"));
            assert!(upgrade::lacking(&lake).await.expect("it is told").is_empty());
        }
    });
}
