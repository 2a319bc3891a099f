//! Law: the raw table up to its cut, and Kafka from there, are one log, whatever each of them lacks.

use std::sync::Arc;

use lake_schemas::minute::Parameters;
use lake_schemas::{Code, Table};
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

/// Lets retention delete everything below the ends of an earlier log.
fn drop_all_of(earlier: &Log, log: &Log) {
    for (partition, end) in earlier.ends() {
        log.drop_below(number_of(&partition.topic, partition.partition), end);
    }
}

/// Checks that everything is counted once, after the raw table has got the rest.
async fn agree(lake: &Lake, log: &Arc<Log>) {
    let found = verify(lake, Question::default(), MEMORY).await.expect("an audit");
    assert!(found.is_equal(), "{found}");
    assert_eq!(found.cut, log.ends());
    assert!(found.clicks > 0, "{found}");
}

#[test]
fn what_kafka_has_dropped_is_read_from_the_raw_table() {
    simulate(async {
        for seed in 0..20 {
            let ((earlier, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
            drop_all_of(&earlier, &log);
            minutes().read_all(&lake, &log).await.expect("aggregate ends");
            Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn a_restart_needs_nothing_of_kafka_that_the_raw_table_has() {
    simulate(async {
        for seed in 0..20 {
            let ((earlier, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
            minutes().read_all(&lake, &earlier).await.expect("aggregate ends");
            // By now the restore positions are gone from there.
            drop_all_of(&earlier, &log);
            minutes().read_all(&lake, &log).await.expect("aggregate ends");
            Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn minutes_may_be_ahead_of_the_raw_table() {
    simulate(async {
        for seed in 0..20 {
            let ((earlier, log), lake) = (growing_log(seed), lake());
            Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
            minutes().read_all(&lake, &earlier).await.expect("aggregate ends");
            minutes().read_all(&lake, &log).await.expect("aggregate ends");
            let ahead = verify(&lake, Question::default(), MEMORY).await.expect("an audit");
            assert!(ahead.is_equal(), "{ahead}");
            let newest = versions(&lake, Table::ClicksMinute).await.len() as u64 - 1;
            assert!(ahead.version < newest, "{} is covered, of {newest}", ahead.version);
            minutes().read_all(&lake, &log).await.expect("aggregate ends");
            Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
            agree(&lake, &log).await;
        }
    });
}

#[test]
fn behind_the_last_row_the_raw_table_ends_with_its_cut() {
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
        drop_all_of(&earlier, &log);
        minutes().read_all(&lake, &log).await.expect("aggregate ends");
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        agree(&lake, &log).await;
    });
}

#[test]
fn messages_that_kafka_and_the_raw_table_both_lack_are_refused_by_name() {
    simulate(async {
        let ((earlier, log), lake) = (growing_log(1), lake());
        Computation::Raw.read_all(&lake, &earlier).await.expect("ingest ends");
        minutes().read_all(&lake, &earlier).await.expect("aggregate ends");
        let (partition, end) = earlier.ends().pop_first().expect("partitions");
        let (offset, dropped) = (end.to_string(), end + 1);
        log.drop_below(number_of(&partition.topic, partition.partition), dropped);
        match minutes().read_all(&lake, &log).await {
            Err(error) if error.code() == Some(Code::OffsetsGone) => {
                let why = error.to_string();
                assert!(why.contains(&offset) && why.contains(&dropped.to_string()), "{why}");
            }
            other => panic!("{other:?}"),
        }
    });
}
