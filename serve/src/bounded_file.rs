//! Reads a file that somebody else may change at any time. Anything but a regular file is refused: opening a pipe waits
//! until somebody writes to it, a device may never end, and neither says how long it is.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Returns the content of a file; `None` if it has more than `bytes_max` bytes.
pub(super) fn read(file: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    // The check is on the open file, not on its name, which may lead elsewhere a moment later.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is a folder, a pipe or a device; give the name of a file"));
    }
    let (mut bytes, most) = (Vec::new(), u64::try_from(bytes_max).unwrap_or(u64::MAX));
    opened.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "four").expect("a disk");
        assert_eq!(read(&file, 4).expect("a disk"), Some(b"four".to_vec()));
        assert_eq!(read(&file, 3).expect("a disk"), None);
        assert_eq!(read(&folder.path().join("none"), 4).expect_err("it is not there").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_a_folder_or_a_device_is_refused_without_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        for file in [pipe.as_path(), folder.path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            let error = read(file, 4).expect_err("it is no file").to_string();
            assert!(error.contains("give the name of a file"), "{}: {error}", file.display());
        }
    }
}
