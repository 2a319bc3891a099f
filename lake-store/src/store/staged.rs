//! A file that is being written, under a name that nobody takes for data.
//!
//! The name is that of the file with `#` and a number behind it: `object_store` lists no such name, and readers of
//! Delta tables know neither a log entry nor a data file by it. A crash may leave one behind; it is a few bytes to
//! megabytes that nothing refers to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A file under a name of its own, removed unless it is [given another](Staged::rename).
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Staged {
    /// A new, empty file beside `target`, whose folder must be there.
    pub fn beside(target: &Path) -> io::Result<Self> {
        for number in 1.. {
            let path = numbered(target, number);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file, is_renamed: false }),
                // Of another that is being written, or that a crash has left.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("there is a number that no file has")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it the name of `target`, in the place of what has it.
    pub fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }

    /// Gives it the name of `target`, unless something has it: then the error is [`ErrorKind::AlreadyExists`].
    pub fn link(self, target: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_renamed {
            // What cannot be removed is left as after a crash.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The name of a file with a number behind it.
pub(super) fn numbered(target: &Path, number: u64) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(format!("#{number}"));
    path.into()
}
