//! Pins: versions of tables that are kept, however old they get.
//!
//! A pin is an object of the lake, `_clicklake/pins/NAME.json`. Beside them stands, for each table, from which version
//! on clean-up keeps it, `_clicklake/kept/TABLE.json`: clean-up writes that first and reads the pins then; who pins
//! writes the pin first and reads that then. Whichever comes first, one sees the other, and no version is given up
//! that was pinned.

use std::str::FromStr;

use arrayvec::ArrayString;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde_json::{Value, json};

use crate::commit::{TableView, Version};
use crate::error::{Context, LakeError, Result};
use crate::lake::Lake;
use crate::table::{NAME_MAX, Table, legal_name};

const PINS: &str = "_clicklake/pins";
const KEPT: &str = "_clicklake/kept";

/// Pins that are read at once.
const READS_MAX: usize = 16;

/// The name of a pin: of lower-case letters, digits and underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinName(ArrayString<NAME_MAX>);

impl FromStr for PinName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        legal_name(name).map(Self)
    }
}

impl PinName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name.
    pub name: PinName,
    /// The table, by its name.
    pub table: String,
    /// The version.
    pub version: Version,
    /// When it ends by itself; `None`: when it is removed.
    pub expires: Option<DateTime<Utc>>,
}

impl Pin {
    /// Whether it holds at a time.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn of_json(name: PinName, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let expires = match &value["expires"] {
            Value::Null => None,
            expires => Some(DateTime::parse_from_rfc3339(expires.as_str()?).ok()?.to_utc()),
        };
        Some(Self { name, table: value["table"].as_str()?.to_owned(), version: value["version"].as_u64()?, expires })
    }

    fn to_json(&self) -> String {
        let expires = self.expires.map(|expires| expires.to_rfc3339_opts(SecondsFormat::Millis, true));
        json!({ "table": self.table, "version": self.version, "expires": expires }).to_string()
    }
}

/// Whether there is a pin of a name already.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The version is pinned.
    Done,
    /// Another pin has the name.
    Taken(Pin),
}

/// Pins a version of a table, which must be there. A pin of that name stays as it is.
pub fn pin<'a>(lake: &'a Lake, table: Table, pin: &'a Pin) -> BoxFuture<'a, Result<Pinned>> {
    Box::pin(async move {
        let view = TableView::newest(lake, table).await?.ok_or_else(|| lake.lacks(table))?;
        view.at(pin.version).await?;
        if let Some(found) = find(lake, pin.name).await? {
            return Ok(if found == *pin { Pinned::Done } else { Pinned::Taken(found) });
        }
        match put(lake, pin, PutMode::Create).await {
            Err(LakeError::Store { source, .. }) if is_taken(source.as_ref()) => {
                let found = find(lake, pin.name).await?;
                return Ok(found.filter(|found| found != pin).map_or(Pinned::Done, Pinned::Taken));
            }
            done => done?,
        }
        keep(lake, table, pin).await?;
        Ok(Pinned::Done)
    })
}

/// Pins a version in the place of what a pin of that name holds.
pub fn repin<'a>(lake: &'a Lake, table: Table, pin: &'a Pin) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        put(lake, pin, PutMode::Overwrite).await?;
        keep(lake, table, pin).await
    })
}

/// Removes a pin; whether there was one.
pub fn unpin(lake: &Lake, name: PinName) -> BoxFuture<'_, Result<bool>> {
    Box::pin(async move {
        if find(lake, name).await?.is_none() {
            return Ok(false);
        }
        let what = || format!("removing the pin {}", name.as_str());
        match lake.object_store()?.delete(&path_of(name)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error).while_doing(what),
        }
    })
}

/// All pins, by name; those that have ended too.
pub fn pins(lake: &Lake) -> BoxFuture<'_, Result<Vec<Pin>>> {
    Box::pin(async move {
        let what = || format!("lake {}: listing its pins", lake.url());
        let store = lake.object_store()?;
        let files: Vec<_> = store.list(Some(&Path::from(PINS))).try_collect().await.while_doing(what)?;
        let names = files.iter().filter_map(|file| file.location.filename()?.strip_suffix(".json")?.parse().ok());
        let reads: Vec<_> = names.map(|name| find(lake, name)).collect();
        let found: Vec<_> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    })
}

/// A pin.
pub fn find(lake: &Lake, name: PinName) -> BoxFuture<'_, Result<Option<Pin>>> {
    Box::pin(async move {
        let path = path_of(name);
        let Some(bytes) = get(lake, &path).await? else { return Ok(None) };
        // What cannot be read may be worth keeping: nothing is cleaned up past it.
        let unknown = || LakeError::Refused(format!("{path} is no pin; remove that object, or write it again"));
        Pin::of_json(name, &bytes).map(Some).ok_or_else(unknown)
    })
}

/// Says that versions of a table before `from` are given up from now on, unless they are pinned. The pins are to be
/// read after it.
pub fn announce(lake: &Lake, table: Table, from: Version) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let what = || format!("{table}: saying what is kept");
        let text = json!({ "from": from }).to_string();
        lake.object_store()?.put(&kept_path(table), text.into()).await.map(|_| ()).while_doing(what)
    })
}

/// Takes a pin back whose version clean-up gives up already.
async fn keep(lake: &Lake, table: Table, pin: &Pin) -> Result<()> {
    let kept = get(lake, &kept_path(table)).await?;
    let from = kept.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()?["from"].as_u64()).unwrap_or(0);
    if pin.version >= from {
        return Ok(());
    }
    unpin(lake, pin.name).await?;
    let why = format!("version {} of {table} is being cleaned up; the first that can be pinned is {from}", pin.version);
    Err(LakeError::Refused(why))
}

async fn put(lake: &Lake, pin: &Pin, mode: PutMode) -> Result<()> {
    let what = || format!("writing the pin {}", pin.name.as_str());
    let put = lake.object_store()?.put_opts(&path_of(pin.name), pin.to_json().into(), PutOptions::from(mode)).await;
    put.map(|_| ()).while_doing(what)
}

async fn get(lake: &Lake, path: &Path) -> Result<Option<Vec<u8>>> {
    let what = || format!("reading {path}");
    match lake.object_store()?.get(path).await {
        Ok(found) => Ok(Some(found.bytes().await.while_doing(what)?.to_vec())),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).while_doing(what),
    }
}

fn is_taken(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<StoreError>();
    error.is_some_and(|error| matches!(error, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }))
}

fn path_of(name: PinName) -> Path {
    Path::from(format!("{PINS}/{}.json", name.as_str()))
}

fn kept_path(table: Table) -> Path {
    Path::from(format!("{KEPT}/{table}.json"))
}
