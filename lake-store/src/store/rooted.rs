//! The store of a lake, rooted at the lake: its tables are its top-level folders, wherever it is.
//!
//! The place of a lake must not matter to code that works in it. delta-rs and its kernel know files by URLs, and
//! encode, decode and join these in many places; a percent sign, a blank or a question mark in the name of a folder
//! above the lake may come out as another name. So they see no folder above it: to them the lake is the root of a store
//! of its own, and all names in it are ours.
//!
//! A folder of this machine need not exist: reading it then finds nothing, and the first put makes it.
//!
//! Listings from an offset come in the order of names, as the kernel expects of every store except the file system's
//! own. A store that lists in that order is asked for no more than the caller takes: of a long log, one page.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use url::Url;

use super::durable::DurableFileSystem;

/// The store of one lake.
#[derive(Debug)]
pub(crate) struct LakeStore(Root);

/// Root of the store.
#[derive(Debug)]
enum Root {
    /// A folder of this machine.
    Folder(Folder),
    /// A prefix of another store, which lists in this order.
    Prefix(PrefixStore<Arc<dyn ObjectStore>>, Order),
}

/// Order in which a store lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order of the names.
    OfNames,
    /// An order of the store's own.
    Own,
}

impl Order {
    /// Determines the order in which the store at an address lists names. Folders and S3 directory buckets list in an
    /// order of their own; all other stores list by name, as S3 does for general purpose buckets.
    pub fn at(url: &Url) -> Self {
        let is_of_directories = |host: &str| host.contains("--x-s3") || host.contains("-xa-s3");
        let is_own = url.scheme() == "file" || url.host_str().is_some_and(is_of_directories);
        if is_own { Self::Own } else { Self::OfNames }
    }
}

/// A folder of this machine, and its files once it exists.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    files: OnceLock<DurableFileSystem>,
}

impl LakeStore {
    /// Makes the store over a folder of this machine, by its absolute path.
    pub fn in_folder(path: &FilePath) -> Self {
        Self(Root::Folder(Folder { path: path.to_owned(), files: OnceLock::new() }))
    }

    /// Makes the store over everything below a prefix of another store, which lists in this order.
    pub fn under(store: Arc<dyn ObjectStore>, prefix: Path, order: Order) -> Self {
        Self(Root::Prefix(PrefixStore::new(store, prefix), order))
    }

    /// Returns the order in which the underlying store lists.
    fn order(&self) -> Order {
        match &self.0 {
            Root::Prefix(_, order) => *order,
            Root::Folder(_) => Order::Own,
        }
    }

    /// Returns the store to read from; `None` while there is nothing to read.
    fn to_read(&self) -> Result<Option<&dyn ObjectStore>> {
        match &self.0 {
            Root::Prefix(store, _) => Ok(Some(store)),
            Root::Folder(folder) => Ok(folder.open()?.map(|files| files as &dyn ObjectStore)),
        }
    }

    /// Returns the store to read a name from. While there is nothing to read, the error says that the name is not
    /// found.
    fn to_read_at(&self, location: &Path) -> Result<&dyn ObjectStore> {
        self.to_read()?.ok_or_else(|| not_found(location))
    }

    /// Returns the store to write to.
    fn to_write(&self) -> Result<&dyn ObjectStore> {
        match &self.0 {
            Root::Prefix(store, _) => Ok(store),
            Root::Folder(folder) => Ok(folder.make()?),
        }
    }
}

impl Folder {
    /// Opens the folder's files; `None` while the folder does not exist.
    fn open(&self) -> Result<Option<&DurableFileSystem>> {
        if let Some(files) = self.files.get() {
            return Ok(Some(files));
        }
        match self.path.canonicalize() {
            // A path through something that is no folder leads to nothing either.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(self.failed(error)),
            // `object_store` panics on a path that is not UTF-8.
            Ok(path) if path.to_str().is_none() => Err(self.failed(ErrorKind::InvalidFilename.into())),
            Ok(path) => {
                let files = DurableFileSystem::in_folder(&path)?;
                Ok(Some(self.files.get_or_init(|| files)))
            }
        }
    }

    /// Opens the folder's files, and makes the folder first if it does not exist.
    fn make(&self) -> Result<&DurableFileSystem> {
        if let Some(files) = self.open()? {
            return Ok(files);
        }
        std::fs::create_dir_all(&self.path).map_err(|error| self.failed(error))?;
        self.open()?.ok_or_else(|| self.failed(ErrorKind::NotFound.into()))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let source = format!("{}: {error}", self.path.display());
        Error::Generic { store: "folder", source: source.into() }
    }
}

fn not_found(location: &Path) -> Error {
    let source = "the lake's folder is not there".into();
    Error::NotFound { path: location.to_string(), source }
}

impl fmt::Display for LakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Root::Folder(folder) => write!(f, "{}", folder.path.display()),
            Root::Prefix(store, _) => store.fmt(f),
        }
    }
}

#[async_trait]
impl ObjectStore for LakeStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.to_write()?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.to_write()?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.to_read_at(location)?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.to_read_at(location)?.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.to_read() {
            Ok(Some(store)) => store.delete_stream(locations),
            Ok(None) => locations.map(|location| location.and_then(|location| Err(not_found(&location)))).boxed(),
            Err(error) => failing(error),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.to_read() {
            Ok(Some(store)) => store.list(prefix),
            Ok(None) => stream::empty().boxed(),
            Err(error) => failing(error),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = match self.to_read() {
            Ok(Some(store)) => store.list_with_offset(prefix, offset),
            Ok(None) => return stream::empty().boxed(),
            Err(error) => return failing(error),
        };
        match self.order() {
            Order::OfNames => checked(listed),
            Order::Own => sorted(listed),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.to_read()? {
            Some(store) => store.list_with_delimiter(prefix).await,
            None => Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() }),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.to_read_at(from)?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.to_read_at(from)?.rename_opts(from, to, options).await
    }
}

/// Sorts a listing by name. All of it is read before the first item comes out.
fn sorted(listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let sorted = listed.try_collect::<Vec<_>>().map(|listed| {
        let mut listed = listed?;
        listed.sort_unstable_by(|one, other| one.location.cmp(&other.location));
        Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
    });
    sorted.try_flatten_stream().boxed()
}

/// Passes on a listing by name, and checks its order. A reader stops behind the last name that it wants, so a store
/// with another order would make it miss some.
fn checked(listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let mut last: Option<Path> = None;
    let checked = listed.map(move |file| {
        let file = file?;
        if last.as_ref().is_some_and(|last| *last >= file.location) {
            return Err(out_of_order(&file.location));
        }
        last = Some(file.location.clone());
        Ok(file)
    });
    // The kernel polls again after the end, which not every stream allows.
    checked.fuse().boxed()
}

fn out_of_order(location: &Path) -> Error {
    let source =
        format!("it lists {location} after names behind it; a lake needs a store that lists in order of names");
    Error::Generic { store: "lake", source: source.into() }
}

fn failing<T: Send + 'static>(error: Error) -> BoxStream<'static, Result<T>> {
    stream::once(futures::future::ready(Err(error))).boxed()
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_empty_and_made_by_the_first_that_is_put() {
        let own = tempfile::tempdir().expect("a folder");
        let folder = own.path().join("50%25 #1?").join("lake");
        let (store, at) = (LakeStore::in_folder(&folder), Path::from("clicks/a"));
        assert!(matches!(store.get(&at).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.delete(&at).await, Err(Error::NotFound { .. })));
        assert!(store.list(None).next().await.is_none());
        assert!(store.list_with_delimiter(None).await.expect("nothing").common_prefixes.is_empty());
        assert!(!folder.exists(), "who only reads makes nothing");
        store.put(&at, "x".into()).await.expect("a disk");
        assert_eq!(std::fs::read(folder.join("clicks/a")).expect("a file"), b"x");
        assert_eq!(store.get(&at).await.expect("a file").bytes().await.expect("a disk"), "x");
    }

    #[tokio::test]
    async fn below_a_file_there_is_nothing_and_nothing_can_be_put() {
        let own = tempfile::tempdir().expect("a folder");
        std::fs::write(own.path().join("file"), "x").expect("a file");
        let store = LakeStore::in_folder(&own.path().join("file/lake"));
        assert!(store.list(None).next().await.is_none());
        let error = store.put(&Path::from("a"), "x".into()).await.expect_err("no folder").to_string();
        assert!(error.contains("file/lake"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_to_what_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStrExt;
        let own = tempfile::tempdir().expect("a folder");
        let (folder, link) = (own.path().join(std::ffi::OsStr::from_bytes(b"\xff")), own.path().join("link"));
        std::fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        let error =
            LakeStore::in_folder(&link).put(&Path::from("a"), "x".into()).await.expect_err("no text").to_string();
        assert!(error.contains("link"), "{error}");
    }

    #[tokio::test]
    async fn listings_that_begin_at_a_name_come_in_order() {
        let own = tempfile::tempdir().expect("a folder");
        let under = |order| LakeStore::under(Arc::new(InMemory::new()), Path::from("some/lake"), order);
        for store in [LakeStore::in_folder(own.path()), under(Order::OfNames), under(Order::Own)] {
            let names: Vec<_> = (0..40).map(|number| format!("log/{:03}", number * 37 % 101)).collect();
            for name in &names {
                store.put(&Path::from(name.as_str()), "x".into()).await.expect("a disk");
            }
            let listed = store.list_with_offset(Some(&Path::from("log")), &Path::from("log/020"));
            let listed: Vec<_> = listed.map_ok(|file| file.location.to_string()).try_collect().await.expect("a disk");
            let mut expected: Vec<_> = names.into_iter().filter(|name| name.as_str() > "log/020").collect();
            expected.sort_unstable();
            assert_eq!(listed, expected);
        }
    }

    fn object(name: &str) -> ObjectMeta {
        let last_modified = chrono::DateTime::UNIX_EPOCH;
        ObjectMeta { location: Path::from(name), last_modified, size: 0, e_tag: None, version: None }
    }

    #[tokio::test]
    async fn an_ordered_listing_is_read_only_as_far_as_it_is_taken() {
        let endless = stream::iter(0..).map(|number| match number {
            ..3 => Ok(object(&format!("log/{number}"))),
            _ => panic!("nobody has asked for it"),
        });
        let taken: Vec<_> = checked(endless.boxed()).take(3).try_collect().await.expect("names");
        assert_eq!(taken.last().map(|file| file.location.as_ref()), Some("log/2"));
    }

    #[tokio::test]
    async fn a_store_that_does_not_list_in_the_order_it_is_said_to_is_found_out() {
        let listed = ["log/1", "log/3", "log/2"].map(|name| Ok(object(name)));
        let listed: Result<Vec<_>> = checked(stream::iter(listed).boxed()).try_collect().await;
        let error = listed.expect_err("out of order").to_string();
        assert!(error.contains("log/2"), "{error}");
    }

    #[test]
    fn the_address_tells_which_stores_list_in_the_order_of_names() {
        for (url, order) in [
            ("s3://clicks/lake", Order::OfNames),
            ("memory:///lake", Order::OfNames),
            ("file:///tmp/lake", Order::Own),
            ("s3://clicks--use1-az4--x-s3/lake", Order::Own),
            ("s3://clicks--use1-az4-xa-s3/lake", Order::Own),
        ] {
            assert_eq!(Order::at(&Url::parse(url).expect(url)), order, "{url}");
        }
    }
}
