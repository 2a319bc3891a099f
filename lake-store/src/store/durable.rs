//! A folder of this machine as an object store whose writes outlast a power loss.
//!
//! `object_store`'s own file system writes and renames, and leaves it to the operating system when that reaches the
//! disk: after a power loss a log entry may be there that names empty files. Here a write is done only when it is on
//! the disk:
//!
//! ```text
//!   missing folders made, each synced into the one above
//!     └─> staged file written ──> synced ──> named ──> its folder synced ──> done
//! ```
//!
//! So a file that has its name is whole, and a commit, which is put after the files that it names, never names a file
//! that a power loss can take. This relies on a disk that does not lose what it reported as written, and on a file
//! system that keeps the order of its own operations within one folder.
//!
//! Reads, lists and deletes are those of `object_store`: a file that comes back after a power loss is deleted again.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UpdateVersion, UploadPart,
};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::staged::{Staged, numbered};
use crate::locked;

/// Syncs files and folders to the disk.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Syncs the content of a file.
    fn sync_file(&self, path: &FilePath, file: &File) -> io::Result<()>;

    /// Syncs the names in a folder.
    fn sync_folder(&self, folder: &FilePath) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn sync_file(&self, _: &FilePath, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, folder: &FilePath) -> io::Result<()> {
        match File::open(folder)?.sync_all() {
            // Some network file systems cannot sync a folder, and make a name durable when they give it.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            done => done,
        }
    }
}

/// The file system of this machine, from its root on.
#[derive(Clone, Debug)]
pub struct DurableFileSystem {
    inner: LocalFileSystem,
    disk: Arc<dyn Disk>,
    /// Folders that are known to outlast a power loss themselves.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

/// An error of the system, with the file and the action that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Adds the file and the action to an error of the system.
trait Doing<T> {
    fn doing(self, doing: &'static str, path: &FilePath) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &FilePath) -> Result<T> {
        self.map_err(|source| {
            let (kind, name) = (source.kind(), path.display().to_string());
            let source = Box::new(FileError { doing, path: path.to_owned(), source });
            match kind {
                ErrorKind::NotFound => Error::NotFound { path: name, source },
                ErrorKind::AlreadyExists => Error::AlreadyExists { path: name, source },
                _ => Error::Generic { store: STORE, source },
            }
        })
    }
}

/// Name of this store in errors.
const STORE: &str = "DurableFileSystem";

/// Number behind a file's name that makes the name of its lock.
const LOCK: u64 = 0;

impl DurableFileSystem {
    /// Makes the file system on the disk of this machine.
    pub fn new() -> Self {
        Self::on(Arc::new(SystemDisk))
    }

    /// Makes the file system on a disk that the caller made.
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self { inner: LocalFileSystem::new(), disk, known: Arc::default() }
    }

    /// Makes a file system rooted at a folder of this machine, which must be there.
    pub fn in_folder(folder: &FilePath) -> Result<Self> {
        Ok(Self { inner: LocalFileSystem::new_with_prefix(folder)?, ..Self::new() })
    }

    /// Makes a new file beside its target, in a folder that outlasts a power loss.
    fn stage(&self, target: &FilePath) -> Result<Staged> {
        let Some(folder) = target.parent() else {
            return Err(io::Error::from(ErrorKind::InvalidInput)).doing("writing", target);
        };
        match Staged::beside(target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(folder)?;
                Staged::beside(target).doing("writing", target)
            }
            staged => {
                let staged = staged.doing("writing", target)?;
                self.settle(folder)?;
                Ok(staged)
            }
        }
    }

    /// Makes a folder, and those above it that are missing.
    fn make(&self, folder: &FilePath) -> Result<()> {
        let Some(above) = folder.parent() else { return Ok(()) };
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(above)?;
                if let Err(error) = fs::create_dir(folder)
                    && error.kind() != ErrorKind::AlreadyExists
                {
                    return Err(error).doing("making the folder", folder);
                }
            }
            Err(error) => return Err(error).doing("making the folder", folder),
        }
        self.disk.sync_folder(above).doing("syncing the folder", above)?;
        self.settle(folder)
    }

    /// Syncs the names of a folder and those above it: whoever made them may not have synced them yet.
    fn settle(&self, folder: &FilePath) -> Result<()> {
        let is_known = |folder: &FilePath| self.known().contains(folder);
        for folder in folder.ancestors().take_while(|folder| !is_known(folder)) {
            if let Some(above) = folder.parent() {
                match self.disk.sync_folder(above) {
                    // A folder that cannot be opened is none of ours: nobody makes folders where nobody may look.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                    done => done.doing("syncing the folder", above)?,
                }
            }
        }
        self.known().extend(folder.ancestors().map(FilePath::to_owned));
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        locked::lock(&self.known)
    }

    /// Writes a whole file, in the way that the mode demands.
    fn write(&self, target: &FilePath, payload: &PutPayload, mode: &PutMode) -> Result<PutResult> {
        if *mode == PutMode::Create && target.exists() {
            return Err(io::Error::from(ErrorKind::AlreadyExists)).doing("writing", target);
        }
        let staged = self.stage(target)?;
        payload.iter().try_for_each(|bytes| staged.file().write_all(bytes)).doing("writing", target)?;
        match mode {
            PutMode::Update(expected) => {
                let _lock = lock(target)?;
                is_still(target, expected)?;
                self.publish(staged, target, &PutMode::Overwrite)
            }
            mode => self.publish(staged, target, mode),
        }
    }

    /// Gives a staged file its name, once its content is on the disk.
    fn publish(&self, staged: Staged, target: &FilePath, mode: &PutMode) -> Result<PutResult> {
        // Content first, then the name, then the folder that has the name: a power loss in between leaves no name at
        // all, or one whose content is whole.
        self.disk.sync_file(staged.path(), staged.file()).doing("syncing", target)?;
        let metadata = staged.file().metadata().doing("looking at", target)?;
        let named = if *mode == PutMode::Create { staged.link(target) } else { staged.rename(target) };
        named.doing("naming", target)?;
        if let Some(folder) = target.parent() {
            self.disk.sync_folder(folder).doing("syncing the folder", folder)?;
        }
        Ok(PutResult { e_tag: Some(e_tag(&metadata)), version: None })
    }

    /// Writes a new file with the content of another. A hard link would have the age of the other file, and clean-up
    /// would take it for forgotten.
    fn copy_file(&self, source: &FilePath, target: &FilePath, mode: &PutMode) -> Result<()> {
        let mut content = File::open(source).doing("opening", source)?;
        let staged = self.stage(target)?;
        io::copy(&mut content, &mut staged.file()).doing("copying into", target)?;
        self.publish(staged, target, mode).map(|_| ())
    }
}

impl Default for DurableFileSystem {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits until nobody else updates a file, in this process or another.
fn lock(target: &FilePath) -> Result<File> {
    let path = numbered(target, LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).doing("locking", &path)?;
    file.lock().doing("locking", &path)?;
    Ok(file)
}

/// Refuses to go on if a file has changed since `expected`.
fn is_still(target: &FilePath, expected: &UpdateVersion) -> Result<()> {
    let found = fs::metadata(target).ok().map(|metadata| e_tag(&metadata));
    if found.is_some() && found == expected.e_tag {
        return Ok(());
    }
    let source = format!("{} is not what it was", target.display()).into();
    Err(Error::Precondition { path: target.display().to_string(), source })
}

/// Returns the tag that tells one content of a file from another, in the way `object_store` makes it.
fn e_tag(metadata: &Metadata) -> String {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0_u64;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{inode:x}-{:x}-{:x}", modified.unwrap_or_default().as_micros(), metadata.len())
}

/// Runs blocking work on a thread for it, or here if there is no runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if Handle::try_current().is_err() { work() } else { spawn_blocking(work).await? }
}

impl fmt::Display for DurableFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DurableFileSystem {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !options.attributes.is_empty() {
            // The inner store refuses attributes, in its own words.
            return self.inner.put_opts(location, payload, options).await;
        }
        let (this, target) = (self.clone(), self.inner.path_to_filesystem(location)?);
        blocking(move || this.write(&target, &payload, &options.mode)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return self.inner.put_multipart_opts(location, options).await;
        }
        let (this, target) = (self.clone(), self.inner.path_to_filesystem(location)?);
        let upload = blocking(move || {
            let staged = Arc::new(Mutex::new(Some(this.stage(&target)?)));
            Ok(Upload { store: this, target, staged, offset: 0 })
        });
        Ok(Box::new(upload.await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
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
        let (source, target) = (self.inner.path_to_filesystem(from)?, self.inner.path_to_filesystem(to)?);
        let mode = if options.mode == CopyMode::Create { PutMode::Create } else { PutMode::Overwrite };
        let this = self.clone();
        blocking(move || this.copy_file(&source, &target, &mode)).await
    }
}

/// A file that is being written in parts.
#[derive(Debug)]
struct Upload {
    store: DurableFileSystem,
    target: PathBuf,
    /// Staged file, until the upload completes or is aborted.
    staged: Arc<Mutex<Option<Staged>>>,
    /// Offset in the file at which the next part begins.
    offset: u64,
}

impl Upload {
    fn take(staged: &Mutex<Option<Staged>>, target: &FilePath) -> Result<Staged> {
        let taken = locked::lock(staged).take();
        taken.ok_or_else(|| io::Error::other("the upload has ended")).doing("writing", target)
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (staged, target, offset) = (Arc::clone(&self.staged), self.target.clone(), self.offset);
        self.offset += payload.content_length() as u64;
        blocking(move || {
            let staged = locked::lock(&staged);
            let Some(staged) = staged.as_ref() else {
                return Err(io::Error::other("the upload has ended")).doing("writing", &target);
            };
            let mut file = staged.file();
            file.seek(SeekFrom::Start(offset)).doing("writing", &target)?;
            payload.iter().try_for_each(|bytes| file.write_all(bytes)).doing("writing", &target)
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (store, staged, target) = (self.store.clone(), Arc::clone(&self.staged), self.target.clone());
        blocking(move || store.publish(Self::take(&staged, &target)?, &target, &PutMode::Overwrite)).await
    }

    async fn abort(&mut self) -> Result<()> {
        let (staged, target) = (Arc::clone(&self.staged), self.target.clone());
        blocking(move || Self::take(&staged, &target).map(drop)).await
    }
}
