//! Where the tables are: a folder or a bucket, and whether its store can be trusted with commits.
//!
//! Everything rests on one property of the store: of several writers that put the same key *if absent*, exactly one
//! wins. [`Lake::probe`] races it before the first commit; a store that lets two win is refused.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake::logstore::{LogStoreRef, ObjectStoreRef, StorageConfig, logstore_for, logstore_with};
use futures::future::{BoxFuture, join_all};
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path};
use url::Url;
use uuid::Uuid;

use crate::error::{Context, LakeError, Result};
use crate::store::{DurableFileSystem, Timely};
use crate::table::Table;

/// Rounds of the race, and writers in each: check-then-rename stores let two win in the first round as a rule.
const PROBE_ROUNDS: usize = 4;
const PROBE_WRITERS: usize = 4;

/// How buckets are asked.
const BUCKET_OPTIONS: [(&str, &str); 5] = [
    // Silence is noticed by `Timely`, in seconds; what makes progress may take its time.
    ("timeout", "10m"),
    // What fails is tried again below us for a short time only: the jobs above wait and say so, and start-up must fail
    // within 15 seconds.
    ("max_retries", "3"),
    ("retry_timeout", "8s"),
    ("connect_timeout", "4s"),
    // Profiles, web identities and the rest of the usual ways count at every endpoint, not at Amazon's alone.
    ("AWS_FORCE_CREDENTIAL_LOAD", "true"),
];

/// A lake: one folder or bucket prefix, with a Delta table in each of its folders.
#[derive(Clone)]
pub struct Lake {
    url: Url,
    /// A store to use instead of the one that the address names.
    store: Option<ObjectStoreRef>,
}

impl Lake {
    /// The lake at a path, a `file://` or an `s3://` address. Nothing is read yet.
    pub fn at(location: &str) -> Result<Self> {
        let url = if location.contains("://") {
            Url::parse(location)
                .map_err(|error| LakeError::Refused(format!("lake {location}: not an address: {error}")))?
        } else {
            let path = std::path::absolute(Path::new(location))
                .map_err(|error| LakeError::Refused(format!("lake {location:?}: {error}")))?;
            Url::from_directory_path(&path).map_err(|()| LakeError::Refused(format!("lake {location}: not a path")))?
        };
        match url.scheme() {
            "file" => Ok(Self { url, store: Some(Arc::new(DurableFileSystem::new())) }),
            "s3" | "s3a" => Ok(Self { url, store: None }),
            other => Err(LakeError::Refused(format!(
                "lake {location}: {other}:// is not supported; give a path, file:// or s3://"
            ))),
        }
    }

    /// A lake on a store of the caller's making, at an address that only names it.
    pub fn on(store: ObjectStoreRef, url: Url) -> Self {
        Self { url, store: Some(store) }
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address of one of its folders.
    pub fn folder_url(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/{name}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// That it lacks a table, and what makes it.
    pub fn lacks(&self, table: Table) -> LakeError {
        let makes = match table {
            Table::Clicks | Table::ClicksRejected => "ingest",
            Table::ClicksMinute => "aggregate",
            Table::ClicksHourly | Table::ClicksDaily => "compact",
            Table::Shadow(_) => "backfill --into",
        };
        LakeError::Refused(format!("lake {} has no table {table} yet; `clicklake {makes}` makes it", self.url))
    }

    /// The tables in it that may be shadows, by their names.
    pub fn shadows(&self) -> BoxFuture<'_, Result<Vec<Table>>> {
        Box::pin(async move {
            let what = || format!("lake {}: listing its tables", self.url);
            let store = self.object_store()?;
            let found = store.list_with_delimiter(None).await.while_doing(what)?;
            let names = found.common_prefixes.iter().filter_map(|folder| folder.filename()?.parse().ok());
            Ok(names.map(Table::Shadow).collect())
        })
    }

    /// The store of all that is in it, rooted at the lake.
    pub fn object_store(&self) -> Result<ObjectStoreRef> {
        Ok(self.log_store_at(&self.url)?.object_store(None))
    }

    /// The store that the lake is somewhere in, and its address.
    pub fn root_store(&self) -> Result<(Url, ObjectStoreRef)> {
        let mut root = self.url.clone();
        root.set_path("/");
        Ok((root, self.log_store_at(&self.url)?.root_object_store(None)))
    }

    /// Delta's view of one of its folders.
    pub fn log_store(&self, name: &str) -> Result<LogStoreRef> {
        self.log_store_at(&self.folder_url(name))
    }

    fn log_store_at(&self, url: &Url) -> Result<LogStoreRef> {
        let what = || format!("lake {}", self.url);
        let options: HashMap<&str, &str> = match url.scheme() {
            "s3" | "s3a" => HashMap::from(BUCKET_OPTIONS),
            _ => HashMap::new(),
        };
        let config = StorageConfig::parse_options(options).while_doing(what)?;
        let store = match &self.store {
            Some(store) => Arc::clone(store),
            None => Arc::new(Timely(logstore_for(url, config.clone()).while_doing(what)?.root_object_store(None))),
        };
        logstore_with(store, url, config).while_doing(what)
    }

    /// What time it is by the clock of the store, of which the times of its objects are.
    pub fn time(&self) -> BoxFuture<'_, Result<DateTime<Utc>>> {
        Box::pin(async move {
            let what = || format!("lake {}: asking its store for the time", self.url);
            let store = self.log_store("_clicklake")?.object_store(None);
            let key = path::Path::from(format!("time/{}", unique_name()));
            store.put(&key, "time".into()).await.while_doing(what)?;
            let found = store.head(&key).await.while_doing(what)?;
            // What is left behind by a failing delete is a few bytes under a name of its own.
            let _ = store.delete(&key).await;
            Ok(found.last_modified)
        })
    }

    /// Races put-if-absent on the lake's store, and refuses one on which two writers can both win.
    ///
    /// Also the first write of a job: a lake that cannot be written is found out here.
    pub fn probe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let store = self.log_store("_clicklake")?.object_store(None);
            let mut has_winner = false;
            for _ in 0..PROBE_ROUNDS {
                let key = path::Path::from(format!("probe/{}", unique_name()));
                let winners = self.race(store.as_ref(), &key).await?;
                let what = || format!("lake {}: reading what was put", self.url);
                // The winner may not know that it won: its reply was lost, and what it put met its second attempt.
                let unknown = winners == 0 && store.get(&key).await.map(|_| true).or_else(absent).while_doing(what)?;
                // What is left behind by a failing delete is a few bytes under a name of its own.
                let _ = store.delete(&key).await;
                if winners != 1 && !unknown {
                    return Err(LakeError::Refused(format!(
                        "lake {}: its store let {winners} of {PROBE_WRITERS} writers create one key; \
                         commits need a store where exactly one wins (put-if-absent)",
                        self.url
                    )));
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

    /// How many of several writers of one key were told that they won.
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

/// That nothing is there is an answer.
fn absent(error: StoreError) -> Result<bool, StoreError> {
    if matches!(error, StoreError::NotFound { .. }) { Ok(false) } else { Err(error) }
}

#[expect(clippy::disallowed_methods, reason = "a key that nobody else puts at the same time")]
fn unique_name() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_address_name_the_same_folder() {
        let path = Lake::at("/tmp/a lake").expect("a path");
        assert_eq!(path.folder_url("clicks").as_str(), "file:///tmp/a%20lake/clicks/");
        let bucket = Lake::at("s3://bucket/prefix").expect("an address");
        assert_eq!(bucket.folder_url("clicks").as_str(), "s3://bucket/prefix/clicks/");
    }

    #[test]
    fn an_unknown_scheme_is_refused_by_name() {
        let error = Lake::at("gs://bucket").err().expect("refused").to_string();
        assert!(error.contains("gs://"), "{error}");
    }
}
