//! An in-memory object store for one writer: it takes encoded files, counts their bytes, and hands each out once.
//!
//! delta-rs writes into a store and does not say how many bytes it has written so far; this store does. It offers
//! nothing else.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::{BoxStream, StreamExt, once};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Files in memory, each in the chunks in which it came.
#[derive(Clone, Debug, Default)]
pub(super) struct FileChunks(Arc<State>);

#[derive(Debug, Default)]
struct State {
    files: Mutex<HashMap<Path, Vec<Bytes>>>,
    bytes: AtomicU64,
}

impl FileChunks {
    /// Returns how many bytes have come so far, over all files.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Takes a file out of the store.
    pub fn take(&self, path: &Path) -> Result<PutPayload> {
        let file = self.files().remove(path);
        let lacking = || Error::NotFound { path: path.to_string(), source: "it was not encoded".into() };
        file.map(PutPayload::from_iter).ok_or_else(lacking)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Path, Vec<Bytes>>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, payload: &PutPayload) {
        self.0.bytes.fetch_add(payload.content_length() as u64, Ordering::Relaxed);
    }
}

impl fmt::Display for FileChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("encoded files")
    }
}

#[async_trait]
impl ObjectStore for FileChunks {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.count(&payload);
        self.files().insert(location.clone(), payload.into_iter().collect());
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload { chunks: self.clone(), path: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> Result<GetResult> {
        Err(not_offered())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        once(ready(Err(not_offered()))).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        once(ready(Err(not_offered()))).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_offered())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_offered())
    }
}

fn not_offered() -> Error {
    Error::NotSupported { source: "encoded files are only put, and taken out".into() }
}

/// An upload in parts, collected until it is complete.
#[derive(Debug)]
struct Upload {
    chunks: FileChunks,
    path: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.chunks.count(&part);
        self.parts.extend(part);
        Box::pin(ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.chunks.files().insert(self.path.clone(), std::mem::take(&mut self.parts));
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
