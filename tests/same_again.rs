//! Law: a seed tells the same story each time, so that whoever looks for a fault can repeat it.
//!
//! This holds where ingest and aggregate are alone. Backfills and compactors read files in an order that depends on
//! random names: most of their worlds go the same way again, and some do not.
//!
//! A loaded machine runs the threads in which Delta reads early or late. So each story is told twice: once where these
//! threads are held up, and once where everything else is.

use std::pin::pin;

use futures::FutureExt;
use futures::future::join_all;
use lake_schemas::Table;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::time::sleep;

use crate::minutes::parameters_of;
use crate::simulation::{
    Clock, Computation, HeldUp, MOMENT, WorldStore, for_each_seed, simulate, survive_on, versions,
};

/// Number of seeds whose stories are told twice.
const SEEDS: u64 = 100;

/// Returns what happened in the world of a seed: each version of each table, who made it, and how much it added and
/// removed.
async fn story(seed: u64, held_up: HeldUp) -> Vec<String> {
    let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
    let store = WorldStore::new(Clock::start()).holding_up(held_up);
    let world = survive_on(store, seed, &computations, &[], &[]).await.expect("it catches up");
    let mut story = Vec::new();
    for table in Table::ALL {
        let versions = versions(&world.history, table).await;
        story.extend(versions.iter().enumerate().map(|(number, version)| format!("{table} {number}: {version}")));
    }
    story
}

#[test]
fn a_seed_tells_the_same_story() {
    for_each_seed(0..SEEDS, |seed| {
        let [first, second] = [HeldUp::World, HeldUp::DeltaThreads].map(|held_up| simulate(story(seed, held_up)));
        let differing = first.iter().zip(&second).find(|(first, second)| first != second);
        assert!(first == second, "seed {seed}: {differing:#?}");
    });
}

/// Returns whether an object is there, as the world sees it and as a thread with a runtime of its own does.
async fn is_there(store: &WorldStore, path: &Path) -> [bool; 2] {
    let here = store.head(path).await.is_ok();
    let (store, path) = (store.clone(), path.clone());
    let thread = std::thread::spawn(move || simulate(async move { store.head(&path).await.is_ok() }));
    [here, thread.join().expect("no panic")]
}

#[test]
fn what_a_process_writes_is_there_from_the_next_moment_on_whoever_reads() {
    simulate(async {
        let (store, path) = (WorldStore::new(Clock::start()).of_process(1), Path::from("lake/clicks/part-0"));
        let mut put = pin!(store.put(&path, "rows".into()));
        assert!(put.as_mut().now_or_never().is_none(), "it is done before its moment is over");
        assert_eq!(is_there(&store, &path).await, [false; 2]);
        sleep(MOMENT).await;
        assert_eq!(is_there(&store, &path).await, [true; 2]);
        put.await.expect("memory");
        let mut deleted = pin!(store.delete(&path));
        assert!(deleted.as_mut().now_or_never().is_none(), "it is done before its moment is over");
        assert_eq!(is_there(&store, &path).await, [true; 2]);
        deleted.await.expect("memory");
        assert_eq!(is_there(&store, &path).await, [false; 2]);
    });
}

#[test]
fn what_a_process_writes_happens_unless_the_process_dies_in_that_moment() {
    for lives_on in [false, true] {
        simulate(async {
            let (store, path) = (WorldStore::new(Clock::start()).of_process(1), Path::from("lake/clicks/part-0"));
            let mut put = Box::pin(store.put(&path, "rows".into()));
            assert!(put.as_mut().now_or_never().is_none(), "it is done before its moment is over");
            if lives_on {
                sleep(MOMENT).await;
            }
            drop(put);
            sleep(MOMENT).await;
            assert_eq!(is_there(&store, &path).await, [lives_on; 2]);
        });
    }
}

#[test]
fn of_processes_that_put_one_key_at_a_moment_the_same_one_wins_whoever_came_first() {
    for order in [[1, 2], [2, 1]] {
        simulate(async {
            let (store, path) = (WorldStore::new(Clock::start()), Path::from("lake/clicks/_delta_log/1"));
            let puts = order.map(|process| {
                let (store, path) = (store.of_process(process), path.clone());
                async move {
                    let put = store.put_opts(&path, process.to_string().into(), PutOptions::from(PutMode::Create));
                    put.await.is_ok()
                }
            });
            assert_eq!(join_all(puts).await, order.map(|process| process == 1));
            let winner = store.get(&path).await.expect("it was put").bytes().await.expect("memory");
            assert_eq!(&winner[..], b"1");
        });
    }
}
