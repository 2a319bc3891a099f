//! An object store that fails on purpose, as a function of the operation.
//!
//! The fault that matters most is not a failure that is reported: it is a write that happens and is reported as failed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Fate of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation works.
    None,
    /// The operation fails, and nothing has happened.
    Fail,
    /// The operation happens, and is reported as failed.
    LoseReply,
    /// The store says that another writer was first, and nothing has happened.
    Conflict,
    /// The process dies before it happens.
    DieBefore,
    /// The process dies after it happened.
    DieAfter,
    /// A write takes that long, and a read takes a fraction of it.
    Slow(Duration),
    /// The operation never ends. If a thread would wait for it, it fails instead.
    Hang,
    /// The operation happens and its reply is lost. After this time the store's client retries by itself, and reports
    /// the second attempt: a put that must find the object absent has found its own.
    Repeat(Duration),
}

/// Factor by which a write takes longer than a read, where the store is slow.
const SLOW_WRITES: u32 = 64;

/// Names that a bucket lists in one request: whoever takes one more makes another request.
const PAGE: u64 = 1_000;

/// Decides by a number that identifies the operation.
pub type Plan = Box<dyn Fn(u64) -> Fault + Send + Sync>;

/// An operation that a store is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub does: Does,
    pub path: &'a Path,
    /// Number of bytes that the operation writes.
    pub bytes: usize,
}

/// Decides by the operation and its path.
pub type Judge = Box<dyn Fn(Asked<'_>) -> Fault + Send + Sync>;

/// How a plan identifies operations.
enum Told {
    /// The number of the operation.
    ByNumber,
    /// A hash of the operation, its path, and the time since `since`. Some operations are made by threads of their own,
    /// so that their numbers are not the same each time.
    ByNature { since: Instant, runtime: Handle },
    /// The whole operation.
    InFull(Judge),
    /// The number of entries that were put into logs so far, in the upper half, and the number of operations since the
    /// last of them, in the lower half.
    ByCommit(AtomicU64),
}

/// View of a store by one process.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
    quirk: Quirk,
}

/// Fault of a store that concerns every put.
#[derive(Clone, Copy)]
enum Quirk {
    None,
    /// Overwrites an existing object, though told to put only if it is absent.
    Careless,
    /// Puts twice where the number of the operation says so, and reports the second put, as the client of a bucket does
    /// if its first reply was lost.
    Repeating(fn(u64) -> bool),
}

impl Told {
    /// Returns whether this is the runtime whose time passes. Delta reads in one of its own, for which a thread waits;
    /// meanwhile time stands still.
    fn is_at_home(&self) -> bool {
        let is_it = |here: Handle| matches!(self, Self::ByNature { runtime, .. } if runtime.id() == here.id());
        Handle::try_current().is_ok_and(is_it)
    }

    /// Returns whether this is known to be another runtime.
    fn is_elsewhere(&self) -> bool {
        matches!(self, Self::ByNature { .. }) && !self.is_at_home()
    }
}

struct State {
    plan: Plan,
    told: Told,
    operations: AtomicU64,
    lists: AtomicU64,
    pages: AtomicU64,
    names: AtomicU64,
    dead: CancellationToken,
}

impl FaultStore {
    /// Makes a view of a store with faults by plan.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: Plan) -> Self {
        Self::told(inner, plan, Told::ByNumber)
    }

    /// Makes the same view, but the plan gets a hash of the operation, its path and the time, instead of its number.
    pub fn by_nature(inner: Arc<dyn ObjectStore>, plan: Plan) -> Self {
        Self::told(inner, plan, Told::ByNature { since: Instant::now(), runtime: Handle::current() })
    }

    /// Makes a view of a store with faults by operation; also for tests that only watch operations.
    pub fn judged(inner: Arc<dyn ObjectStore>, judge: Judge) -> Self {
        Self::told(inner, Box::new(|_| Fault::None), Told::InFull(judge))
    }

    /// Makes the same view, but the plan gets the number of the entry that was put into a log last, from 1, and the
    /// number of operations since: none for the put of the entry itself.
    pub fn by_commit(inner: Arc<dyn ObjectStore>, plan: impl Fn(u64, u64) -> Fault + Send + Sync + 'static) -> Self {
        let plan = move |told| plan(told >> u32::BITS, told & u64::from(u32::MAX));
        Self::told(inner, Box::new(plan), Told::ByCommit(AtomicU64::new(0)))
    }

    /// Returns how many entries were put into logs, for a plan by commit.
    pub fn commits(&self) -> u64 {
        match &self.state.told {
            Told::ByCommit(told) => told.load(Ordering::Relaxed) >> u32::BITS,
            _ => unreachable!("the plan of this store looks at something else"),
        }
    }

    fn told(inner: Arc<dyn ObjectStore>, plan: Plan, told: Told) -> Self {
        let [operations, lists, pages, names] = [0; 4].map(AtomicU64::new);
        let state = State { plan, told, operations, lists, pages, names, dead: CancellationToken::new() };
        Self { inner, state: Arc::new(state), quirk: Quirk::None }
    }

    /// Makes a view of a store on which put-if-absent is not atomic.
    pub fn careless(inner: Arc<dyn ObjectStore>) -> Self {
        Self { quirk: Quirk::Careless, ..Self::new(inner, Box::new(|_| Fault::None)) }
    }

    /// Makes a view of a store that loses its first reply to a put, by the number of the operation.
    pub fn repeating(inner: Arc<dyn ObjectStore>, when: fn(u64) -> bool) -> Self {
        Self { quirk: Quirk::Repeating(when), ..Self::new(inner, Box::new(|_| Fault::None)) }
    }

    /// Returns a token that is cancelled when the process dies. From then on no operation of it happens any more.
    pub fn dead(&self) -> CancellationToken {
        self.state.dead.clone()
    }

    /// Returns how many operations there were.
    pub fn operations(&self) -> u64 {
        self.state.operations.load(Ordering::Relaxed)
    }

    /// Returns how many of the operations were listings.
    pub fn lists(&self) -> u64 {
        self.state.lists.load(Ordering::Relaxed)
    }

    /// Returns how many requests of a bucket the listings would have been, one for each page of names.
    pub fn pages(&self) -> u64 {
        self.state.pages.load(Ordering::Relaxed)
    }

    /// Returns how many names were taken from listings.
    pub fn names(&self) -> u64 {
        self.state.names.load(Ordering::Relaxed)
    }

    /// Passes on a listing as a bucket does: page by page, as far as it is taken.
    fn by_pages(
        &self,
        found: impl Future<Output = Result<Vec<ObjectMeta>>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (listing, taking) = (Arc::clone(&self.state), Arc::clone(&self.state));
        let listed = async move {
            listing.pages.fetch_add(1, Ordering::Relaxed);
            found.await
        };
        let numbered =
            |found: Vec<ObjectMeta>| stream::iter((0..).zip(found).map(Ok::<(u64, ObjectMeta), object_store::Error>));
        let names = stream::once(listed).map_ok(numbered).try_flatten();
        let taken = names.map_ok(move |(number, file)| {
            taking.names.fetch_add(1, Ordering::Relaxed);
            taking.pages.fetch_add(u64::from(number > 0 && number.is_multiple_of(PAGE)), Ordering::Relaxed);
            file
        });
        taken.boxed()
    }

    /// Returns the fate of an operation.
    fn fault(&self, asked: Asked<'_>) -> Result<Fault> {
        let Asked { does, path, .. } = asked;
        let number = self.state.operations.fetch_add(1, Ordering::Relaxed);
        self.state.lists.fetch_add(u64::from(does == Does::List), Ordering::Relaxed);
        if self.state.dead.is_cancelled() {
            return Err(failure("the process is dead"));
        }
        let fault = match &self.state.told {
            Told::ByNumber => (self.state.plan)(number),
            Told::ByNature { since, runtime } => {
                let _here = runtime.enter();
                (self.state.plan)(hash_of((does, place(path), since.elapsed())))
            }
            Told::InFull(judge) => judge(asked),
            Told::ByCommit(told) => {
                let is_commit = does == Does::Write && is_entry(path);
                let next = |told: u64| if is_commit { ((told >> u32::BITS) + 1) << u32::BITS } else { told + 1 };
                let before = told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| Some(next(told)));
                (self.state.plan)(next(before.expect("it is always updated")))
            }
        };
        Ok(fault)
    }

    async fn run<T>(&self, does: Does, path: &Path, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.carry(Asked { does, path, bytes: 0 }, operation).await
    }

    async fn carry<T>(&self, asked: Asked<'_>, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.meet(self.fault(asked)?, asked, operation).await
    }

    async fn meet<T>(
        &self,
        fault: Fault,
        Asked { does, path, .. }: Asked<'_>,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match fault {
            Fault::None => operation.await,
            Fault::Hang if self.state.told.is_at_home() => std::future::pending().await,
            Fault::Hang => Err(failure("no answer")),
            Fault::Fail => Err(failure("failed on purpose")),
            Fault::Conflict => {
                Err(object_store::Error::AlreadyExists { path: path.to_string(), source: "409 Conflict".into() })
            }
            Fault::LoseReply => {
                let _ = operation.await;
                Err(failure("reply lost on purpose"))
            }
            Fault::DieBefore => {
                self.state.dead.cancel();
                Err(failure("died on purpose"))
            }
            Fault::DieAfter => {
                let _ = operation.await;
                self.state.dead.cancel();
                Err(failure("died on purpose"))
            }
            Fault::Slow(time) => {
                match does {
                    Does::Write if !self.state.told.is_elsewhere() => sleep(time).await,
                    Does::Read | Does::List if self.state.told.is_at_home() => sleep(time / SLOW_WRITES).await,
                    _ => {}
                }
                operation.await
            }
            Fault::Repeat(time) => {
                let done = operation.await;
                if does == Does::Write && !self.state.told.is_elsewhere() {
                    sleep(time).await;
                }
                done
            }
        }
    }
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Does {
    Read,
    Write,
    List,
}

/// Returns what names the place of an operation the same way in each run: the entry of a log or, for files with random
/// names, the folder.
fn place(path: &Path) -> &str {
    match path.as_ref().rsplit_once('/') {
        Some((folder, _)) if !folder.ends_with("_delta_log") => folder,
        _ => path.as_ref(),
    }
}

/// Returns whether a path is an entry of a table's log.
pub fn is_entry(path: &Path) -> bool {
    let mut parts = path.as_ref().rsplit('/');
    let is_version = |name: &str| name.strip_suffix(".json").is_some_and(|name| name.parse::<u64>().is_ok());
    parts.next().is_some_and(is_version) && parts.next() == Some("_delta_log")
}

fn hash_of(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn failure(what: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "FaultStore", source: what.into() }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({:?})", self.inner)
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let options = if matches!(self.quirk, Quirk::Careless) { PutOptions::default() } else { options };
        if matches!(self.quirk, Quirk::Repeating(when) if when(self.operations())) {
            let _ = self.inner.put_opts(location, payload.clone(), options.clone()).await;
        }
        let asked = Asked { does: Does::Write, path: location, bytes: payload.content_length() };
        let fault = self.fault(asked)?;
        let put = || self.inner.put_opts(location, payload.clone(), options.clone());
        let first = self.meet(fault, asked, put()).await;
        if matches!(fault, Fault::Repeat(_)) { put().await } else { first }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.run(Does::Write, location, self.inner.put_multipart_opts(location, options)).await?;
        Ok(Box::new(FaultUpload { store: self.clone(), path: location.clone(), inner: begun }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(Does::Read, location, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.run(Does::Read, location, self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let deleted = this.inner.delete_stream(one).try_collect::<Vec<_>>();
                    this.run(Does::Write, &location, deleted).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        self.by_pages(async move {
            let found = this.inner.list(prefix.as_ref()).try_collect::<Vec<_>>();
            this.run(Does::List, &prefix.clone().unwrap_or_default(), found).await
        })
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix, offset) = (self.clone(), prefix.cloned(), offset.clone());
        self.by_pages(async move {
            let found = this.inner.list_with_offset(prefix.as_ref(), &offset);
            this.run(Does::List, &offset, found.try_collect::<Vec<_>>()).await
        })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(Does::List, &prefix.cloned().unwrap_or_default(), self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(Does::Write, to, self.inner.copy_opts(from, to, options)).await
    }
}

/// An upload in parts, each of which is an operation of its own.
#[derive(Debug)]
struct FaultUpload {
    store: FaultStore,
    path: Path,
    inner: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (store, path, bytes) = (self.store.clone(), self.path.clone(), part.content_length());
        let put = self.inner.put_part(part);
        async move { store.carry(Asked { does: Does::Write, path: &path, bytes }, put).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.run(Does::Write, &self.path, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.run(Does::Write, &self.path, self.inner.abort()).await
    }
}
