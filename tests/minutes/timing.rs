//! Law: the wall clock decides when minutes are written, and never what they sum to.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use ingest::drive::CommitPolicy;
use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_store::Lake;
use object_store::memory::InMemory;

use crate::simulation::{Computation, Log, Version, lake_on, named, simulate, versions};

/// Time longer than a partition must be idle, and shorter than two minutes of event time.
const A_WHILE: Duration = Duration::from_secs(30);

fn minutes() -> Computation {
    Computation::Minutes(Parameters::default())
}

/// Returns the panes that each version of the minutes wrote.
async fn panes(lake: &Lake) -> Vec<Vec<String>> {
    let of = |version: Version| {
        let mut panes: Vec<_> = version.rows.iter().flat_map(|rows| texts(rows, "pane")).collect();
        panes.sort();
        panes.dedup();
        panes
    };
    versions(lake, Table::ClicksMinute).await.into_iter().map(of).collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<String> {
    rows[name].as_string::<i32>().iter().flatten().map(str::to_owned).collect()
}

#[test]
fn a_partition_that_is_idle_is_written_out_and_one_that_is_not_caught_up_is_not() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 2, 200)));
        let partition = named(0);
        let policy = CommitPolicy::every(Duration::from_millis(300));
        // All is read long before the partition counts as idle.
        minutes().run_for(&lake, &log, policy, Duration::from_secs(9)).await;
        let stand = |version: &Version| version.stand(&partition);
        let before = versions(&lake, Table::ClicksMinute).await.last().map(stand).expect("versions");
        assert!(before.cut.is_some() && before.cut <= log.end(0), "{before:?}");
        assert_eq!(before.drained, None);
        minutes().run_for(&lake, &log, policy, A_WHILE).await;
        let after = versions(&lake, Table::ClicksMinute).await.last().map(stand).expect("versions");
        assert_eq!((after.cut, after.drained), (log.end(0), log.end(0)));
        let last = panes(&lake).await.pop().expect("versions");
        assert_eq!(last, ["early"], "idleness moves no watermark");
        // It is written once: what is drained has nothing more to say.
        let written = versions(&lake, Table::ClicksMinute).await.len();
        minutes().run_for(&lake, &log, policy, A_WHILE).await;
        assert_eq!(versions(&lake, Table::ClicksMinute).await.len(), written);
    });
}

#[test]
fn early_firing_writes_minutes_before_they_are_complete() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 2, 200)));
        let often = CommitPolicy {
            early_fire: Some(Duration::from_millis(500)),
            ..CommitPolicy::every(Duration::from_millis(300))
        };
        // Too short for a partition to be idle.
        minutes().run_for(&lake, &log, often, Duration::from_secs(9)).await;
        let panes = panes(&lake).await;
        assert!(panes.iter().flatten().any(|pane| pane == "early"), "{panes:?}");
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        let found = query::verify::verify(&lake, Default::default(), 1 << 30).await.expect("an audit");
        assert!(found.is_equal(), "{found}");
    });
}
