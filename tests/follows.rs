//! Law: counts that follow the raw table are those of the log below the raw table's cut, whatever Kafka still has.

use std::sync::Arc;

use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_store::Lake;
use object_store::memory::InMemory;
use query::verify::{Question, verify};

use crate::simulation::{Computation, Log, LogMessage, lake_on, number_of, simulate, versions};

const MEMORY: usize = 1 << 30;

fn minutes() -> Computation {
    Computation::Minutes(Parameters { allowed_lateness_ms: 30_000, dedup_horizon_ms: 60_000, ..Parameters::default() })
}

fn lake() -> Lake {
    lake_on(Arc::new(InMemory::new()))
}

/// Returns a log, and the earlier state of it.
fn growing_log(seed: u64) -> (Arc<Log>, Arc<Log>) {
    let log = Log::of_seed(seed, 3, 400);
    (Arc::new(log.earlier(|_, messages| messages / 2)), Arc::new(log))
}

/// Lets retention delete all of a log.
fn drop_all_of(log: &Log) {
    for (partition, end) in log.ends() {
        log.drop_below(number_of(&partition.topic, partition.partition), end);
    }
}

/// Checks that everything is counted once, up to the end of a log.
async fn agree(lake: &Lake, log: &Log) {
    let found = verify(lake, Question::default(), MEMORY).await.expect("an audit");
    assert!(found.is_equal(), "{found}");
    assert_eq!(found.cut, log.ends());
    assert!(found.clicks > 0, "{found}");
}

#[test]
fn nothing_is_needed_of_kafka_but_where_its_log_ends() {
    simulate(async {
        for seed in 0..20 {
            let ((_, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            drop_all_of(&log);
            minutes().follow_all(&lake, &log).await.expect("it ends");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn a_restart_goes_on_where_the_counts_stand_though_kafka_has_dropped_that() {
    simulate(async {
        for seed in 0..20 {
            let ((earlier, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
            minutes().follow_all(&lake, &earlier).await.expect("it ends");
            agree(&lake, &earlier).await;
            Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            // By now the restore positions are gone from there.
            drop_all_of(&log);
            minutes().follow_all(&lake, &log).await.expect("it ends");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn counts_that_are_ahead_of_the_raw_table_wait_for_it() {
    simulate(async {
        for seed in 0..20 {
            let ((earlier, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
            // As an older program counts, from Kafka itself.
            minutes().read_all(&lake, &log).await.expect("aggregate ends");
            let ahead = versions(&lake, Table::ClicksMinute).await.len();
            let following = minutes();
            let followed = following.follow_all(&lake, &log);
            let caught_up = async {
                Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            };
            let (followed, ()) = tokio::join!(followed, caught_up);
            followed.expect("it ends");
            assert_eq!(versions(&lake, Table::ClicksMinute).await.len(), ahead, "there was nothing to count");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn behind_the_last_row_a_follower_goes_on_to_the_cut() {
    // The earlier log ends with rejected messages, which are rows of the other raw table, and with a gap.
    let end_of = |log: &Log| {
        let mut pairs = log.partitions[0].windows(2);
        Some(pairs.position(|pair| pair.iter().all(LogMessage::is_rejected))? + 2)
    };
    let logs = (0..).map(|seed| Log::of_seed(seed, 1, 400));
    let (log, end) = logs.filter_map(|log| end_of(&log).map(|end| (log, end))).next().expect("without end");
    let (earlier, log, lake) = (Arc::new(log.earlier(|_, _| end)), Arc::new(log), lake());
    simulate(async {
        Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
        minutes().follow_all(&lake, &earlier).await.expect("it ends");
        agree(&lake, &earlier).await;
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        drop_all_of(&log);
        minutes().follow_all(&lake, &log).await.expect("it ends");
        agree(&lake, &log).await;
    });
}
