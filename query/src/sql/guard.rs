//! Guards the lake: no SQL puts, replaces or deletes a file of the lake, by whatever path or link. A session reaches
//! each store only through a guard. `COPY` and external tables elsewhere pass.

use std::fmt;
use std::ops::Range;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::Result as SqlResult;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lake_schemas::Code;
use lake_store::locked::lock;
use lake_store::{Lake, LakeError};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

/// Schemes of addresses, other than the lake's own, under which a session knows stores of the lake.
const INTERNAL: [&str; 2] = ["clicklake", "delta-rs"];

/// Registry of the guarded stores of a session.
#[derive(Debug)]
pub(crate) struct Guards {
    /// Registry that records the requests to each store, for the shell.
    pub inner: Arc<InstrumentedObjectStoreRegistry>,
    /// The last write that was refused.
    pub refusal: Refusal,
    lake: Lake,
}

/// Reason of the last refused write. It is kept here because the code that writes may report a bug in place of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// Takes the reason: it is returned once.
    pub fn take(&self) -> Option<LakeError> {
        lock(&self.0).take().map(|why| LakeError::Refused(Code::ReadOnly.because(why)))
    }
}

impl Guards {
    /// Makes the guards of a lake.
    pub fn of(lake: &Lake) -> Self {
        let inner = Arc::new(InstrumentedObjectStoreRegistry::new());
        let guards = Self { inner, refusal: Refusal::default(), lake: lake.clone() };
        // DataFusion's own store of local files has no guard, so this one takes its place.
        if let Ok(files) = Url::parse("file:///") {
            guards.put(&files, Arc::new(LocalFileSystem::new()));
        }
        guards
    }

    fn put(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let place = LakePath::in_store(&self.lake, url);
        let guarded = Guarded { inner: store, guard: Guard { place, refusal: self.refusal.clone() } };
        self.inner.register_store(url, Arc::new(guarded))
    }
}

impl ObjectStoreRegistry for Guards {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        // The store through which the lake is read stays, whatever else a statement asks of its bucket.
        let is_the_lakes = LakePath::in_store(&self.lake, url) != LakePath::Elsewhere;
        if is_the_lakes && self.inner.get_store(url).is_ok() { None } else { self.put(url, store) }
    }

    fn deregister_store(&self, url: &Url) -> SqlResult<Arc<dyn ObjectStore>> {
        self.inner.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> SqlResult<Arc<dyn ObjectStore>> {
        self.inner.get_store(url)
    }
}

/// Place of the lake in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LakePath {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix of a bucket.
    Prefix(Path),
    /// The lake is not in this store.
    Elsewhere,
}

impl LakePath {
    fn in_store(lake: &Lake, store: &Url) -> Self {
        if INTERNAL.contains(&store.scheme()) {
            return Self::Prefix(Path::default());
        }
        if let Some(folder) = lake.folder() {
            return if store.scheme() == "file" { Self::Folder(resolved(folder)) } else { Self::Elsewhere };
        }
        let lake = lake.url();
        let scheme = |url: &Url| url.scheme().trim_end_matches('a').to_owned();
        if scheme(lake) != scheme(store) || lake.host_str() != store.host_str() {
            return Self::Elsewhere;
        }
        Path::from_url_path(lake.path()).map_or(Self::Elsewhere, Self::Prefix)
    }

    fn holds(&self, location: &Path) -> bool {
        match self {
            Self::Folder(folder) => resolved(&FilePath::new("/").join(location.as_ref())).starts_with(folder),
            Self::Prefix(prefix) => location.prefix_matches(prefix),
            Self::Elsewhere => false,
        }
    }
}

/// Decides on writes to a store.
#[derive(Clone, Debug)]
struct Guard {
    place: LakePath,
    refusal: Refusal,
}

impl Guard {
    /// Lets a write pass, unless it is into the lake.
    fn pass(&self, location: &Path) -> Result<()> {
        if !self.place.holds(location) {
            return Ok(());
        }
        // The store of this machine names its files without the root.
        let root = if matches!(self.place, LakePath::Folder(_)) { "/" } else { "" };
        let why = format!("{root}{location} lies in the lake, which SQL reads and does not write; name another place");
        *lock(&self.refusal.0) = Some(why.clone());
        Err(Error::Generic { store: "lake", source: Box::new(LakeError::Refused(Code::ReadOnly.because(why))) })
    }
}

/// Resolves links and steps back in an absolute path, as far as the path exists.
pub(super) fn resolved(path: &FilePath) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut found, part| match part {
        Component::CurDir => found,
        Component::ParentDir => {
            found.pop();
            found
        }
        _ => {
            found.push(part);
            found.canonicalize().unwrap_or(found)
        }
    })
}

/// Returns whether a file of this machine would lie in the lake, whatever links lead there.
pub(crate) fn is_in_lake(lake: &Lake, file: &FilePath) -> bool {
    let Some(folder) = lake.folder() else { return false };
    std::path::absolute(file).is_ok_and(|file| resolved(&file).starts_with(resolved(folder)))
}

/// A store in which the lake is read, and never written.
#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn ObjectStore>,
    guard: Guard,
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.guard.pass(location)?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.guard.pass(location)?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let guard = self.guard.clone();
        let passed =
            locations.and_then(move |location| futures::future::ready(guard.pass(&location).map(|()| location)));
        self.inner.delete_stream(passed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.guard.pass(to)?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("an address")
    }

    #[test]
    fn a_bucket_is_guarded_under_its_prefix() {
        let in_store = |lake: &str, store: &str| LakePath::in_store(&Lake::at(lake).expect("a lake"), &url(store));
        let place = in_store("s3://bucket/some/lake", "s3://bucket");
        assert!(place.holds(&Path::from("some/lake/clicks/a.parquet")) && !place.holds(&Path::from("some/lakes/a")));
        assert_eq!(in_store("s3://bucket/lake", "s3://other"), LakePath::Elsewhere);
        assert!(in_store("s3a://bucket", "s3://bucket").holds(&Path::from("any")));
    }

    #[test]
    fn a_folder_is_guarded_whatever_leads_there() {
        let folder = std::env::temp_dir().join("clicklake-guard 50%25 #1?");
        let (lake, link) = (folder.join("lake"), folder.join("link"));
        std::fs::create_dir_all(&lake).expect("a folder");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&lake, &link).expect("a link");
        let place = LakePath::in_store(&Lake::at(lake.to_str().expect("UTF-8")).expect("a lake"), &url("file:///"));
        let at = |path: PathBuf| Path::from_absolute_path(path).expect("a path");
        assert!(place.holds(&at(lake.join("clicks/new/a.parquet"))) && place.holds(&at(link.join("a.csv"))));
        assert!(!place.holds(&at(folder.join("a.csv"))) && !place.holds(&at(folder.join("lake2/a.csv"))));
        assert_eq!(resolved(&link.join("../new/./../lake")), resolved(&lake), "a step back from where the link leads");
        let (guard, into) = (Guard { place, refusal: Refusal::default() }, lake.join("a.csv"));
        assert!(guard.pass(&at(into.clone())).is_err());
        let why = guard.refusal.take().expect("a reason").to_string();
        assert!(why.starts_with(&format!("{} lies in the lake", into.display())), "{why}");
        std::fs::remove_dir_all(folder).expect("it is removed");
    }
}
