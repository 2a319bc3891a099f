//! Law: a job that runs twice, in groups that do not know of each other, is detected, however long a restart replays.

use std::sync::Arc;
use std::time::Duration;

use ingest::drive::{CommitPolicy, DriveError};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{all_of, minutes};
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{Computation, Log, START_MS, lake_on, simulate};

/// Number of messages in the raw table at first, each in a file of its own.
const RAW: usize = 240;

/// Number of messages that come later, one a second.
const LATER: usize = 480;

/// Time of a slow write; a read takes a fraction of it, a second. The replay takes half a minute, and nothing is
/// committed meanwhile.
const SLOW: Duration = Duration::from_secs(64);

/// How often the other process commits.
const EVERY: Duration = Duration::from_secs(5);

/// How long detection may take: a minute of finding partitions moved, and the delay of a slow store.
const FOUND_OUT_MAX: Duration = Duration::from_secs(150);

#[test]
fn a_job_that_runs_twice_is_found_out_though_it_replays_for_longer_than_the_other_commits() {
    simulate(async {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let lake = lake_on(Arc::clone(&memory));
        // Each click is twenty seconds later than the one before, so that minutes are over all the time.
        let times = (0..RAW + LATER).map(|number| START_MS + number as i64 * 20_000).map(|ms| (ms, ms)).collect();
        let log = Log::of_times([times].into_iter()).coming(|_, number| Duration::from_secs(number as u64));
        let log = Arc::new(log);
        let (counting, (source, _)) = (lake.clone(), all_of(&log));
        let first = tokio::spawn(async move {
            minutes().run(&counting, source, CommitPolicy::every(EVERY), None, CancellationToken::new()).await
        });
        // Ingest commits each message, and ends: the log of its table does not grow while it is read slowly.
        let (each, all) = (Duration::from_millis(500), Duration::from_secs(RAW as u64));
        Computation::Raw.run_for(&lake, &log, CommitPolicy::every(each), all).await;
        let store = FaultStore::by_nature(memory, Box::new(|_| Fault::Slow(SLOW)));
        let (slow, (source, group)) = (lake_on(Arc::new(store)), all_of(&log));
        let (again, began) = (minutes(), Instant::now());
        let second = again.run(&slow, source, CommitPolicy::every(EVERY), None, CancellationToken::new());
        match timeout(FOUND_OUT_MAX, second).await.expect("it is found out") {
            Err(DriveError::Fenced { table, app_id, expected, found }) => {
                assert_eq!((table.as_str(), app_id.as_str()), ("clicks_minute", "clicklake/clicks_minute/clicks/0"));
                assert!(expected < found, "{expected:?}, {found:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() > Duration::from_secs(60), "now and then, partitions are moved rightly");
        assert_eq!(group.read_by(Instant::now()), 0, "it was replaying all the time");
        // The other one goes on.
        sleep(EVERY * 2).await;
        assert!(!first.is_finished());
    });
}
