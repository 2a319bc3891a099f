//! Law: an answer is of one lake. If another one is put in its place while somebody has it open, each answer is of one
//! of the two, or an error, whenever that happens; and soon it is of the new one.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use query::totals::Totals;
use tokio::time::{Instant, sleep};

use super::questions::{answer, by_ad, contents, is_right};
use super::world::World;
use crate::simulation::{compact, simulate};

/// Time within which answers are those of the new lake.
const SEEN_WITHIN: Duration = Duration::from_secs(11);

/// Time for which the law asks one question each second.
const ASKED_FOR: Duration = Duration::from_secs(15);

/// Makes a world that is rolled up, except for what came last.
async fn world(seed: u64, appends: usize) -> World {
    let mut world = World::of_seed(seed).await;
    for _ in 0..appends {
        world.append().await;
    }
    compact(&world.lake, 1).await.expect("memory works");
    world.append().await;
    world
}

/// Replaces everything in a store by what is in another.
async fn replace(store: &dyn ObjectStore, by: &dyn ObjectStore) {
    let gone: Vec<_> = store.list(None).try_collect().await.expect("memory works");
    for object in gone {
        store.delete(&object.location).await.expect("memory works");
    }
    let new: Vec<_> = by.list(None).try_collect().await.expect("memory works");
    for object in new {
        let bytes = by.get(&object.location).await.expect("it is there").bytes().await.expect("memory works");
        store.put(&object.location, bytes.into()).await.expect("memory works");
    }
}

#[test]
fn an_answer_is_of_one_lake_whenever_another_is_put_in_its_place() {
    for after in [0, 3, 9, 30].map(Duration::from_secs) {
        // With fewer versions, as many, and more.
        for appends in [2, 6, 12] {
            simulate(async {
                let (one, other) = (world(1, 6).await, world(2, appends).await);
                let (of_one, of_other) = (contents(&one.lake).await, contents(&other.lake).await);
                let totals = Totals::new(one.lake.clone()).expect("a session");
                let asked = by_ad(None);
                let first = answer(&totals, &asked).await.expect("an answer");
                is_right(&first, &of_one, &asked).expect("nothing has happened");
                sleep(after).await;
                replace(one.store.as_ref(), other.store.as_ref()).await;
                let began = Instant::now();
                while began.elapsed() < ASKED_FOR {
                    let is_over = began.elapsed() >= SEEN_WITHIN;
                    let what = format!("{appends} after {after:?} and {:?}", began.elapsed());
                    match answer(&totals, &asked).await {
                        Ok(answer) if is_right(&answer, &of_other, &asked).is_ok() => {}
                        Ok(answer) if !is_over => is_right(&answer, &of_one, &asked).expect(&what),
                        Err(_) if !is_over => {}
                        found => panic!("{what}: {:?}", found.map(|answer| answer.at)),
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
    }
}
