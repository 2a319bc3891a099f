//! A view of an object store that gives objects their times of modification by a clock of its own, so that tests can
//! make objects old.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// View of an object store, with its own clock and the times at which objects were put.
#[derive(Clone)]
pub struct ClockStore {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<Mutex<Clock>>,
}

struct Clock {
    now: DateTime<Utc>,
    put: HashMap<Path, DateTime<Utc>>,
}

impl ClockStore {
    /// Makes a view of a store. Objects that exist already keep the times of that store.
    pub fn new(inner: Arc<dyn ObjectStore>, now: DateTime<Utc>) -> Self {
        Self { inner, clock: Arc::new(Mutex::new(Clock { now, put: HashMap::new() })) }
    }

    /// Makes an object look as if it had been put at this time.
    pub fn put_at(&self, path: &Path, time: DateTime<Utc>) {
        self.clock().put.insert(path.clone(), time);
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().expect("no panic")
    }

    /// Records that an object was put now.
    fn is_put(&self, path: &Path) {
        let mut clock = self.clock();
        let now = clock.now;
        clock.put.insert(path.clone(), now);
    }

    /// Replaces the time of an object by the time at which it was put here, if it was.
    fn timed(&self, file: ObjectMeta) -> ObjectMeta {
        let clock = self.clock();
        let last_modified = clock.put.get(&file.location).copied().unwrap_or(file.last_modified);
        ObjectMeta { last_modified, ..file }
    }
}

impl fmt::Debug for ClockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClockStore({:?})", self.inner)
    }
}

impl fmt::Display for ClockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClockStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for ClockStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, options).await?;
        self.is_put(location);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.is_put(location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.inner.get_opts(location, options).await?;
        found.meta = self.timed(found.meta);
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        self.inner.list(prefix).map_ok(move |file| this.timed(file)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        self.inner.list_with_offset(prefix, offset).map_ok(move |file| this.timed(file)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects = listed.objects.into_iter().map(|file| self.timed(file)).collect();
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.is_put(to);
        Ok(())
    }
}
