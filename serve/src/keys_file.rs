//! File of keys: read when a server starts, and again when it changes.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use lake_schemas::Code;
use lake_store::LakeError;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::bounded_file;
use super::keys::{BYTES_MAX, Keys, too_long};

/// Interval at which the file is checked: a removed key is refused a moment later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time after which a check that still runs is reported: a disk that does not answer revokes no key either.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Report of a check that takes too long.
const LATE: &str = "its disk does not answer";

impl Keys {
    /// Reads keys from a file.
    pub fn read(file: &Path) -> Result<Self, LakeError> {
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::Other => LakeError::Refused(Code::KeysFile.because(error.to_string())),
            _ => LakeError::store("the keys cannot be read", error),
        };
        Self::parse(&text_of(file).map_err(unread)?)
    }

    /// Follows the file of keys until told to stop: a change takes effect a second later. A file that is gone or wrong
    /// changes nothing, and is reported once. A file that is written while it is read is read again; a slow writer
    /// should write another file and rename it.
    pub fn follow<'a>(&'a self, file: &'a Path, stop: &'a CancellationToken) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // The first check always reads, since the file may have changed after the server read it.
            let (mut read, mut complaint) = (None, String::new());
            let mut ticks = interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let (at, known) = (file.to_owned(), if complaint.is_empty() { read } else { None });
                // A disk may take its time, and a server that stops does not wait for it.
                let mut looking = spawn_blocking(move || look(&at, known));
                let looked = async {
                    if let Ok(looked) = timeout(LOOK_LIMIT, &mut looking).await {
                        return looked;
                    }
                    self.refused.set(1);
                    complaint = LATE.to_owned();
                    tracing::error!(file = %file.display(), why = LATE, "the keys stay as they were");
                    looking.await
                };
                let Some(Ok(looked)) = stop.run_until_cancelled(looked).await else { continue };
                let taken = looked.map_err(|error| error.to_string()).and_then(|found| match found {
                    Some((found, text)) => self.replace(&text).map(|()| Some(found)).map_err(|error| error.to_string()),
                    None => Ok(None),
                });
                if !matches!(taken, Ok(None)) {
                    self.refused.set(taken.is_err().into());
                }
                match taken {
                    Ok(None) => {}
                    Ok(found) => {
                        if read.is_some() || !complaint.is_empty() {
                            tracing::info!(file = %file.display(), keys = ?self, "the keys were read again");
                        }
                        (read, complaint) = (found, String::new());
                    }
                    Err(why) if why != complaint => {
                        tracing::error!(file = %file.display(), why, "the keys stay as they were");
                        complaint = why;
                    }
                    Err(_) => {}
                }
            }
        })
    }
}

/// Time and length of a file, by which a change to it is noticed.
type Written = (SystemTime, u64);

fn written(file: &Path) -> io::Result<Written> {
    let there = fs::metadata(file)?;
    Ok((there.modified()?, there.len()))
}

/// Returns the content of a file; `None` if it was read already, or is being written.
fn look(file: &Path, known: Option<Written>) -> io::Result<Option<(Written, String)>> {
    let found = written(file)?;
    if known == Some(found) {
        return Ok(None);
    }
    let text = text_of(file)?;
    Ok((written(file)? == found).then_some((found, text)))
}

/// Reads the text of a file of keys.
fn text_of(file: &Path) -> io::Result<String> {
    let bytes = bounded_file::read(file, BYTES_MAX)?.ok_or_else(|| io::Error::other(too_long()))?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use query::RowAccess;

    use super::*;

    /// SHA-256 of "password", and of "secret".
    const PASSWORD: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    const SECRET: &str = "2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B";

    #[tokio::test]
    async fn a_file_that_changes_is_read_again() {
        let file = std::env::temp_dir().join(format!("clicklake-keys-{}", std::process::id()));
        fs::write(&file, format!("{PASSWORD} *")).expect("a disk");
        let keys = Keys::parse(&format!("{PASSWORD} spring")).expect("keys");
        let stop = CancellationToken::new();
        let until_all_is_seen = async |key: &str| {
            let is_read = async {
                while keys.access(key) != Some(RowAccess::All) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(LOOK_EVERY * 20, is_read).await.expect("it is read soon");
        };
        let change = async {
            // Only a later check finds what is written from here on.
            until_all_is_seen("password").await;
            fs::write(&file, format!("{SECRET} *\n")).expect("a disk");
            until_all_is_seen("secret").await;
            assert_eq!(keys.access("password"), None);
            stop.cancel();
        };
        tokio::join!(keys.follow(&file, &stop), change);
        fs::remove_file(file).expect("it is removed");
    }

    #[tokio::test]
    async fn a_file_that_was_none_for_a_while_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        let made = std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo");
        assert!(made.success());
        let (keys, stop) = (Keys::parse(&format!("{PASSWORD} spring")).expect("keys"), CancellationToken::new());
        let until = async |is_so: &dyn Fn() -> bool| {
            let is_so = async {
                while !is_so() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(LOOK_EVERY * 20, is_so).await.expect("it is seen soon");
        };
        let change = async {
            until(&|| keys.refused.get() == 1).await;
            assert!(keys.access("password").is_some(), "nothing was revoked");
            fs::remove_file(&file).expect("a disk");
            fs::write(&file, format!("{SECRET} *\n")).expect("a disk");
            until(&|| keys.access("secret").is_some() && keys.refused.get() == 0).await;
            assert_eq!(keys.access("password"), None);
            stop.cancel();
        };
        tokio::join!(keys.follow(&file, &stop), change);
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused_at_once() {
        for file in ["/dev/zero", "/dev"] {
            let said = Keys::read(Path::new(file)).expect_err("it is no file").to_string();
            assert!(said.contains("give the name of a file"), "{file}: {said}");
        }
    }
}
