//! The place of the tables, a folder or a bucket, and whether its store can be trusted with commits.
//!
//! Everything rests on one property of the store: of several writers that put the same key *if absent*, exactly one
//! wins. [`Lake::probe`] races it before the first commit; a store that lets two win is refused.
//!
//! A folder may have any name that the system permits, and a path is taken literally; only an address that begins with
//! its scheme is decoded. See [`crate::store`] for what keeps the name from mattering below.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake::logstore::{LogStoreRef, ObjectStoreRef, StorageConfig, default_logstore, logstore_for};
use futures::future::{BoxFuture, join_all};
use lake_schemas::{Code, Table};
use object_store::prefix::PrefixStore;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path};
use url::Url;
use uuid::Uuid;

use crate::error::{Context, LakeError, Result};
use crate::store::{LakeStore, Order, Timely};

/// Number of races in a probe: a store that checks and then renames usually lets two writers win in the first.
const PROBE_ROUNDS: usize = 4;

/// Number of writers in each race of a probe.
const PROBE_WRITERS: usize = 4;

/// Options for the client of a bucket.
const BUCKET_OPTIONS: [(&str, &str); 5] = [
    // Silence is noticed by `Timely` within seconds; a request that makes progress may take its time.
    ("timeout", "10m"),
    // The client retries for a short time only: the jobs above wait and say so, and start-up must fail within 15
    // seconds.
    ("max_retries", "3"),
    ("retry_timeout", "8s"),
    ("connect_timeout", "4s"),
    // Profiles, web identities and the other usual ways apply at every endpoint, not at Amazon's alone.
    ("AWS_FORCE_CREDENTIAL_LOAD", "true"),
];

/// A lake: one folder or bucket prefix, with a Delta table in each of its folders.
#[derive(Clone)]
pub struct Lake {
    /// Address of the lake, as people see it.
    url: Url,
    place: LakeLocation,
}

/// Place of a lake.
#[derive(Clone)]
enum LakeLocation {
    /// A folder of this machine: its absolute path, and its store.
    Folder(PathBuf, ObjectStoreRef),
    /// The bucket that the address names, under the path of the address.
    Bucket,
    /// A store that the caller made, under the path of the address.
    Given(ObjectStoreRef),
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lake({})", self.url)
    }
}

impl Lake {
    /// Address of every lake within its own store, so that nothing below sees where the lake is.
    pub const ROOT: &str = "clicklake://lake";

    /// Makes the lake at a path, a `file://` or an `s3://` address. Nothing of it is read yet.
    pub fn at(location: &str) -> Result<Self> {
        let refused = |why: &str| LakeError::Refused(Code::LakeAddress.because(format!("lake {location}: {why}")));
        if !is_address(location) {
            return Self::in_folder(FilePath::new(location));
        }
        let url = Url::parse(location).map_err(|error| refused(&format!("not an address: {error}")))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("an address goes to its end; write %3F for a question mark, %23 for a hash sign"));
        }
        match url.scheme() {
            "file" => {
                let path = url.to_file_path();
                Self::in_folder(
                    &path.map_err(|()| refused("no folder of this machine; write file:///, then its path"))?,
                )
            }
            "s3" | "s3a" if url.host_str().is_none_or(str::is_empty) => {
                Err(refused("no bucket; write s3://bucket/prefix"))
            }
            "s3" | "s3a" => Ok(Self { url, place: LakeLocation::Bucket }),
            other => Err(refused(&format!("{other}:// is not supported; give a path, file:// or s3://"))),
        }
    }

    fn in_folder(path: &FilePath) -> Result<Self> {
        let refused =
            |why: String| LakeError::Refused(Code::LakeAddress.because(format!("lake {}: {why}", path.display())));
        let path = std::path::absolute(path).map_err(|error| refused(error.to_string()))?;
        if path.to_str().is_none() {
            return Err(refused("its path is no UTF-8; name the folder otherwise".to_owned()));
        }
        if let Some(file) = path.ancestors().find(|part| part.is_file()) {
            let why = format!("{} is a file; a lake is a folder, so correct --lake", file.display());
            return Err(refused(why));
        }
        let url = Url::from_directory_path(&path).map_err(|()| refused("not a path".to_owned()))?;
        let store = Arc::new(LakeStore::in_folder(&path));
        Ok(Self { url, place: LakeLocation::Folder(path, store) })
    }

    /// Makes a lake on a store that the caller made, under the path of an address that otherwise only names it.
    pub fn on(store: ObjectStoreRef, url: Url) -> Self {
        Self { url, place: LakeLocation::Given(store) }
    }

    /// Returns the address of the lake, as people see it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the folder of this machine that the lake is in, as an absolute path; `None` if it is elsewhere.
    pub fn folder(&self) -> Option<&FilePath> {
        match &self.place {
            LakeLocation::Folder(path, _) => Some(path),
            LakeLocation::Bucket | LakeLocation::Given(_) => None,
        }
    }

    /// Builds the error for a table that the lake does not have. It names the command that makes the table. For a
    /// staging table the name may also be misspelled, so it names the command that lists them, too.
    pub fn lacks(&self, table: Table) -> LakeError {
        let makes = match table {
            Table::Staging(_) => {
                return LakeError::Refused(Code::TableMissing.because(format!(
                    "lake {} has no table {table}; `clicklake history` shows which there are, and `clicklake backfill \
                     --into {table}` makes it",
                    self.url
                )));
            }
            Table::Clicks | Table::ClicksRejected => "ingest",
            Table::ClicksMinute => "aggregate",
            Table::ClicksHourly | Table::ClicksDaily => "compact",
        };
        LakeError::Refused(
            Code::TableMissing
                .because(format!("lake {} has no table {table} yet; `clicklake {makes}` makes it", self.url)),
        )
    }

    /// Builds the error for a lake that has no table at all. It names the commands that make some.
    pub fn lacks_tables(&self) -> LakeError {
        let why = format!("lake {} has no tables yet; `clicklake up` or `clicklake ingest` makes them", self.url);
        LakeError::Refused(Code::TableMissing.because(why))
    }

    /// Returns the tables of the lake that may be staging tables, by their names.
    pub fn stagings(&self) -> BoxFuture<'_, Result<Vec<Table>>> {
        Box::pin(async move {
            let what = || format!("lake {}: listing its tables", self.url);
            let store = self.object_store()?;
            let found = store.list_with_delimiter(None).await.while_doing(what)?;
            let names = found.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse().ok());
            Ok(names.map(Table::Staging).collect())
        })
    }

    /// Returns the store of the lake, rooted at the lake.
    pub fn object_store(&self) -> Result<ObjectStoreRef> {
        if let LakeLocation::Folder(_, store) = &self.place {
            return Ok(Arc::clone(store));
        }
        let Some((_, outer)) = self.outer_store()? else { unreachable!("what is in no folder is in a store") };
        let refused = |error| LakeError::Refused(Code::LakeAddress.because(format!("lake {}: {error}", self.url)));
        let prefix = path::Path::from_url_path(self.url.path()).map_err(refused)?;
        Ok(Arc::new(LakeStore::under(outer, prefix, Order::at(&self.url))))
    }

    /// Returns the store that the lake is somewhere in, with the address of that store; `None` if that is this machine.
    pub fn outer_store(&self) -> Result<Option<(Url, ObjectStoreRef)>> {
        let store = match &self.place {
            LakeLocation::Folder(..) => return Ok(None),
            LakeLocation::Given(store) => Arc::clone(store),
            LakeLocation::Bucket => self.bucket()?,
        };
        let mut root = self.url.clone();
        root.set_path("/");
        Ok(Some((root, store)))
    }

    fn bucket(&self) -> Result<ObjectStoreRef> {
        let what = || format!("lake {}", self.url);
        let config = StorageConfig::parse_options(HashMap::from(BUCKET_OPTIONS)).while_doing(what)?;
        Ok(Arc::new(Timely(logstore_for(&self.url, config).while_doing(what)?.root_object_store(None))))
    }

    /// Returns Delta's view of one of the lake's folders.
    pub fn log_store(&self, name: &str) -> Result<LogStoreRef> {
        let store = self.object_store()?;
        let location = format!("{}/{name}/", Self::ROOT);
        let location = Url::parse(&location).map_err(|error| LakeError::store(format!("lake {}", self.url), error))?;
        let folder = Arc::new(PrefixStore::new(Arc::clone(&store), name));
        Ok(default_logstore(folder, store, &location, &StorageConfig::default()))
    }

    /// Returns the time by the clock of the store, which also gives its objects their times.
    pub fn time(&self) -> BoxFuture<'_, Result<DateTime<Utc>>> {
        Box::pin(async move {
            let what = || format!("lake {}: asking its store for the time", self.url);
            let store = self.log_store("_clicklake")?.object_store(None);
            let key = path::Path::from(format!("time/{}", unique_name()));
            store.put(&key, "time".into()).await.while_doing(what)?;
            let found = store.head(&key).await.while_doing(what)?;
            // If deleting fails, a few bytes stay behind under a name of their own.
            let _ = store.delete(&key).await;
            Ok(found.last_modified)
        })
    }

    /// Races put-if-absent on the lake's store, and refuses one on which two writers can both win.
    ///
    /// This is also the first write of a job, so a lake that cannot be written is found out here.
    pub fn probe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = self.log_store("_clicklake")?.object_store(None);
            let mut has_winner = false;
            for _ in 0..PROBE_ROUNDS {
                let key = path::Path::from(format!("probe/{}", unique_name()));
                let winners = self.race(store.as_ref(), &key).await?;
                let what = || format!("lake {}: reading what was put", self.url);
                // The winner may not know that it won: if its reply was lost, its second attempt found its own object.
                let unknown = winners == 0 && store.get(&key).await.map(|_| true).or_else(absent).while_doing(what)?;
                // If deleting fails, a few bytes stay behind under a name of their own.
                let _ = store.delete(&key).await;
                if winners != 1 && !unknown {
                    return Err(LakeError::Refused(Code::StoreUnfit.because(format!(
                        "lake {}: its store let {winners} of {PROBE_WRITERS} writers create one key; \
                         commits need a store where exactly one wins (put-if-absent)",
                        self.url
                    ))));
                }
                has_winner |= winners == 1;
            }
            if has_winner {
                return Ok(());
            }
            let what = format!("lake {}: finding out whether its store can be trusted", self.url);
            Err(LakeError::store(what, "no writer was told that it won; are its replies lost?"))
        })
    }

    /// Lets several writers put one key, and returns how many of them were told that they won.
    async fn race(&self, store: &dyn ObjectStore, key: &path::Path) -> Result<usize> {
        let race = (0..PROBE_WRITERS).map(|writer| {
            let options = PutOptions::from(PutMode::Create);
            store.put_opts(key, format!("{writer}").into(), options)
        });
        let mut winners = 0;
        for outcome in join_all(race).await {
            match outcome {
                Ok(_) => winners += 1,
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
                Err(error) => return Err(LakeError::store(format!("lake {}: cannot write", self.url), error)),
            }
        }
        Ok(winners)
    }
}

/// Maps "not found" to `false`, because it answers the question whether the object is there.
fn absent(error: StoreError) -> Result<bool, StoreError> {
    if matches!(error, StoreError::NotFound { .. }) { Ok(false) } else { Err(error) }
}

/// Returns whether a location begins with a scheme, as addresses do. Anything else is a path.
fn is_address(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once("://") else { return false };
    let is_letter = |first: char| first.is_ascii_alphabetic();
    scheme.starts_with(is_letter) && scheme.chars().all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one))
}

/// Makes a random name, so that no two processes ever put the same object.
#[expect(clippy::disallowed_methods, reason = "what nobody else puts at the same time")]
pub(crate) fn unique_name() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn folder_of(location: &str) -> PathBuf {
        Lake::at(location).expect(location).folder().expect("a folder").to_owned()
    }

    #[test]
    fn a_path_is_meant_literally_and_an_address_is_decoded() {
        for (location, expected) in [
            ("/nowhere/a lake", "/nowhere/a lake"),
            ("/nowhere/50%25", "/nowhere/50%25"),
            ("/nowhere/a#b?c", "/nowhere/a#b?c"),
            ("/nowhere/s3://x", "/nowhere/s3://x"),
            ("/nowhere/./a//b/", "/nowhere/a/b"),
            ("/nowhere/a/../b", "/nowhere/a/../b"),
            ("file:///nowhere/50%2525%20%23%3F", "/nowhere/50%25 #?"),
            ("file:///nowhere/a/", "/nowhere/a"),
            ("FILE:///nowhere/a", "/nowhere/a"),
            ("file://localhost/nowhere/a", "/nowhere/a"),
        ] {
            assert_eq!(folder_of(location), FilePath::new(expected), "{location}");
        }
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(folder_of("50% ü"), here.join("50% ü"));
        assert_eq!(folder_of("."), here);
        assert_eq!(Lake::at("/nowhere/a lake%").expect("a path").url().as_str(), "file:///nowhere/a%20lake%25/");
    }

    #[test]
    fn malformed_locations_of_a_lake_are_refused_by_name() {
        for (location, word) in [
            ("gs://bucket", "gs://"),
            ("", "empty"),
            ("file://tmp/a", "file:///"),
            ("file:///tmp/a?b", "%3F"),
            ("s3://bucket/a#b", "%23"),
            ("s3://", "bucket/prefix"),
            ("file:///tmp/%FF", "UTF-8"),
        ] {
            let error = Lake::at(location).expect_err(location);
            assert_eq!(error.code(), Some(Code::LakeAddress), "{error}");
            let error = error.to_string();
            assert!(error.contains(word) && error.starts_with("lake "), "{error}");
        }
    }

    #[test]
    fn a_file_is_no_lake_and_nothing_below_it_is_one() {
        let parent = tempfile::tempdir().expect("a folder");
        let file = parent.path().join("file");
        std::fs::write(&file, "text").expect("a disk");
        let below = file.join("lake");
        let address = Url::from_file_path(&below).expect("a path").to_string();
        for location in [file.to_str().expect("UTF-8"), below.to_str().expect("UTF-8"), &address] {
            let error = Lake::at(location).expect_err(location);
            assert_eq!(error.code(), Some(Code::LakeAddress), "{error}");
            assert!(error.to_string().ends_with("file is a file; a lake is a folder, so correct --lake"), "{error}");
        }
        assert_eq!(std::fs::read(&file).expect("a disk"), b"text");
    }

    /// Names that a folder may have, and that other programs give a meaning.
    const NAMES: [&str; 12] = [
        "50% off",
        "50%25",
        "%2F",
        "a#b",
        "a?b=c&d",
        "[a]*",
        "a;b+c",
        "\"a\" 'b'",
        "ä é",
        "日本",
        "a\\b",
        "new\nline\t",
    ];

    #[tokio::test]
    async fn a_folder_of_any_name_holds_what_was_put_and_nothing_beside_it() {
        for name in NAMES {
            let parent = tempfile::tempdir().expect("a folder");
            let folder = parent.path().join(name).join("lake");
            let location = folder.to_str().expect("UTF-8");
            let lake = Lake::at(location).expect(name);
            lake.probe().await.expect(name);
            let log = lake.log_store("clicks").expect(name);
            log.object_store(None).put(&"_delta_log/00000000000000000000.json".into(), "{}".into()).await.expect(name);
            assert!(log.is_delta_table_location().await.expect(name), "{name}");
            assert!(folder.join("clicks/_delta_log/00000000000000000000.json").is_file(), "{name}");
            let there = |path: &FilePath| {
                let found = std::fs::read_dir(path).expect(name).map(|one| one.expect(name).file_name());
                found.collect::<Vec<_>>()
            };
            assert_eq!((there(parent.path()), there(folder.parent().expect("one")).len()), (vec![name.into()], 1));
            // The same lake, reached in another way.
            let address = Url::from_directory_path(&folder).expect(name);
            let again = Lake::at(address.as_str()).expect(name).object_store().expect(name);
            let found: Vec<_> = again.list(Some(&"clicks".into())).try_collect().await.expect(name);
            assert_eq!(found.len(), 1, "{name}");
        }
    }

    #[tokio::test]
    async fn a_prefix_is_decoded_once() {
        let bucket: ObjectStoreRef = Arc::new(object_store::memory::InMemory::new());
        let url = Url::parse("memory:///some%20lake/50%2525").expect("an address");
        let lake = Lake::on(Arc::clone(&bucket), url);
        lake.object_store().expect("a store").put(&"clicks/a".into(), "x".into()).await.expect("memory");
        let put: Vec<_> = bucket.list(None).try_collect().await.expect("memory");
        assert_eq!(put[0].location, path::Path::parse("some lake/50%25/clicks/a").expect("a path"));
    }
}
