//! The store of a simulated world. It forgets what is deleted; an archive beside it does not, so that all of history
//! can be checked in the end.
//!
//! It also watches for faults that no reader would notice in time: a log entry that names a file which is not there, a
//! version that is put again after clean-up has deleted it, a deletion of a file that is live.
//!
//! Its wall clock is the world's: objects have the time at which they were put, and log entries get it, too. (Otherwise
//! they would have the time of the machine that runs the tests, the only one that their writer knows.)
//!
//! What a process writes happens when the moment ends in which it is written: see [`super::turns`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::ready;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use lake_store::files::UNCOMMITTED_AGE_MAX;
use lake_store::pins::Pin;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use serde_json::Value;

use super::Clock;
use super::turns::Turns;
use crate::fault_store::is_entry;

/// How long the side that is held up waits before each operation, in real time: a few times as long as a thread takes
/// to wake up and read an entry.
const HELD_UP: Duration = Duration::from_micros(500);

/// A store in memory, its archive, and observations of it.
#[derive(Clone)]
pub struct WorldStore {
    there: Arc<InMemory>,
    archive: Arc<InMemory>,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
    turns: Turns,
    /// Number of the process whose view this is; `None` if no other process is beside it: then writes happen at once.
    process: Option<usize>,
    held_up: Option<HeldUp>,
}

/// Side of a world that is held up, so that the other one always comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// The thread whose time is simulated, in which processes live.
    World,
    /// The threads in which Delta reads.
    DeltaThreads,
}

/// Observations of a store.
#[derive(Default)]
struct Seen {
    /// When each existing object was put.
    times: HashMap<Path, DateTime<Utc>>,
    /// Data files that the newest versions of all tables have, and those that any version had.
    live: HashSet<Path>,
    named: HashSet<Path>,
    /// Pins that somebody was told are there.
    promised: Vec<Pin>,
    /// Things that must never happen, and have.
    wrongs: Vec<String>,
}

impl WorldStore {
    /// Makes an empty store in a world with this clock.
    pub fn new(clock: Clock) -> Self {
        Self::holding(Arc::default(), Arc::default(), clock)
    }

    fn holding(there: Arc<InMemory>, archive: Arc<InMemory>, clock: Clock) -> Self {
        let turns = Turns::new(clock.clone());
        Self { there, archive, clock, seen: Arc::default(), turns, process: None, held_up: None }
    }

    /// Returns the same store, as a process sees it that writes beside others: in turn, by its number.
    pub fn of_process(&self, number: usize) -> Self {
        Self { process: Some(number), ..self.clone() }
    }

    /// Returns the same store, where one side is held up at each operation.
    pub fn holding_up(&self, side: HeldUp) -> Self {
        Self { held_up: Some(side), ..self.clone() }
    }

    /// Makes a store of the same content, to be watched from now on.
    pub async fn of(store: &InMemory) -> Self {
        let (there, archive) = (Arc::new(store.fork()), Arc::new(store.fork()));
        let copied = Self::holding(there, archive, Clock::start());
        let mut entries: Vec<_> = store.list(None).try_collect().await.expect("memory");
        entries.retain(|object| is_entry(&object.location));
        entries.sort_by(|one, other| one.location.cmp(&other.location));
        for ObjectMeta { location, .. } in entries {
            let bytes = store.get(&location).await.expect("it was listed").bytes().await.expect("memory");
            copied.follow(&location, &bytes, copied.clock.now()).await;
        }
        copied
    }

    /// Returns the wall clock of the world.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns the archive of everything that was ever put.
    pub fn archive(&self) -> Arc<InMemory> {
        self.turns.end_moments();
        Arc::clone(&self.archive)
    }

    /// Checks that nothing happened that must never happen.
    pub fn verdict(&self) -> Result<(), String> {
        self.turns.end_moments();
        self.seen().wrongs.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    /// Records that a version is pinned.
    pub fn promise(&self, pin: Pin) {
        self.seen().promised.push(pin);
    }

    /// Records that a pin is about to be removed.
    pub fn release(&self, pin: &Pin) {
        self.seen().promised.retain(|promised| promised.name != pin.name);
    }

    /// Returns the versions that are pinned now, as somebody was told.
    pub fn promised(&self) -> Vec<Pin> {
        let now = self.clock.now();
        self.seen().promised.iter().filter(|pin| pin.holds(now)).cloned().collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic under the lock")
    }

    /// Begins an operation: whatever was written before this moment is there.
    fn begin(&self) {
        let here = if self.clock.is_home() { HeldUp::World } else { HeldUp::DeltaThreads };
        if self.held_up == Some(here) {
            std::thread::park_timeout(HELD_UP);
        }
        self.turns.end_moments();
    }

    /// Makes a change: in turn, if a process does it beside others.
    async fn change<T: Send + 'static>(&self, change: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.begin();
        match self.process {
            Some(process) if self.clock.is_home() => self.turns.take(process, change).await,
            _ => change.await,
        }
    }

    /// Records what was just put, at this time.
    async fn was_put(&self, location: &Path, payload: PutPayload, now: DateTime<Utc>) -> Result<()> {
        if is_entry(location) {
            if self.archive.head(location).await.is_ok() {
                self.seen().wrongs.push(format!("{location} is put again: its version was cleaned up"));
                return Ok(());
            }
            self.follow(location, &Bytes::from(payload.clone()), now).await;
        }
        self.seen().times.insert(location.clone(), now);
        self.archive.put(location, payload).await.map(|_| ())
    }

    /// Follows an entry of a table's log: which files become live with it, and which stop being live.
    async fn follow(&self, entry: &Path, bytes: &[u8], now: DateTime<Utc>) {
        let root = entry.as_ref().split("/_delta_log/").next().unwrap_or_default();
        let file = |action: &Value| {
            let path = action["path"].as_str()?;
            Path::from_url_path(format!("{root}/{path}")).ok()
        };
        let actions = lines(bytes);
        for removed in actions.iter().filter_map(|action| file(&action["remove"])) {
            self.seen().live.remove(&removed);
        }
        for added in actions.iter().filter_map(|action| file(&action["add"])) {
            let is_there = self.there.head(&added).await.is_ok();
            let mut seen = self.seen();
            let age = seen.times.get(&added).and_then(|put| (now - put).to_std().ok()).unwrap_or_default();
            if !is_there {
                seen.wrongs.push(format!("{entry} adds {added}, which is not there"));
            } else if age > UNCOMMITTED_AGE_MAX && !seen.named.contains(&added) {
                seen.wrongs.push(format!("the world is too slow: {entry} adds {added}, which is {age:?} old"));
            }
            seen.named.insert(added.clone());
            seen.live.insert(added);
        }
    }

    fn is_deleted(&self, location: &Path) {
        let mut seen = self.seen();
        seen.times.remove(location);
        if seen.live.contains(location) {
            seen.wrongs.push(format!("{location} is deleted, and live"));
        }
    }

    /// Returns the store's description of an object, with the time of the world.
    fn dated(&self, object: ObjectMeta) -> ObjectMeta {
        let put = self.seen().times.get(&object.location).copied();
        ObjectMeta { last_modified: put.unwrap_or(object.last_modified), ..object }
    }

    fn all_dated(&self, objects: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        objects.map_ok(move |object| this.dated(object)).boxed()
    }
}

/// Returns the actions of an entry.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let actions = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    actions.map(|line| serde_json::from_slice(line).expect("an entry is of lines of JSON")).collect()
}

/// Returns an entry as if it had been written at a time.
fn written_at(entry: PutPayload, now: DateTime<Utc>) -> PutPayload {
    let mut actions = lines(&Bytes::from(entry));
    for action in &mut actions {
        if let Some(info) = action.get_mut("commitInfo") {
            info["timestamp"] = now.timestamp_millis().into();
        }
    }
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    lines.join("\n").into()
}

impl fmt::Debug for WorldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for WorldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorldStore({})", self.there)
    }
}

#[async_trait]
impl ObjectStore for WorldStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (this, location, now) = (self.clone(), location.clone(), self.clock.now());
        let payload = if is_entry(&location) { written_at(payload, now) } else { payload };
        let put = async move {
            let put = this.there.put_opts(&location, payload.clone(), options).await?;
            this.was_put(&location, payload, now).await?;
            Ok::<_, Error>(put)
        };
        self.change(put).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { parts: Vec::new(), location: location.clone(), store: self.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.begin();
        let mut found = self.there.get_opts(location, options).await?;
        found.meta = self.dated(found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.begin();
        self.there.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = locations.and_then(move |location| {
            let (this, store) = (this.clone(), this.clone());
            let delete = async move {
                store.is_deleted(&location);
                store.there.delete(&location).await?;
                Ok::<_, Error>(location)
            };
            async move { this.change(delete).await }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.begin();
        self.all_dated(self.there.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.begin();
        self.all_dated(self.there.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.begin();
        let ListResult { common_prefixes, objects } = self.there.list_with_delimiter(prefix).await?;
        Ok(ListResult { common_prefixes, objects: objects.into_iter().map(|object| self.dated(object)).collect() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (this, from, to, now) = (self.clone(), from.clone(), to.clone(), self.clock.now());
        let copy = async move {
            this.there.copy_opts(&from, &to, options).await?;
            let copied = this.there.get(&to).await?.bytes().await?;
            this.was_put(&to, copied.into(), now).await
        };
        self.change(copy).await
    }
}

/// An upload in parts, which is put when it is complete.
struct Upload {
    parts: Vec<Bytes>,
    location: Path,
    store: WorldStore,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({})", self.location)
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.extend(part.iter().cloned());
        ready(Ok(())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let whole: PutPayload = self.parts.drain(..).collect();
        self.store.put_opts(&self.location, whole, PutOptions::default()).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
