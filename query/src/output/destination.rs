//! Destination of a result: standard output, or a file that takes its name only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use lake_store::Lake;

use super::visible::visible_lines;
use crate::sql::is_in_lake;

/// Destination of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Standard output of the process.
    #[default]
    Standard,
    /// The file at a path; it replaces an existing one.
    File(PathBuf),
}

impl Destination {
    /// Returns whether the destination is a terminal, at which somebody looks.
    pub fn is_terminal(&self) -> bool {
        *self == Self::Standard && io::stdout().is_terminal()
    }

    /// Opens the destination for a result read from a lake. Refuses a file inside the lake, which is only read. Errors
    /// name the destination.
    pub fn open(&self, lake: &Lake) -> io::Result<Opened> {
        match self {
            Self::Standard => Ok(Opened::standard()),
            Self::File(path) if is_in_lake(lake, path) => {
                let why = format!("{} lies in the lake, which is only read; name another place", path.display());
                Err(io::Error::new(ErrorKind::PermissionDenied, why))
            }
            Self::File(path) => Opened::file(path),
        }
    }
}

/// A result that is being written. A file takes its name when it is finished; an unfinished one is removed.
#[derive(Debug)]
pub enum Opened {
    /// Standard output that is no terminal.
    Standard,
    /// A terminal: control characters are shown as escapes.
    Terminal {
        /// Bytes of a character that is not complete yet.
        pending: Vec<u8>,
    },
    /// A file that is written beside its final place first.
    File(Box<Written>),
}

/// A file that is being written.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    /// Path of the file until it is complete; `None`: it is written in place, because it is a pipe or a device.
    beside: Option<PathBuf>,
    file: BufWriter<File>,
}

impl Opened {
    /// Opens standard output, which escapes control characters if it is a terminal.
    pub fn standard() -> Self {
        if Destination::Standard.is_terminal() { Self::Terminal { pending: Vec::new() } } else { Self::Standard }
    }

    fn file(path: &Path) -> io::Result<Self> {
        let is_special = fs::metadata(path).is_ok_and(|there| !there.is_file());
        // A symbolic link stays: the file that it leads to is replaced.
        let real = if is_special { None } else { fs::canonicalize(path).ok() };
        let path = real.unwrap_or_else(|| path.to_owned());
        let beside = (!is_special).then(|| beside(&path));
        let file = match &beside {
            Some(beside) => create_beside(beside, &path),
            None => File::options().write(true).open(&path),
        };
        let file = BufWriter::new(file.map_err(|error| named(&path.display().to_string(), &error))?);
        Ok(Self::File(Box::new(Written { path, beside, file })))
    }

    /// Finishes a result once all of it is written, and lets it replace an existing file.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let Self::File(written) = &mut self else { return Ok(()) };
        if written.beside.is_some() {
            // Some file systems report only now that they are full.
            let kept = written.file.get_ref().sync_all();
            kept.map_err(|error| named(&written.path.display().to_string(), &error))?;
        }
        if let Some(beside) = written.beside.take() {
            let renamed = fs::rename(&beside, &written.path);
            if renamed.is_err() {
                let _ = fs::remove_file(&beside);
            }
            renamed.map_err(|error| named(&written.path.display().to_string(), &error))?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Self::Standard | Self::Terminal { .. } => "standard output".to_owned(),
            Self::File(written) => written.path.display().to_string(),
        }
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => io::stdout().write_all(bytes),
            Self::Terminal { pending } => {
                pending.extend_from_slice(bytes);
                let whole = match std::str::from_utf8(pending) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => pending.len(),
                };
                let text: Vec<u8> = pending.drain(..whole).collect();
                io::stdout().write_all(visible_lines(&String::from_utf8_lossy(&text)).as_bytes())
            }
            Self::File(written) => written.file.write_all(bytes),
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // A remainder of the file harms nobody, so an error here is ignored.
            let _ = fs::remove_file(beside);
        }
    }
}

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_bytes(bytes);
        written.map(|()| bytes.len()).map_err(|error| named(&self.name(), &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match self {
            Self::Standard | Self::Terminal { .. } => io::stdout().flush(),
            Self::File(written) => written.file.flush(),
        };
        flushed.map_err(|error| named(&self.name(), &error))
    }
}

/// Returns a path in the same folder, so that renaming the file to its final name is atomic. The name has this
/// process's id, so that no other process writes there.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Creates that file, with the mode of the one that it will replace: who may read a result does not change. What
/// another process with the same id has left there is removed; and where anyone may create files, a link that somebody
/// has put there is not followed.
fn create_beside(beside: &Path, replaced: &Path) -> io::Result<File> {
    let _ = fs::remove_file(beside);
    let file = File::create_new(beside)?;
    let Ok(before) = fs::metadata(replaced) else { return Ok(file) };
    // Some file systems have one mode for all files, and let nobody set it.
    let is_kept = file.metadata().is_ok_and(|now| now.permissions() == before.permissions());
    if !is_kept && let Err(error) = file.set_permissions(before.permissions()) {
        let _ = fs::remove_file(beside);
        return Err(error);
    }
    Ok(file)
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns a lake that has none of the files in it.
    fn elsewhere() -> Lake {
        Lake::at("/clicklake-none/lake").expect("a lake")
    }

    #[test]
    fn no_file_of_the_lake_is_a_destination_whatever_leads_there() {
        let folder = std::env::temp_dir().join(format!("clicklake-output-lake-{}", std::process::id()));
        let log = folder.join("lake/clicks/_delta_log");
        fs::create_dir_all(&log).expect("a folder");
        let entry = log.join("00000000000000000000.json");
        fs::write(&entry, "before").expect("a disk");
        let link = |to: &Path, name: &str| {
            let link = folder.join(name);
            std::os::unix::fs::symlink(to, &link).expect("a link");
            link
        };
        let (to_log, to_entry) = (link(&log, "log"), link(&entry, "entry.json"));
        let lake = Lake::at(folder.join("lake").to_str().expect("UTF-8")).expect("a lake");
        for path in [
            entry.clone(),
            log.join("00000000000000000099.json"),
            folder.join("lake/new.csv"),
            folder.join("lake/new/../clicks/a.csv"),
            to_log.join("00000000000000000099.json"),
            to_log.join("../a.csv"),
            to_entry,
        ] {
            let refused = Destination::File(path.clone()).open(&lake).expect_err("it is in the lake").to_string();
            assert!(refused.starts_with(&format!("{} lies in the lake", path.display())), "{refused}");
        }
        assert_eq!(fs::read_to_string(&entry).expect("a file"), "before");
        assert_eq!(fs::read_dir(&log).expect("a folder").count(), 1, "nothing is left beside it");
        for path in [folder.join("lake.csv"), folder.join("lake/../a.csv")] {
            drop(Destination::File(path).open(&lake).expect("it is beside the lake"));
        }
        fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("clicklake-output-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("report.csv");
        fs::write(&path, "before").expect("a disk");
        let to = Destination::File(path.clone());
        let mut left = to.open(&elsewhere()).expect("a file");
        left.write_all(b"half").expect("a disk");
        drop(left);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "before");
        let mut whole = to.open(&elsewhere()).expect("a file");
        whole.write_all(b"after").expect("a disk");
        whole.finish().expect("a disk");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "after");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1, "nothing is left beside it");
        let lost =
            Destination::File(folder.join("none/report.csv")).open(&elsewhere()).expect_err("there is no such folder");
        assert!(lost.to_string().contains("none/report.csv: "), "{lost}");
        fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn who_may_read_a_file_may_read_what_replaces_it_and_nobody_else() {
        let folder = std::env::temp_dir().join(format!("clicklake-mode-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("report.csv");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        for expected in [0o600, 0o664, 0o440] {
            fs::write(&path, "before").expect("a disk");
            fs::set_permissions(&path, Permissions::from_mode(expected)).expect("it is ours");
            let mut to = Destination::File(path.clone()).open(&elsewhere()).expect("a file");
            let written = fs::read_dir(&folder).expect("a folder").map(|file| mode(&file.expect("a file").path()));
            assert_eq!(written.collect::<Vec<_>>(), [expected; 2], "from the start on");
            to.write_all(b"after").expect("a disk");
            to.finish().expect("a disk");
            assert_eq!((fs::read_to_string(&path).expect("a file").as_str(), mode(&path)), ("after", expected));
            fs::remove_file(&path).expect("it is ours");
        }
        fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = std::env::temp_dir().join(format!("clicklake-link-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (file, link) = (folder.join("report.csv"), folder.join("newest.csv"));
        fs::write(&file, "before").expect("a disk");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        let mut to = Destination::File(link.clone()).open(&elsewhere()).expect("a file");
        to.write_all(b"after").expect("a disk");
        to.finish().expect("a disk");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "after");
        assert!(fs::symlink_metadata(&link).is_ok_and(|link| link.is_symlink()), "it leads there");
        fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn a_full_device_is_an_error_that_names_it() {
        let mut full = Destination::File("/dev/full".into()).open(&elsewhere()).expect("it can be opened");
        let failed = full.write_all(b"lost").and_then(|()| full.flush()).expect_err("it is full");
        assert!(failed.to_string().starts_with("/dev/full: "), "{failed}");
    }
}
