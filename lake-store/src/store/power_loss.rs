//! Laws of a local lake whose machine loses its power: at any moment, what is on the disk is a lake, and holds all that
//! a commit was said to hold.
//!
//! The disk is a model: what was never synced is not there afterwards. Files have the content, and folders the names,
//! that they had when they were last synced.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use lake_schemas::{Code, Table};
use object_store::path::Path as StorePath;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use url::Url;

use super::{Disk, DurableFileSystem};
use crate::commit::{Commit, Move, Outcome, TableLog};
use crate::{Lake, LakeError, files};

/// A disk that keeps what was synced.
#[derive(Debug, Default)]
struct Model(Mutex<Synced>);

#[derive(Debug, Default)]
struct Synced {
    /// Names in folders, each with the inode number of the file or folder that has it.
    folders: HashMap<PathBuf, BTreeMap<String, u64>>,
    /// Contents of files, by inode number.
    files: HashMap<u64, Vec<u8>>,
    /// Open files, which keep the system from giving their inode numbers to others.
    held: Vec<File>,
    /// Faults: files that had their name before they were synced, and entries that were synced before what they name.
    wrong: Vec<String>,
    /// Number of syncs so far.
    times: usize,
    /// Number of syncs after which the power is lost.
    lost_after: Option<usize>,
}

impl Disk for Model {
    fn sync_file(&self, path: &Path, file: &File) -> io::Result<()> {
        let (mut synced, content) = (self.0.lock().expect("no panic"), fs::read(path)?);
        if !synced.has_power() {
            return Ok(());
        }
        if !path.to_string_lossy().contains('#') {
            synced.wrong.push(format!("{} has its name, and is not synced", path.display()));
        }
        synced.lacks(path, &content);
        synced.files.insert(file.metadata()?.ino(), content);
        synced.held.push(file.try_clone()?);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Other tests write and remove in the folders above.
            let Ok(metadata) = entry.metadata() else { continue };
            names.insert(entry.file_name().to_string_lossy().into_owned(), metadata.ino());
        }
        let mut synced = self.0.lock().expect("no panic");
        if synced.has_power() {
            synced.folders.insert(folder.to_owned(), names);
        }
        Ok(())
    }
}

impl Synced {
    /// Counts a sync, and returns whether the power was still there for it.
    fn has_power(&mut self) -> bool {
        self.times += 1;
        self.lost_after.is_none_or(|times| self.times <= times)
    }

    /// Notes each file that an entry of a log names and that a power loss would take.
    fn lacks(&mut self, path: &Path, content: &[u8]) {
        let Some(table) = path.parent().filter(|folder| folder.ends_with("_delta_log")).and_then(Path::parent) else {
            return;
        };
        for line in String::from_utf8_lossy(content).lines() {
            let action: Value = serde_json::from_str(line).unwrap_or_default();
            let (Some(file), size) = (action["add"]["path"].as_str(), action["add"]["size"].as_u64()) else { continue };
            if self.size_of(&table.join(file)) != size {
                self.wrong.push(format!("{} names {file}, which is not synced", path.display()));
            }
        }
    }

    /// Returns the size of a file after a power loss, if its name and all folders above it are there, up to the first
    /// one in which nothing was ever synced.
    fn size_of(&self, path: &Path) -> Option<u64> {
        let number = self.number_of(path)?;
        let folders = path.ancestors().skip(1).take_while(|folder| self.folders.contains_key(*folder));
        let are_there = folders.filter(|folder| folder.parent().is_some_and(|above| self.folders.contains_key(above)));
        let is_lost = are_there.map(|folder| self.number_of(folder)).any(|number| number.is_none());
        (!is_lost).then(|| self.files.get(&number).map_or(0, |content| content.len() as u64))
    }

    fn number_of(&self, path: &Path) -> Option<u64> {
        self.folders.get(path.parent()?)?.get(path.file_name()?.to_str()?).copied()
    }

    /// Writes what is left of a folder after a power loss into another folder.
    fn restore(&self, folder: &Path, into: &Path) {
        fs::create_dir_all(into).expect("a folder");
        for (name, number) in self.folders.get(folder).into_iter().flatten() {
            let (from, to) = (folder.join(name), into.join(name));
            if from.is_dir() {
                self.restore(&from, &to);
            } else {
                fs::write(to, self.files.get(number).map_or(&[][..], Vec::as_slice)).expect("a file");
            }
        }
    }
}

/// A machine with a lake.
struct Machine {
    disk: Arc<Model>,
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { disk: Arc::default(), folder: tempdir().expect("a folder") }
    }

    fn lake(&self) -> Lake {
        lake_in(self.folder.path(), DurableFileSystem::on(Arc::clone(&self.disk) as Arc<dyn Disk>))
    }

    /// Returns a store of the machine's files, and the place of its folder in it.
    fn store(&self) -> (DurableFileSystem, StorePath) {
        let store = DurableFileSystem::on(Arc::clone(&self.disk) as Arc<dyn Disk>);
        (store, StorePath::from_absolute_path(self.folder.path()).expect("a path"))
    }

    /// Returns the lake as the disk would have it after a power loss now.
    fn after_power_loss(&self) -> (Lake, TempDir) {
        let left = tempdir().expect("a folder");
        self.disk.0.lock().expect("no panic").restore(self.folder.path(), left.path());
        (lake_in(left.path(), DurableFileSystem::new()), left)
    }

    fn is_right(&self) {
        let wrong = &self.disk.0.lock().expect("no panic").wrong;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

fn lake_in(folder: &Path, store: DurableFileSystem) -> Lake {
    Lake::on(Arc::new(store), Url::from_directory_path(folder.join("lake")).expect("a path"))
}

/// Makes a row of `clicks_rejected` at an offset.
fn row(offset: i64) -> RecordBatch {
    let schema = Table::ClicksRejected.definition().schema;
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let value: ArrayRef = match field.data_type() {
            _ if field.is_nullable() => return new_null_array(field.data_type(), 1),
            DataType::Utf8 => Arc::new(StringArray::from(vec!["clicks"])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![offset])),
            _ => Arc::new(Int32Array::from(vec![0])),
        };
        cast(&value, field.data_type()).expect("a value of its type")
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a row")
}

/// Commits one more row to a table that has `rows` rows.
async fn append(log: &mut TableLog, rows: i64) -> crate::Result<Outcome> {
    let mut adds = Vec::new();
    for file in files::encode(log.table(), &[row(rows)]).await? {
        file.put(log.object_store().as_ref()).await?;
        adds.push(file.add);
    }
    let moves = vec![Move { app_id: "rows".to_owned(), from: (rows > 0).then_some(rows), to: Some(rows + 1) }];
    log.commit(&Commit { adds, moves, ..Commit::new("test") }).await
}

/// Returns how many rows a lake says that it has, after checking that it has them.
async fn rows(lake: &Lake) -> i64 {
    let Some(mut log) = TableLog::find(lake, Table::ClicksRejected).await.expect("a lake") else { return 0 };
    let said = log.txn("rows").unwrap_or(0);
    let (schema, mut found) = (log.schema(), 0);
    for file in log.live_files().await.expect("a table") {
        let rows = crate::read::all_rows(log.object_store(), log.table(), Arc::clone(&schema), file).await;
        found += rows.expect("a file that is whole").iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    assert_eq!(found as i64, said);
    said
}

#[tokio::test]
async fn what_was_committed_outlasts_a_power_loss() {
    let machine = Machine::new();
    let mut log = TableLog::open(&machine.lake(), Table::ClicksRejected).await.expect("a disk");
    for committed in 0..4 {
        assert_eq!(rows(&machine.after_power_loss().0).await, committed);
        assert!(matches!(append(&mut log, committed).await, Ok(Outcome::Committed(_))));
    }
    log.checkpoint_if_missing().await.expect("a disk");
    assert_eq!(rows(&machine.after_power_loss().0).await, 4);
    machine.is_right();
}

#[tokio::test]
async fn a_power_loss_at_any_moment_leaves_a_lake_with_all_that_was_committed() {
    for lost_after in 0.. {
        let machine = Machine::new();
        machine.disk.0.lock().expect("no panic").lost_after = Some(lost_after);
        let has_power = || machine.disk.0.lock().expect("no panic").times <= lost_after;
        let mut log = TableLog::open(&machine.lake(), Table::ClicksRejected).await.expect("a disk");
        let mut committed = 0;
        for number in 0..3 {
            assert!(matches!(append(&mut log, number).await, Ok(Outcome::Committed(_))));
            committed += i64::from(has_power());
        }
        let left = rows(&machine.after_power_loss().0).await;
        assert!((committed..=committed + 1).contains(&left), "{left} of {committed} after {lost_after} times");
        if has_power() {
            assert!(lost_after > 10, "{lost_after} times are too few for three commits");
            return;
        }
    }
}

#[tokio::test]
async fn a_log_checkpoint_and_its_hint_outlast_a_power_loss() {
    let machine = Machine::new();
    let mut log = TableLog::open(&machine.lake(), Table::ClicksRejected).await.expect("a disk");
    for committed in 0..200 {
        assert!(matches!(append(&mut log, committed).await, Ok(Outcome::Committed(_))));
    }
    log.checkpoint_if_missing().await.expect("a disk").expect("it was missing");
    let (lake, left) = machine.after_power_loss();
    let entries = left.path().join("lake/clicks_rejected/_delta_log");
    // With all entries removed, only the checkpoint can be read.
    for version in 0..200 {
        fs::remove_file(entries.join(format!("{version:020}.json"))).expect("an entry");
    }
    assert_eq!(rows(&lake).await, 200);
    machine.is_right();
}

/// Older programs did not sync, and disks lie.
#[tokio::test]
async fn an_entry_that_a_power_loss_left_empty_is_refused_whoever_reads_it() {
    let folder = tempdir().expect("a folder");
    let lake = lake_in(folder.path(), DurableFileSystem::new());
    let mut log = TableLog::open(&lake, Table::ClicksRejected).await.expect("a disk");
    assert!(matches!(append(&mut log, 0).await, Ok(Outcome::Committed(1))));
    let mut behind = TableLog::open(&lake, Table::ClicksRejected).await.expect("a disk");
    assert!(matches!(append(&mut log, 1).await, Ok(Outcome::Committed(2))));
    let entry = folder.path().join(format!("lake/clicks_rejected/_delta_log/{:020}.json", 2));
    let whole = fs::read(&entry).expect("an entry");
    fs::write(&entry, "").expect("a file");
    let refused = |error: LakeError| {
        assert_eq!(error.code(), Some(Code::FileDamaged), "{error}");
        let said = error.to_string();
        assert!(said.starts_with("clicks_rejected: the entry of version 2 in its log is damaged"), "{said}");
    };
    refused(TableLog::find(&lake, Table::ClicksRejected).await.map(drop).expect_err("it is damaged"));
    refused(TableLog::open(&lake, Table::ClicksRejected).await.map(drop).expect_err("it is damaged"));
    let log_store = lake.log_store("clicks_rejected").expect("an address");
    let error =
        crate::commit::snapshot(Table::ClicksRejected, log_store.as_ref(), None).await.expect_err("it is damaged");
    assert_eq!(error.code(), Some(Code::FileDamaged), "{error}");
    refused(behind.refresh().await.expect_err("it is damaged"));
    fs::write(&entry, whole).expect("a file");
    assert_eq!(rows(&lake).await, 2);
}

#[tokio::test]
async fn a_file_that_a_power_loss_left_empty_is_named_with_what_to_do() {
    let folder = tempdir().expect("a folder");
    let lake = lake_in(folder.path(), DurableFileSystem::new());
    let mut log = TableLog::open(&lake, Table::ClicksRejected).await.expect("a disk");
    assert!(matches!(append(&mut log, 0).await, Ok(Outcome::Committed(1))));
    let file = log.live_files().await.expect("a disk").remove(0);
    fs::write(folder.path().join("lake/clicks_rejected").join(&file.path), "").expect("a file");
    let schema = log.schema();
    let error = crate::read::all_rows(log.object_store(), log.table(), schema, file.clone()).await.expect_err("empty");
    assert!(!error.is_retryable(), "it does not pass: {error}");
    let said = error.to_string();
    for word in ["clicks_rejected", file.path.as_str(), "has 0 bytes", "put back a copy"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn files_are_whole_under_their_names_however_they_are_written() {
    let machine = Machine::new();
    let (store, root) = machine.store();
    let at = |name: &str| root.clone().join("a").join("b").join(name);
    store.put(&at("put"), "one".into()).await.expect("a disk");
    store.put(&at("put"), "two".into()).await.expect("a disk");
    let mut parts = store.put_multipart(&at("parts")).await.expect("a disk");
    let (first, second) = (parts.put_part("th".into()), parts.put_part("ree".into()));
    second.await.expect("a disk");
    first.await.expect("a disk");
    parts.complete().await.expect("a disk");
    store.copy(&at("parts"), &root.clone().join("c").join("copy")).await.expect("a disk");
    let left = tempdir().expect("a folder");
    machine.disk.0.lock().expect("no panic").restore(machine.folder.path(), left.path());
    for (name, content) in [("a/b/put", "two"), ("a/b/parts", "three"), ("c/copy", "three")] {
        assert_eq!(fs::read_to_string(left.path().join(name)).expect(name), content);
    }
    machine.is_right();
}

#[tokio::test]
async fn what_is_being_written_is_not_listed_and_goes_when_it_is_given_up() {
    let machine = Machine::new();
    let (store, root) = machine.store();
    let mut parts = store.put_multipart(&root.clone().join("given_up")).await.expect("a disk");
    parts.put_part("rows".into()).await.expect("a disk");
    let listed: Vec<_> = store.list(Some(&root)).try_collect().await.expect("a disk");
    assert!(listed.is_empty(), "{listed:?}");
    parts.abort().await.expect("a disk");
    drop(store.put_multipart(&root.clone().join("dropped")).await.expect("a disk"));
    let names: Vec<_> = fs::read_dir(machine.folder.path()).expect("a folder").collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn a_conditional_put_does_not_overwrite_an_object_that_exists_or_has_changed() {
    let machine = Machine::new();
    let (store, root) = machine.store();
    let at = root.clone().join("key");
    let put = |text: &'static str, mode| store.put_opts(&at, text.into(), PutOptions::from(mode));
    let first = put("first", PutMode::Create).await.expect("it is absent");
    assert!(matches!(put("second", PutMode::Create).await, Err(StoreError::AlreadyExists { .. })));
    assert_eq!(store.head(&at).await.expect("a disk").e_tag, first.e_tag, "as object_store has it");
    let as_it_was = PutMode::Update(UpdateVersion::from(first));
    put("second", as_it_was.clone()).await.expect("it is as it was");
    assert!(matches!(put("third", as_it_was).await, Err(StoreError::Precondition { .. })));
    let found = store.get(&at).await.expect("a disk").bytes().await.expect("a disk");
    assert_eq!(found, "second");
    let listed: Vec<_> = store.list(Some(&root)).map_ok(|file| file.location).try_collect().await.expect("a disk");
    assert_eq!(listed, [at], "the lock is not listed");
}

#[tokio::test]
async fn no_update_is_lost_when_many_update_one_object_at_once() {
    let machine = Machine::new();
    let (store, root) = machine.store();
    let at = root.join("count");
    store.put(&at, "0".into()).await.expect("a disk");
    let adders = (0..8).map(|_| {
        let (store, at) = (store.clone(), at.clone());
        tokio::spawn(async move {
            loop {
                let found = store.get(&at).await.expect("a disk");
                let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: None };
                let count: u64 =
                    String::from_utf8_lossy(&found.bytes().await.expect("a disk")).parse().expect("a number");
                let mode = PutOptions::from(PutMode::Update(version));
                match store.put_opts(&at, (count + 1).to_string().into(), mode).await {
                    Ok(_) => return,
                    Err(StoreError::Precondition { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for adder in futures::future::join_all(adders).await {
        adder.expect("no panic");
    }
    assert_eq!(store.get(&at).await.expect("a disk").bytes().await.expect("a disk"), "8");
}

/// A link has the age of what it links to, and clean-up would take it.
#[tokio::test]
async fn a_copy_is_as_young_as_what_was_just_written() {
    let machine = Machine::new();
    let (store, root) = machine.store();
    let (old, copy, new) = (root.clone().join("old"), root.clone().join("copy"), root.join("new"));
    store.put(&old, "rows".into()).await.expect("a disk");
    let file = File::options().write(true).open(machine.folder.path().join("old")).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH).expect("a time");
    store.copy(&old, &copy).await.expect("a disk");
    store.put(&new, "rows".into()).await.expect("a disk");
    let modified = async |path| store.head(path).await.expect("a disk").last_modified;
    let apart = modified(&new).await - modified(&copy).await;
    assert!(apart.abs() < chrono::TimeDelta::minutes(1), "{apart}");
    assert_eq!(modified(&old).await.timestamp(), 0);
}
