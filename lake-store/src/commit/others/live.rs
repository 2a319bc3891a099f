//! Laws of tables that say who counts them live: nobody begins again for that, and nothing else of the table changes. A
//! table that says so and may not, or that says what this program does not know, is not written.

use lake_schemas::live::PROPERTY_LIVE;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::table::{FORMAT, PROPERTY_FORMAT};
use lake_schemas::{Code, CountedBy, Live, Table};

use super::{action, definition, lake, put, refused, with_column};
use crate::commit::{Changed, Commit, Outcome, TableLog};
use crate::lake::Lake;

/// Tables that may be counted live.
fn tables() -> [Table; 2] {
    [Table::ClicksMinute, Table::Staging("again".parse().expect("a name"))]
}

async fn make(lake: &Lake, table: Table) -> TableLog {
    let made = Parameters::default().definition(table);
    TableLog::open_or_make(lake, &made).await.expect("a table")
}

fn said(log: &TableLog) -> Live {
    Live::recorded(log.table(), log.properties()).expect("it is known")
}

#[tokio::test(start_paused = true)]
async fn live_tables_are_those_of_before_and_whoever_works_on_them_goes_on() {
    for table in tables() {
        let (lake, store) = lake();
        drop(make(&lake, table).await);
        let mut metadata = with_column(&store, table, "note", true).await;
        metadata["metaData"]["configuration"]["owner"] = serde_json::json!("billing");
        put(&store, table, 1, &[metadata]).await;
        let [mut log, mut beside] = [make(&lake, table).await, make(&lake, table).await];
        let (before, said_before) = (log.properties().clone(), said(&log));
        // Each takes the place of the one before, whoever writes it.
        let [run, aggregate] = CountedBy::ALL.map(Live::By);
        assert_eq!(log.set_live(run).await.expect("memory"), 2);
        assert_eq!((said(&log), said(&beside)), (run, said_before), "{table}: nobody has told the other one");
        beside.refresh().await.expect("who works on it goes on");
        assert_eq!(said(&beside), run, "{table}");
        assert_eq!(beside.set_live(aggregate).await.expect("memory"), 3);
        assert_eq!(log.commit(&Commit::new("aggregate")).await.expect("memory"), Outcome::Committed(4));
        assert_eq!(said(&log), aggregate, "{table}");
        assert_eq!(log.set_live(Live::No).await.expect("memory"), 5);
        let mut again = make(&lake, table).await;
        assert_eq!(said(&again), Live::No, "{table}");
        // All else is as it was.
        let mut after = again.properties().clone();
        assert_eq!(after.remove(PROPERTY_LIVE).as_deref(), Some("no"));
        assert_eq!(after, before, "{table}");
        assert_eq!(again.further_columns().into_keys().collect::<Vec<_>>(), ["note"]);
        assert_eq!(again.changed(1, 5).await.expect("memory"), Changed::Folders([].into()), "no row changed");
        again.look_back().await.expect("memory");
        assert_eq!(again.take_foreign(), [], "{table}");
        assert_eq!(action(&store, table, 5, "commitInfo").await["commitInfo"]["clicklake"]["job"], "live");
    }
}

#[tokio::test(start_paused = true)]
async fn live_tables_stay_so_when_they_are_upgraded_or_get_what_was_promoted() {
    for table in tables() {
        let (lake, _) = lake();
        let mut log = make(&lake, table).await;
        let aggregate = Live::By(CountedBy::Aggregate);
        log.set_live(aggregate).await.expect("memory");
        log.upgrade().await.expect("memory");
        assert_eq!((said(&log), log.properties()[PROPERTY_FORMAT].as_str()), (aggregate, FORMAT.to_string().as_str()));
        let dimensions = vec![Dimension::of(lake_schemas::Field::Country)];
        let promoted = Parameters { dimensions, ..Parameters::default() };
        let commit = Commit { definition: Some(promoted.definition(table)), ..Commit::new("promote") };
        assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(3))));
        assert_eq!(said(&log), aggregate, "{table}: what is promoted does not say who counts it");
        log.set_live(Live::By(CountedBy::Run)).await.expect("memory");
        let again = make(&lake, table).await;
        assert_eq!(said(&again), Live::By(CountedBy::Run));
        assert_eq!(again.parameters().expect("its own"), promoted);
        assert_eq!(again.properties()[PROPERTY_FORMAT], FORMAT.to_string());
        assert_eq!(again.lacking().expect("it is told"), None);
    }
}

/// A later program may count tables that this one does not count, or by a program that this one does not know.
#[tokio::test(start_paused = true)]
async fn live_tables_of_which_this_program_knows_nothing_are_not_written() {
    let [_, staging] = tables();
    for table in Table::ALL.into_iter().chain([staging]) {
        let (lake, store) = lake();
        TableLog::open(&lake, table).await.expect("a table");
        for (version, value) in [(1, "by-tomorrow"), (2, "run")] {
            let says = definition(&store, table, &[(PROPERTY_LIVE, value)]).await;
            put(&store, table, version, &[says]).await;
            let found = TableLog::find(&lake, table).await;
            if table.is_minutes() && value == "run" {
                let log = found.expect("it is known").expect("it is there");
                assert_eq!(said(&log), Live::By(CountedBy::Run), "{table}");
            } else {
                refused(found, Code::NeedUnknown, &[table.name(), PROPERTY_LIVE, "upgrade clicklake", "UNSET"]);
            }
            TableLog::find_to_read(&lake, table).await.expect("readers are not concerned").expect("it is there");
        }
    }
}
