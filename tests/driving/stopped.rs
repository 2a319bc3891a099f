//! Law: a stop is noticed in every wait, whatever the store does. The loop ends within 20 seconds, and so does a
//! backfill in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backfill::{Range, Replace, Replaced, Work, Writes};
use ingest::drive::{CommitPolicy, DriveError};
use ingest::source::SourceError;
use lake_store::store::Timely;
use object_store::memory::InMemory;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::minutes;
use crate::fault_store::{Fault, FaultStore};
use crate::history::{copy, damaged};
use crate::simulation::{Computation, Group, Log, START_MS, ScriptedSource, lake_on, simulate};

const PARTITIONS: i32 = 100;

/// Bound for a stop: the promised 20 seconds, less what leaving the group may take.
const STOP_MAX: Duration = Duration::from_secs(17);

/// Time at which the store stops working.
const BREAKS: Duration = Duration::from_secs(5);

/// Time at which something happens that must wait for the store.
const HAPPENS: Duration = Duration::from_secs(7);

/// Event that happens while the store does not work.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// Messages come without end.
    Messages,
    /// No message comes any more: the loop only looks at the tables.
    Silence,
    /// The group gives the process a partition.
    Comes,
    /// The group takes a partition away.
    Goes,
}

/// Makes a log with a message every second for a minute, or until the store breaks.
fn log(happens: Happens) -> Log {
    let seconds = if matches!(happens, Happens::Silence) { BREAKS.as_secs() - 2 } else { 60 };
    let times = || (0..seconds as i64).map(|second| (START_MS + second * 1_000, START_MS + second * 1_000)).collect();
    Log::of_times((0..PARTITIONS).map(|_| times())).coming(|_, number| Duration::from_secs(number as u64))
}

/// Stops a job after a time, and returns what it ended with.
async fn stop_after(
    time: Duration,
    computation: &Computation,
    happens: Happens,
    fault: Fault,
) -> Result<(), DriveError> {
    let fault_in = watch::Sender::new(Fault::None);
    let faults = fault_in.subscribe();
    let store = FaultStore::by_nature(Arc::new(InMemory::new()), Box::new(move |_| *faults.borrow()));
    let (lake, log, group) = (lake_on(Arc::new(store)), Arc::new(log(happens)), Arc::new(Group::default()));
    (1..PARTITIONS).for_each(|partition| group.give(partition, 0));
    let (stop, source) = (CancellationToken::new(), ScriptedSource::new(log, Arc::clone(&group), 0, 7));
    let policy = CommitPolicy::every(Duration::from_secs(1));
    let world = async {
        sleep(BREAKS).await;
        fault_in.send_replace(fault);
        sleep(HAPPENS - BREAKS).await;
        match happens {
            Happens::Messages | Happens::Silence => {}
            Happens::Comes => group.give(0, 0),
            Happens::Goes => group.give(1, 1),
        }
        sleep(time - HAPPENS).await;
        stop.cancel();
        let told = Instant::now();
        sleep(STOP_MAX).await;
        panic!("{happens:?}, {fault:?}: it goes on {:?} after it was told to stop", told.elapsed());
    };
    tokio::select! {
        biased;
        done = computation.run(&lake, source, policy, None, stop.clone()) => {
            assert!(stop.is_cancelled(), "{happens:?}, {fault:?}: it ends by itself: {done:?}");
            done
        }
        () = world => unreachable!("it panics"),
    }
}

#[test]
fn a_stop_is_seen_in_every_wait() {
    // Before what is taken away is given up, and after that, when all else begins again; and in a look.
    let times = [8, 16, 40].map(Duration::from_secs);
    for computation in [Computation::Raw, minutes()] {
        for fault in [Fault::Fail, Fault::Hang] {
            for happens in [Happens::Messages, Happens::Silence, Happens::Comes, Happens::Goes] {
                for time in times {
                    let done = simulate(stop_after(time, &computation, happens, fault));
                    let is_clean = matches!(done, Ok(()) | Err(DriveError::StoppedShort));
                    assert!(is_clean, "{happens:?}, {fault:?}, at {time:?}: {done:?}");
                    if matches!(happens, Happens::Silence) && matches!(computation, Computation::Raw) {
                        assert!(done.is_ok(), "{fault:?}, at {time:?}: nothing is left to commit: {done:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_stop_of_a_store_that_works_takes_no_time() {
    for computation in [Computation::Raw, minutes()] {
        let done = simulate(async {
            let stopped = stop_after(Duration::from_secs(20), &computation, Happens::Goes, Fault::None);
            timeout(Duration::from_secs(60), stopped).await
        });
        done.expect("it ends").expect("all is committed");
    }
}

/// How long a backfill is left alone with a store that does not work.
const ALONE: Duration = Duration::from_secs(60);

/// Computes a lake's minutes again, on a store that stops working with one of its operations, and tells the backfill to
/// stop a while later. Returns what it ended with, and how many operations there were.
async fn stop_backfill(store: &InMemory, fault: Fault, at: u64) -> (Result<Replaced, DriveError>, u64) {
    let (operations, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let counted = Arc::clone(&operations);
    let plan = move |_: u64| if counted.fetch_add(1, Ordering::Relaxed) < at { Fault::None } else { fault };
    // Requests time out, as on a real store.
    let lake = lake_on(Arc::new(Timely(FaultStore::by_nature(copy(store).await, Box::new(plan)))));
    let work = Work { lake: &lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
    let replace = Replace { work, writes: Writes::Always, wait: Duration::ZERO };
    let world = async {
        sleep(ALONE).await;
        stop.cancel();
        sleep(STOP_MAX).await;
        panic!("{fault:?} from operation {at} on: it goes on after it was told to stop");
    };
    let done = tokio::select! {
        biased;
        done = replace.run() => done,
        () = world => unreachable!("it panics"),
    };
    (done, operations.load(Ordering::Relaxed))
}

#[test]
fn a_stop_is_seen_by_a_backfill_wherever_the_store_has_left_it() {
    simulate(async {
        let (store, _) = damaged().await;
        let (done, operations) = stop_backfill(&store, Fault::None, 0).await;
        assert!(matches!(done, Ok(Replaced::Committed(..))) && operations > 30, "{operations} operations: {done:?}");
        for fault in [Fault::Fail, Fault::Hang] {
            let mut stopped = 0;
            for at in (0..operations).step_by(3) {
                match stop_backfill(&store, fault, at).await.0 {
                    Ok(Replaced::Stopped) => stopped += 1,
                    // A backfill that has not begun reports the store's error, and so does one whose commit is in
                    // doubt.
                    Err(DriveError::Lake(error) | DriveError::Source(SourceError::Lake(error))) => {
                        assert!(error.is_retryable(), "{fault:?} from operation {at} on: {error}");
                    }
                    // The fault hit only operations that the backfill did not need.
                    Ok(Replaced::Committed(..)) => {}
                    other => panic!("{fault:?} from operation {at} on: {other:?}"),
                }
            }
            assert!(stopped > 5, "{fault:?}: {stopped} of {operations} were stopped while they waited");
        }
    });
}
