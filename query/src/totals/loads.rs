//! A cache of values that take long to load and do not change: each is loaded once for all who ask meanwhile, and kept
//! for a while.
//!
//! ```text
//!   asked ── kept? ──────────────────────────────────────────────> held
//!     │  └── being loaded? ── wait for that ─────────────────────>  ↑
//!     └── a place to load in ── a task, which ends when it ends ────┘ kept, as far as there is memory
//! ```
//!
//! A load that has begun goes on even if nobody waits for it any more, because its threads cannot be stopped. So it
//! keeps its place until it is over, and its result is kept for whoever asks again. A caller that gives up before its
//! load has begun leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lake_store::LakeError;
use lake_store::locked::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::error::{QueryError, SharedError};

/// Concurrent loads: enough to wait for the store side by side. The memory that a load takes while it runs, a few times
/// that of its result, is not counted.
const LOADS_MAX: u32 = 4;

/// How long a loaded value is kept: a page that somebody is looking at asks again within that time. A version that has
/// been cleaned up since is refused from then on.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Number of values that are kept, however small they are, because they are searched one by one.
const KEPT_MAX: usize = 256;

/// A cache of loaded values, by their keys.
pub(super) struct Loads<K, V> {
    known: Arc<Mutex<CacheState<K, V>>>,
    places: Arc<Semaphore>,
    memory: Arc<dyn MemoryPool>,
    /// Returns the bytes that a value takes.
    bytes_of: fn(&V) -> usize,
}

/// A loaded value, and the memory that is reserved for it as long as anybody holds it.
pub(super) struct Reserved<V> {
    pub value: V,
    _memory: MemoryReservation,
}

/// A value that was just loaded.
pub(super) struct Loaded<V> {
    pub value: V,
    /// Whether loading it again would give the same value.
    pub is_final: bool,
}

/// A load that is running, shared by all who wait for it.
type Loading<V> = Shared<BoxFuture<'static, Result<Arc<Reserved<V>>, SharedError>>>;

/// State of the cache.
struct CacheState<K, V> {
    /// Loads that are running.
    loading: BTreeMap<K, Loading<V>>,
    /// Values that were loaded, the oldest first.
    kept: Vec<CacheEntry<K, V>>,
}

/// A value that is kept.
struct CacheEntry<K, V> {
    key: K,
    since: Instant,
    held: Arc<Reserved<V>>,
}

/// A value that was found in the cache, or is on its way there.
enum CacheLookup<V> {
    Reserved(Arc<Reserved<V>>),
    Loading(Loading<V>),
}

impl<K: Ord + Clone + Send + 'static, V: Send + Sync + 'static> Loads<K, V> {
    /// Makes an empty cache. All values that anybody holds at one time may take `bytes` bytes together.
    pub fn within(bytes: usize, bytes_of: fn(&V) -> usize) -> Self {
        Self {
            known: Arc::new(Mutex::new(CacheState { loading: BTreeMap::new(), kept: Vec::new() })),
            places: Arc::new(Semaphore::new(LOADS_MAX as usize)),
            memory: Arc::new(GreedyMemoryPool::new(bytes)),
            bytes_of,
        }
    }

    /// Returns the value of a key, and loads it if it is neither kept nor being loaded.
    pub async fn get<F>(&self, key: K, load: impl FnOnce() -> F + Send) -> Result<Arc<Reserved<V>>, QueryError>
    where
        F: Future<Output = Result<Loaded<V>, QueryError>> + Send + 'static,
    {
        let found = lock(&self.known).find(&key);
        let found = match found {
            Some(found) => found,
            None => {
                let place = Arc::clone(&self.places).acquire_owned().await.expect("it is never closed");
                self.find_or_begin(key, load, place)
            }
        };
        match found {
            CacheLookup::Reserved(held) => Ok(held),
            CacheLookup::Loading(loading) => loading.await.map_err(QueryError::from),
        }
    }

    /// Returns what has come into the cache meanwhile, or begins the load.
    fn find_or_begin<F>(&self, key: K, load: impl FnOnce() -> F, place: OwnedSemaphorePermit) -> CacheLookup<V>
    where
        F: Future<Output = Result<Loaded<V>, QueryError>> + Send + 'static,
    {
        let mut known = lock(&self.known);
        if let Some(found) = known.find(&key) {
            return found;
        }
        let under_way = UnderWay { known: Arc::clone(&self.known), key: key.clone(), _place: place };
        let loading = self.begin(load(), under_way);
        known.loading.insert(key, loading.clone());
        CacheLookup::Loading(loading)
    }

    /// Begins a load. The caller holds the lock of the cache, and adds the load to it.
    fn begin<F>(&self, load: F, under_way: UnderWay<K, V>) -> Loading<V>
    where
        F: Future<Output = Result<Loaded<V>, QueryError>> + Send + 'static,
    {
        let (memory, bytes_of) = (Arc::clone(&self.memory), self.bytes_of);
        let task = tokio::spawn(async move {
            let Loaded { value, is_final } = load.await?;
            let held = Arc::new(under_way.hold(value, bytes_of, &memory)?);
            if is_final {
                under_way.keep(&held);
            }
            Ok::<_, QueryError>(held)
        });
        let loaded = async move {
            let ended = |error: JoinError| Err(LakeError::store("reading an earlier version", error).into());
            task.await.unwrap_or_else(ended).map_err(SharedError::from)
        };
        loaded.boxed().shared()
    }

    /// Waits until all loads that have begun are over.
    pub async fn are_over(&self) {
        drop(self.places.acquire_many(LOADS_MAX).await);
    }
}

impl<K: Ord, V> CacheState<K, V> {
    /// Returns the value of a key, or the load that will give it.
    fn find(&mut self, key: &K) -> Option<CacheLookup<V>> {
        self.kept.retain(|kept| kept.since.elapsed() < KEPT_FOR);
        let kept =
            self.kept.iter().find(|kept| kept.key == *key).map(|kept| CacheLookup::Reserved(Arc::clone(&kept.held)));
        kept.or_else(|| self.loading.get(key).cloned().map(CacheLookup::Loading))
    }

    fn keep(&mut self, key: K, held: Arc<Reserved<V>>) {
        if self.kept.len() >= KEPT_MAX {
            self.forget_oldest();
        }
        self.kept.push(CacheEntry { key, since: Instant::now(), held });
    }

    fn forget_oldest(&mut self) -> Option<CacheEntry<K, V>> {
        (!self.kept.is_empty()).then(|| self.kept.remove(0))
    }
}

/// A load that counts as running until this is dropped, however it ends.
struct UnderWay<K: Ord, V> {
    known: Arc<Mutex<CacheState<K, V>>>,
    key: K,
    _place: OwnedSemaphorePermit,
}

impl<K: Ord + Clone, V> UnderWay<K, V> {
    /// Reserves memory for a value that was loaded. Kept values make room for it, the oldest first.
    fn hold(&self, value: V, bytes_of: fn(&V) -> usize, pool: &Arc<dyn MemoryPool>) -> Result<Reserved<V>, QueryError> {
        let memory = MemoryConsumer::new("earlier versions").register(pool);
        while let Err(error) = memory.try_grow(bytes_of(&value)) {
            if lock(&self.known).forget_oldest().is_none() {
                return Err(error.into());
            }
        }
        Ok(Reserved { value, _memory: memory })
    }

    fn keep(&self, held: &Arc<Reserved<V>>) {
        lock(&self.known).keep(self.key.clone(), Arc::clone(held));
    }
}

impl<K: Ord, V> Drop for UnderWay<K, V> {
    fn drop(&mut self) {
        lock(&self.known).loading.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use lake_schemas::Code;
    use tokio::sync::Notify;
    use tokio::time::{advance, timeout};

    use super::*;

    /// Makes a cache of `bytes` bytes, whose values are their own sizes.
    fn loads(bytes: usize) -> Loads<u64, usize> {
        Loads::within(bytes, |bytes| *bytes)
    }

    /// Loads a value of `bytes` bytes, and counts that.
    async fn load(count: &Arc<AtomicUsize>, bytes: usize, is_final: bool) -> Result<Loaded<usize>, QueryError> {
        count.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(Loaded { value: bytes, is_final })
    }

    /// Asks for a value. Returns whether it was loaded for that.
    async fn ask(loads: &Loads<u64, usize>, key: u64, count: &Arc<AtomicUsize>, bytes: usize, is_final: bool) -> bool {
        let count = Arc::clone(count);
        let got = loads.get(key, || async move { load(&count, bytes, is_final).await }).await;
        got.is_ok_and(|held| held.value == bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_share_one_load_which_is_kept_for_a_while() {
        let (loads, count) = (loads(100), Arc::default());
        for loaded in [1, 1, 2] {
            if loaded == 2 {
                advance(KEPT_FOR).await;
            }
            let asked = (0..50).map(|_| ask(&loads, 7, &count, 10, true));
            assert!(join_all(asked).await.into_iter().all(|is_answered| is_answered));
            assert_eq!(count.load(Ordering::Relaxed), loaded);
        }
        assert!(lock(&loads.known).loading.is_empty());
    }

    #[tokio::test]
    async fn a_value_that_may_change_is_not_kept() {
        let (loads, count) = (loads(100), Arc::default());
        for loaded in 1..4 {
            assert!(ask(&loads, 7, &count, 10, false).await);
            assert_eq!((count.load(Ordering::Relaxed), loads.memory.reserved()), (loaded, 0));
        }
    }

    #[tokio::test]
    async fn kept_values_make_room_for_others_and_values_in_use_do_not() {
        let (loads, count) = (loads(100), Arc::default());
        for key in 0..20 {
            assert!(ask(&loads, key, &count, 30, true).await);
            assert!(loads.memory.reserved() <= 100);
        }
        assert_eq!(lock(&loads.known).kept.iter().map(|kept| kept.key).collect::<Vec<_>>(), [17, 18, 19]);
        let count = Arc::clone(&count);
        let held = loads.get(99, || async move { load(&count, 60, true).await }).await.expect("there is room");
        let count = Arc::default();
        assert!(!ask(&loads, 100, &count, 60, true).await, "somebody has the rest");
        drop(held);
        assert!(ask(&loads, 100, &count, 60, true).await);
        assert!(!ask(&loads, 101, &count, 101, true).await, "it is too large");
    }

    #[tokio::test]
    async fn small_things_are_not_kept_without_end() {
        let (loads, count) = (loads(1 << 20), Arc::default());
        for key in 0..2 * KEPT_MAX as u64 {
            assert!(ask(&loads, key, &count, 1, true).await);
        }
        assert_eq!(lock(&loads.known).kept.len(), KEPT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_a_bounded_number_of_loads_and_nothing_that_waits() {
        let (loads, begun, go_on) = (loads(1_000), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        for key in 0..40 {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            let slow = loads.get(key, || async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go_on.notified().await;
                Ok(Loaded { value: 1, is_final: true })
            });
            assert!(timeout(Duration::from_secs(20), slow).await.is_err());
        }
        assert_eq!(begun.load(Ordering::Relaxed), LOADS_MAX as usize);
        assert_eq!(lock(&loads.known).loading.len(), LOADS_MAX as usize);
        assert!(timeout(Duration::from_secs(1), loads.are_over()).await.is_err());
        go_on.notify_waiters();
        loads.are_over().await;
        assert_eq!(begun.load(Ordering::Relaxed), LOADS_MAX as usize, "nobody waits for the others");
        // Their results are there for whoever asks again.
        let held = loads.get(0, pending).await.expect("it is kept");
        assert_eq!(held.value, 1);
    }

    #[tokio::test]
    async fn a_load_that_fails_fails_for_all_who_wait_and_is_tried_again_by_the_next() {
        let (loads, count) = (loads(100), Arc::new(AtomicUsize::new(0)));
        let failing = || {
            let count = Arc::clone(&count);
            loads.get(7, || async move {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(LakeError::Refused(Code::VersionGone.because("it is gone".to_owned())).into())
            })
        };
        for failed in 1..3 {
            for got in join_all((0..10).map(|_| failing())).await {
                assert_eq!(got.err().map(|error| error.to_string()).as_deref(), Some("it is gone"));
            }
            assert_eq!(count.load(Ordering::Relaxed), failed);
        }
        let broken = loads.get(8, || async { panic!("a bug") }).await;
        assert!(broken.is_err());
        assert!(ask(&loads, 8, &count, 10, true).await, "others can load it");
    }
}
