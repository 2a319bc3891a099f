//! Pins: versions of tables that are kept, however old they get.
//!
//! A pin is an object of the lake, `_clicklake/pins/NAME.json`. Beside it, `_clicklake/kept/TABLE.json` says for each
//! table from which version on clean-up keeps it, with the id of the table that this was said of. Clean-up writes that
//! object first, and reads the pins afterwards. Pinning writes the pin first, and reads that object afterwards.
//! Whichever comes first, one of them sees the other, and no pinned version expires.
//!
//! ```text
//!   pin       put the pin, as pending ──> read what is kept ──┬─ kept: put it again, no longer pending
//!                                                             └─ given up: remove it, and refuse
//!   clean-up  raise what is kept, never lower it ──> read the pins, put pending ones again ──> delete below others
//! ```
//!
//! A pending pin was not compared with what is kept yet. If a reply was lost or a process died, whoever finds the pin
//! makes the comparison. A pin that is not pending holds, even if what is kept has been raised past it since.
//!
//! A pin stops being pending only by an update of the very object that was compared. So after raising what is kept,
//! clean-up writes each pending pin again that would expire, and then ignores it: a process that is about to update it
//! finds another object, compares once more, and is refused. A process that died while pinning therefore holds up
//! nothing.

use std::str::FromStr;

use arrayvec::ArrayString;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::table::{NAME_MAX, Version, legal_name};
use lake_schemas::{Code, Table};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use serde_json::{Value, json};

use crate::commit::TableView;
use crate::error::{Context, LakeError, Result};
use crate::lake::{Lake, unique_name};

const PINS: &str = "_clicklake/pins";
const KEPT: &str = "_clicklake/kept";

/// Number of pins that are read concurrently.
const READS_MAX: usize = 16;

/// Number of attempts to write an object that others write and remove at the same time: two people who do so by hand
/// soon get out of step.
const TRIES_MAX: usize = 8;

/// Name of a pin: lower-case letters, digits and underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinName(ArrayString<NAME_MAX>);

impl FromStr for PinName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        legal_name(name).map(Self)
    }
}

impl PinName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A version of a table that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Name of the pin.
    pub name: PinName,
    /// Name of the table.
    pub table: String,
    /// Version that is kept.
    pub version: Version,
    /// When the pin ends by itself; `None`: only when it is removed.
    pub expires: Option<DateTime<Utc>>,
}

impl Pin {
    /// Returns whether the pin holds at a time.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Returns whether both pins are written in the same way: times are written in milliseconds, and clocks give more
    /// digits.
    fn is_written_as(&self, other: &Self) -> bool {
        self.name == other.name && self.to_json(false) == other.to_json(false)
    }

    fn of_json(name: PinName, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let expires = match &value["expires"] {
            Value::Null => None,
            expires => Some(DateTime::parse_from_rfc3339(expires.as_str()?).ok()?.to_utc()),
        };
        Some(Self { name, table: value["table"].as_str()?.to_owned(), version: value["version"].as_u64()?, expires })
    }

    fn to_json(&self, is_pending: bool) -> Value {
        let expires = self.expires.map(|expires| expires.to_rfc3339_opts(SecondsFormat::Millis, true));
        let mut pin = json!({ "table": self.table, "version": self.version, "expires": expires });
        if is_pending {
            pin["pending"] = true.into();
            // A random value, for stores that tell versions of an object apart by its content.
            pin["written"] = unique_name().to_string().into();
        }
        pin
    }
}

/// A pin whose object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Name of the pin.
    pub name: PinName,
    /// Name of the table, if it can still be told.
    pub table: Option<String>,
}

impl Damaged {
    /// Returns whether the pin may keep a version of this table.
    pub fn may_be_of(&self, table: Table) -> bool {
        self.table.as_ref().is_none_or(|name| name == table.name())
    }

    fn of(name: PinName, bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        Self { name, table: value["table"].as_str().map(str::to_owned) }
    }

    /// Returns the error that says what is wrong, and what to do.
    pub fn refused(&self) -> LakeError {
        let name = self.name.as_str();
        LakeError::Refused(Code::PinDamaged.because(format!(
            "the pin {name} cannot be read: {} is empty or damaged; `clicklake unpin {name}` removes it, then pin \
             again",
            path_of(self.name)
        )))
    }
}

/// Content of an object with the name of a pin.
enum PinContent {
    /// A pin. If it is pending, also the version of its object.
    Pin {
        pin: Pin,
        pending: Option<UpdateVersion>,
    },
    Damaged(Damaged),
}

impl PinContent {
    fn of_json(name: PinName, bytes: &[u8], object: UpdateVersion) -> Self {
        let is_pending = serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value["pending"] == true);
        match Pin::of_json(name, bytes) {
            Some(pin) => Self::Pin { pin, pending: is_pending.then_some(object) },
            None => Self::Damaged(Damaged::of(name, bytes)),
        }
    }
}

/// All pins of a lake, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Pins, including those that have ended.
    pub pins: Vec<Pin>,
    /// Pins that cannot be read. They may be worth keeping, so nothing is cleaned up past them.
    pub damaged: Vec<Damaged>,
}

impl FromIterator<PinContent> for Pins {
    fn from_iter<T: IntoIterator<Item = PinContent>>(found: T) -> Self {
        let mut all = Self::default();
        for found in found {
            match found {
                PinContent::Pin { pin, .. } => all.pins.push(pin),
                PinContent::Damaged(damaged) => all.damaged.push(damaged),
            }
        }
        all
    }
}

/// Outcome of pinning a version.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The version is pinned.
    Done,
    /// Another pin has the name.
    Taken(Pin),
}

/// Pins a version of a table, which must be there. An existing pin of that name stays as it is.
pub fn pin<'a>(lake: &'a Lake, table: Table, pin: &'a Pin) -> BoxFuture<'a, Result<Pinned>> {
    Box::pin(async move {
        let view = TableView::newest(lake, table).await?.ok_or_else(|| lake.lacks(table))?;
        view.at(pin.version).await?;
        pin_known(lake, table, pin).await
    })
}

/// Pins a version of a table that is known to be there. An existing pin of that name stays as it is.
pub fn pin_known<'a>(lake: &'a Lake, table: Table, pin: &'a Pin) -> BoxFuture<'a, Result<Pinned>> {
    Box::pin(async move {
        for _ in 0..TRIES_MAX {
            let object = match look(lake, pin.name).await? {
                Some(PinContent::Damaged(damaged)) => return Err(damaged.refused()),
                Some(PinContent::Pin { pin: found, .. }) if !found.is_written_as(pin) => {
                    return Ok(Pinned::Taken(found));
                }
                Some(PinContent::Pin { pending: None, .. }) => return Ok(Pinned::Done),
                Some(PinContent::Pin { pending: Some(object), .. }) => object,
                None => {
                    // The put may have happened although it fails, or another process may be faster: the next look
                    // tells.
                    put(lake, pin.name, &pin.to_json(true), PutMode::Create).await?;
                    continue;
                }
            };
            // The pin is written, so a clean-up that announces later will see it. Compare with what was announced
            // before, and only then update the very object that was compared.
            keep(lake, table, pin).await?;
            let done = match put(lake, pin.name, &pin.to_json(false), PutMode::Update(object)).await? {
                // A store that cannot compare: clean-up does not ignore pending pins there either, so overwriting is
                // safe.
                Put::NotCompared => put(lake, pin.name, &pin.to_json(false), PutMode::Overwrite).await?,
                done => done,
            };
            if done == Put::Done {
                return Ok(Pinned::Done);
            }
        }
        let what = format!("writing the pin {}", pin.name.as_str());
        Err(LakeError::store(what, "another writes and removes it at the same time; try again"))
    })
}

/// Removes a pin, even one that cannot be read. Returns whether there was one.
pub fn unpin(lake: &Lake, name: PinName) -> BoxFuture<'_, Result<bool>> {
    Box::pin(async move {
        if look(lake, name).await?.is_none() {
            return Ok(false);
        }
        let what = || format!("removing the pin {}", name.as_str());
        match lake.object_store()?.delete(&path_of(name)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error).while_doing(what),
        }
    })
}

/// Returns all pins by name, including those that have ended, and those that cannot be read apart.
pub fn all(lake: &Lake) -> BoxFuture<'_, Result<Pins>> {
    Box::pin(async move { Ok(found(lake).await?.into_iter().collect()) })
}

/// Returns the pins that a clean-up must heed, after it announced that versions of a table before `from` expire. They
/// include pins of other tables, and pins that have ended.
pub fn heeded(lake: &Lake, table: Table, from: Version) -> BoxFuture<'_, Result<Pins>> {
    Box::pin(async move {
        let mut heeded = Vec::new();
        for found in found(lake).await? {
            let is_passed_over = match &found {
                PinContent::Pin { pin, pending: Some(object) } if pin.table == table.name() && pin.version < from => {
                    is_passed_over(lake, pin, object.clone()).await?
                }
                PinContent::Pin { .. } | PinContent::Damaged(_) => false,
            };
            if !is_passed_over {
                heeded.push(found);
            }
        }
        Ok(heeded.into_iter().collect())
    })
}

/// Writes a pending pin again, which was found as that object, so that it must be compared once more before it holds.
/// Returns whether that was done, or the pin is gone: then clean-up may ignore it.
async fn is_passed_over(lake: &Lake, pin: &Pin, mut object: UpdateVersion) -> Result<bool> {
    for _ in 0..TRIES_MAX {
        match put(lake, pin.name, &pin.to_json(true), PutMode::Update(object)).await? {
            Put::Done => return Ok(true),
            // Without a comparison, a process that is about to make the pin hold would not notice.
            Put::NotCompared => return Ok(false),
            Put::Taken => {}
        }
        object = match look(lake, pin.name).await? {
            None => return Ok(true),
            Some(PinContent::Pin { pin: found, pending: Some(object) }) if found == *pin => object,
            Some(_) => return Ok(false),
        };
    }
    Ok(false)
}

/// Reads the objects of all pins, by name.
async fn found(lake: &Lake) -> Result<Vec<PinContent>> {
    let what = || format!("lake {}: listing its pins", lake.url());
    let store = lake.object_store()?;
    let files: Vec<_> = store.list(Some(&Path::from(PINS))).try_collect().await.while_doing(what)?;
    let names = files.iter().filter_map(|file| file.location.filename()?.strip_suffix(".json")?.parse().ok());
    let reads: Vec<_> = names.map(|name| look(lake, name)).collect();
    let found: Vec<_> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Reads the object of a pin, if there is one.
async fn look(lake: &Lake, name: PinName) -> Result<Option<PinContent>> {
    Ok(get(lake, &path_of(name)).await?.map(|(bytes, object)| PinContent::of_json(name, &bytes, object)))
}

/// Announces that versions before `from` of a table with this id expire from now on, unless they are pinned. The caller
/// must read the pins afterwards. An earlier announcement is never taken back, because another clean-up may be deleting
/// by it; one for another table under the same name does not count.
pub fn announce<'a>(lake: &'a Lake, table: Table, id: &'a str, from: Version) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let (path, what) = (kept_path(table), || format!("{table}: saying what is kept"));
        let (store, text) = (lake.object_store()?, json!({ "from": from, "id": id }).to_string());
        let is_said =
            |bytes: &[u8]| CleanUpNotice::of_json(bytes).is_some_and(|kept| kept.from >= from && kept.is_of(id));
        for _ in 0..TRIES_MAX {
            let found = get(lake, &path).await?;
            let mode = match &found {
                Some((bytes, _)) if is_said(bytes) => return Ok(()),
                Some((_, version)) => PutMode::Update(version.clone()),
                None => PutMode::Create,
            };
            match store.put_opts(&path, text.clone().into(), PutOptions::from(mode)).await {
                Ok(_) => return Ok(()),
                Err(error) if is_taken(&error) => {}
                // A store that cannot compare: overwrite, and let the next round read what is there.
                Err(StoreError::NotImplemented { .. }) => {
                    store.put(&path, text.clone().into()).await.while_doing(what)?;
                }
                Err(error) => return Err(error).while_doing(what),
            }
        }
        Err(LakeError::store(what(), "others say so at the same time; try again"))
    })
}

/// Removes a pin again if clean-up has announced already that its version expires.
async fn keep(lake: &Lake, table: Table, pin: &Pin) -> Result<()> {
    let path = kept_path(table);
    let Some((bytes, _)) = get(lake, &path).await? else { return Ok(()) };
    let refused = match CleanUpNotice::of_json(&bytes) {
        Some(kept) if pin.version >= kept.from => return Ok(()),
        Some(kept) => {
            if TableView::newest(lake, table).await?.is_some_and(|view| !kept.is_of(view.id())) {
                return Ok(());
            }
            let (version, from) = (pin.version, kept.from);
            let why =
                format!("version {version} of {table} is being cleaned up; the first that can be pinned is {from}");
            Code::VersionGone.because(why)
        }
        None => Code::PinDamaged
            .because(format!("{path} is empty or damaged; let `clicklake compact` clean up once more, then pin again")),
    };
    unpin(lake, pin.name).await?;
    Err(LakeError::Refused(refused))
}

/// Announcement of clean-up: the first version of a table that is kept.
struct CleanUpNotice {
    from: Version,
    /// Id of the table that it was made for; `None` in announcements that older programs wrote.
    id: Option<String>,
}

impl CleanUpNotice {
    fn of_json(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self { from: value["from"].as_u64()?, id: value["id"].as_str().map(str::to_owned) })
    }

    /// Returns whether the notice is of the table with this id. A notice without an id may be of any table.
    fn is_of(&self, id: &str) -> bool {
        self.id.as_ref().is_none_or(|of| of == id)
    }
}

/// Outcome of putting a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    Done,
    /// The object is not the one that was expected: it has changed, is there already, or is gone.
    Taken,
    /// The store cannot compare versions of an object.
    NotCompared,
}

async fn put(lake: &Lake, name: PinName, pin: &Value, mode: PutMode) -> Result<Put> {
    let what = || format!("writing the pin {}", name.as_str());
    match lake.object_store()?.put_opts(&path_of(name), pin.to_string().into(), PutOptions::from(mode)).await {
        Ok(_) => Ok(Put::Done),
        Err(error) if is_taken(&error) => Ok(Put::Taken),
        Err(StoreError::NotImplemented { .. }) => Ok(Put::NotCompared),
        Err(error) => Err(error).while_doing(what),
    }
}

/// Reads an object, with the version that tells it from its earlier and later contents.
async fn get(lake: &Lake, path: &Path) -> Result<Option<(Vec<u8>, UpdateVersion)>> {
    let what = || format!("reading {path}");
    match lake.object_store()?.get(path).await {
        Ok(found) => {
            let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            Ok(Some((found.bytes().await.while_doing(what)?.to_vec(), version)))
        }
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).while_doing(what),
    }
}

fn is_taken(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(error, E::AlreadyExists { .. } | E::Precondition { .. } | E::NotFound { .. })
}

fn path_of(name: PinName) -> Path {
    Path::from(format!("{PINS}/{}.json", name.as_str()))
}

fn kept_path(table: Table) -> Path {
    Path::from(format!("{KEPT}/{table}.json"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::commit::TableLog;

    #[tokio::test]
    async fn a_pin_is_known_again_whatever_its_clock_tells() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let table = Table::ClicksMinute;
        let expires = DateTime::from_timestamp(1_772_884_800, 123_456_789);
        let invoice = Pin { name: "invoice".parse().expect("a name"), table: table.to_string(), version: 0, expires };
        for _ in 0..2 {
            assert_eq!(pin_known(&lake, table, &invoice).await.expect("memory"), Pinned::Done);
        }
        let later = Pin { expires: DateTime::from_timestamp(1_772_884_801, 0), ..invoice };
        assert!(matches!(pin_known(&lake, table, &later).await.expect("memory"), Pinned::Taken(_)));
    }

    #[tokio::test]
    async fn a_clean_up_notice_of_a_removed_table_does_not_apply_to_its_successor() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let table = Table::ClicksMinute;
        let log = TableLog::open(&lake, table).await.expect("memory");
        let first = Pin { name: "first".parse().expect("a name"), table: table.to_string(), version: 0, expires: None };
        announce(&lake, table, "of a table that was removed", 9_120).await.expect("memory");
        assert_eq!(pin(&lake, table, &first).await.expect("memory"), Pinned::Done);
        announce(&lake, table, log.id(), 12).await.expect("memory");
        let second = Pin { name: "second".parse().expect("a name"), ..first };
        let refused = pin(&lake, table, &second).await.expect_err("it is being given up");
        assert_eq!(refused.code(), Some(Code::VersionGone), "{refused}");
        assert!(refused.to_string().ends_with("the first that can be pinned is 12"), "{refused}");
    }
}
