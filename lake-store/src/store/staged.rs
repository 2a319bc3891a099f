//! A file that is being written, under a name that nobody takes for data.
//!
//! The name is that of the target with `#` and a number behind it: `object_store` lists no such name, and readers of
//! Delta tables take it neither for a log entry nor for a data file. A crash may leave such a file behind: bytes to
//! megabytes that nothing refers to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A file under a temporary name, removed when dropped unless it is [renamed](Staged::rename).
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Staged {
    /// Makes a new, empty file beside `target`, whose folder must exist.
    pub fn beside(target: &Path) -> io::Result<Self> {
        for number in 1.. {
            let path = numbered(target, number);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file, is_renamed: false }),
                // Another writer has this name, or a crash has left it: try the next number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("there is a number that no file has")
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file the name of `target`, and replaces whatever has it.
    pub fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }

    /// Gives the file the name of `target`, unless something has it: then the error is [`ErrorKind::AlreadyExists`].
    pub fn link(self, target: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, target)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_renamed {
            // If removing fails, the file stays as after a crash.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the name of a file with a number behind it.
pub(super) fn numbered(target: &Path, number: u64) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(format!("#{number}"));
    path.into()
}
