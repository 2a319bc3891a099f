//! Order of what the processes of a world write at one moment of its time.
//!
//! Delta reads in threads of its own, and simulated time stands still meanwhile. A write that happened at once would be
//! seen by such a read of the same moment, or not, as the machine happens to run the threads: under load, a seed would
//! tell another story. So nothing changes within a moment. What processes write happens at its end, in the order of
//! their numbers, and whoever reads finds what was there when the moment began, early or late in real time.
//!
//! Not everything takes turns. What Delta's own threads write, which is log checkpoints, happens at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Clock;

/// Resolution of simulated time: tokio's timers know no shorter time.
pub const MOMENT: Duration = Duration::from_millis(1);

/// Place of a write in the order: its moment, the number of its process, and its own number.
type Place = (Duration, usize, u64);

/// The writes of a world that have begun, and happen when their moment ends.
#[derive(Clone)]
pub struct Turns {
    clock: Clock,
    begun: Arc<Mutex<Begun>>,
}

/// Writes that have begun.
#[derive(Default)]
struct Begun {
    count: u64,
    writes: BTreeMap<Place, BoxFuture<'static, ()>>,
}

/// A write that somebody waits for.
struct Turn<'a> {
    turns: &'a Turns,
    place: Place,
}

impl Turns {
    /// Makes the turns of a world with this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, begun: Arc::default() }
    }

    /// Performs a write of a process when this moment ends. A write that is dropped before, because its process dies,
    /// never happens. A write must not wait for anything.
    pub async fn take<T: Send + 'static>(&self, process: usize, write: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        let place = self.begin(process, write.map(|done| drop(tell.send(done))).boxed());
        let turn = Turn { turns: self, place };
        sleep(MOMENT).await;
        drop(turn);
        self.end_moments();
        told.await.expect("its moment is over")
    }

    /// Performs the writes of all moments that are over. To be called before anything is read.
    pub fn end_moments(&self) {
        let (now, mut begun) = (self.clock.elapsed(), self.begun());
        while let Some(next) = begun.writes.first_entry()
            && next.key().0 < now
        {
            next.remove().now_or_never().expect("a write waits for nothing");
        }
    }

    fn begin(&self, process: usize, write: BoxFuture<'static, ()>) -> Place {
        let (now, mut begun) = (self.clock.elapsed(), self.begun());
        begun.count += 1;
        let place = (now, process, begun.count);
        begun.writes.insert(place, write);
        place
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().expect("no panic under the lock")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A write whose moment is over has happened, whether or not somebody has looked since.
        if self.turns.clock.elapsed() == self.place.0 {
            self.turns.begun().writes.remove(&self.place);
        }
    }
}
