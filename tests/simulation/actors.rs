//! Actors of a simulated world: what reads and writes the lake beside the jobs, such as backfills in place, rewriters
//! of files, and other programs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use backfill::{Promote, Promoted, Range, Replace, Replaced, Staging, What, Work, Writes};
use compactor::{CompactError, Compactor, Done, Keep, Plan};
use deltalake::kernel::Add;
use deltalake::{DeltaTable, checkpoints};
use lake_schemas::minute::{Dimension, Requested};
use lake_schemas::table::Version;
use lake_schemas::{EventTime, Table, Windows};
use lake_store::commit::{Commit, Outcome, TableLog, TableView};
use lake_store::pins::{self, Pin, Pinned};
use lake_store::{Lake, LakeError, RawFile, files, read, upgrade};
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::asker::{Read, ask};
use super::foreign::Engine;
use super::log::START_MS;
use super::{Clock, Does, KEEP, Statements, WorldStore, lake_on};

const MINUTE_MS: i64 = 60_000;

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// Prefix of the pins that actors make themselves.
const PIN: &str = "invoice_";

/// Number of pins at which an actor removes one of its own instead of adding another.
const PINS_MAX: usize = 3;

/// Kind of work that an actor does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Computes windows of `clicks_minute` again and replaces them, whether or not that is needed.
    Backfill,
    /// Replaces several files of a table by one.
    Rewrite(Table),
    /// Does rounds of compaction that expire no versions.
    Compact,
    /// Does rounds of compaction that also expire versions beyond the retention, and sweep files that no version names.
    CleanUp,
    /// Pins versions, and unpins them.
    Pin,
    /// Computes all of history into a staging table, and promotes it; or undoes that.
    Promote,
    /// Upgrades tables that are in an older format.
    Upgrade,
    /// Asks for totals, and checks the answers.
    Ask,
    /// Acts as another Delta engine, over a view of the store that has faults, too.
    Foreign(Table),
    /// Runs a statement of another program again and again, over a view of the store without faults.
    Other(Table, Does),
}

/// Surroundings of an actor: what it needs beside its own view of the lake.
#[derive(Clone)]
pub struct Around {
    /// Store of the world, without faults.
    pub store: WorldStore,
    /// Factor by which all waits are longer than usual: more than 1 in worlds that last for days.
    pub tempo: u32,
}

impl Around {
    /// Returns surroundings for an actor on a lake that belongs to no simulated world.
    pub fn no_world() -> Self {
        Self { store: WorldStore::new(Clock::start()), tempo: 1 }
    }
}

impl Actor {
    /// Acts until the future is dropped. When something fails, the actor tries something else.
    pub async fn act(self, lake: &Lake, around: &Around, seed: u64) {
        let (mut rng, mut read) = (ChaCha8Rng::seed_from_u64(seed ^ 0xac7), Read::new());
        let mut engine = match self {
            Self::Foreign(table) => Some(Engine::of(lake, table)),
            _ => None,
        };
        loop {
            tokio::time::sleep(around.tempo * Duration::from_millis(rng.random_range(100..4_000))).await;
            let _ = match self {
                Self::Backfill => backfill(lake, &mut rng).await.map(|_| ()),
                Self::Compact => compact(lake, rng.random_range(1..5)).await.map_err(|error| error.to_string()),
                Self::CleanUp => clean_up(lake, around, &mut rng).await.map_err(|error| error.to_string()),
                Self::Pin => pin(lake, around, &mut rng).await.map_err(|error| error.to_string()),
                Self::Promote => promote(lake, around, &mut rng).await,
                Self::Upgrade => upgrade_all(lake).await.map_err(|error| error.to_string()),
                Self::Ask => ask(lake, &lake_on(around.store.archive()), &mut read, &mut rng).await,
                Self::Foreign(_) => engine.as_mut().expect("it is one").act(&mut rng).await,
                Self::Other(table, does) => {
                    Statements { store: around.store.clone(), table }.act(does, &mut rng).await;
                    Ok(())
                }
                Self::Rewrite(table) => rewrite(lake, table, &mut rng).await.map_err(|error| error.to_string()),
            };
        }
    }
}

impl Actor {
    /// Undoes what would keep other writers from going on: table properties that forbid them to write.
    pub async fn end(self, around: &Around) {
        if let Self::Other(table, Does::Forbid) = self {
            Statements { store: around.store.clone(), table }.allow().await;
        }
    }
}

/// Returns a random part of history: all of it, some minutes, or what some versions added.
async fn range(lake: &Lake, rng: &mut ChaCha8Rng) -> Option<Range> {
    let minute = |number: i64| EventTime::from_millis(START_MS - START_MS.rem_euclid(MINUTE_MS) + number * MINUTE_MS);
    Some(match rng.random_range(0..4) {
        0 => Range::All,
        1 => {
            let newest = TableView::newest(lake, Table::Clicks).await.ok()??.version();
            let first = rng.random_range(0..=newest);
            Range::Versions(Some(first), Some(rng.random_range(first..=newest)))
        }
        _ => {
            let from = rng.random_range(-30..5);
            let (from, to) = (minute(from), minute(from + rng.random_range(1..30)));
            Range::Windows(Windows::between(from, to).ok()?)
        }
    })
}

async fn backfill(lake: &Lake, rng: &mut ChaCha8Rng) -> Result<Replaced, String> {
    let range = range(lake, rng).await.ok_or("no range")?;
    let (at_a_time, meter, stop) = (rng.random_range(1..4), Arc::default(), CancellationToken::new());
    let work = Work { lake, range, at_a_time, meter, stop };
    let wait = Duration::from_millis(rng.random_range(0..5_000));
    let replace = Replace { work, writes: Writes::Always, wait };
    replace.run().await.map_err(|error| error.to_string())
}

/// Does some rounds of one compactor.
pub async fn compact(lake: &Lake, rounds: usize) -> Result<(), CompactError> {
    let mut compactor = Compactor::new(lake.clone(), MEMORY);
    for _ in 0..rounds {
        compactor.round(&Plan::default(), &mut |_| ()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Writes log checkpoints, and does rounds of one compactor that expire old versions.
async fn clean_up(lake: &Lake, around: &Around, rng: &mut ChaCha8Rng) -> Result<(), CompactError> {
    let mut compactor = Compactor::new(lake.clone(), MEMORY);
    for _ in 0..rng.random_range(1..4) {
        compactor.round(&Plan::default(), &mut |_| ()).await?;
        // Versions expire only up to a log checkpoint. The tables' own writers make one every hundred versions, which
        // hardly any table of a world reaches; other engines make some, too.
        for table in Table::ALL {
            if rng.random_ratio(1, 2) {
                checkpoint(lake, table).await?;
            }
        }
        let orphans = rng.random_ratio(1, 2);
        compactor.round(&cleaning(&around.store, orphans), &mut count).await?;
        tokio::time::sleep(around.tempo * Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Returns the plan of a round that expires the versions which are too old by the clock of the world.
fn cleaning(store: &WorldStore, orphans: bool) -> Plan {
    let keep = Keep { now: store.clock().now(), keep: KEEP, orphans };
    Plan { keep: Some(keep), ..Plan::default() }
}

/// Runs a whole clean-up, which also finishes those whose process died half-way.
pub async fn clean_up_once(lake: &Lake, store: &WorldStore) -> Result<(), CompactError> {
    loop {
        let today = store.clock().now().date_naive();
        Compactor::new(lake.clone(), MEMORY).round(&cleaning(store, true), &mut count).await?;
        // In worlds that last for days, the clock jumps by hours at the end of each. If it jumps during a round, the
        // clocks of the process and of the store differ by hours, and the round expires nothing: so it is done again.
        if store.clock().now().date_naive() == today {
            return Ok(());
        }
    }
}

/// Writes a log checkpoint of a table at its newest version.
async fn checkpoint(lake: &Lake, table: Table) -> lake_store::Result<()> {
    let failed = |error| LakeError::store(format!("{table}: a log checkpoint"), error);
    let mut found = DeltaTable::new(lake.log_store(table.name())?);
    found.load().await.map_err(failed)?;
    checkpoints::create_checkpoint(&found, None).await.map_err(failed)
}

/// Number of versions that expired, and of files that were swept, in all worlds of this process.
static CLEANED: Mutex<[usize; 2]> = Mutex::new([0; 2]);

/// Returns how many versions expired so far, and how many files were swept.
pub fn cleaned() -> [usize; 2] {
    *CLEANED.lock().expect("no panic under the lock")
}

fn count(done: Done) {
    let mut cleaned_so_far = CLEANED.lock().expect("no panic under the lock");
    match done {
        Done::GaveUp { cleaned, .. } => cleaned_so_far[0] += cleaned.log_files,
        Done::Swept { cleaned, .. } => cleaned_so_far[1] += cleaned.files,
        _ => {}
    }
}

/// Pins a version for some days, or for good, or unpins one.
async fn pin(lake: &Lake, around: &Around, rng: &mut ChaCha8Rng) -> lake_store::Result<()> {
    let own: Vec<_> =
        pins::all(lake).await?.pins.into_iter().filter(|pin| pin.name.as_str().starts_with(PIN)).collect();
    if own.len() >= PINS_MAX
        && let Some(pin) = own.choose(rng)
    {
        around.store.release(pin);
        return pins::unpin(lake, pin.name).await.map(|_| ());
    }
    let Some(table) = Table::ALL.choose(rng) else { return Ok(()) };
    let Some(view) = TableView::newest(lake, *table).await? else { return Ok(()) };
    let version = rng.random_range(view.first().await?..=view.version());
    let days = rng.random_ratio(1, 2).then(|| chrono::Duration::days(rng.random_range(2..20)));
    let expires = days.map(|days| around.store.clock().now() + days);
    let name = format!("{PIN}{}", rng.random::<u32>()).parse().expect("a name");
    let pin = Pin { name, table: table.name().to_owned(), version, expires };
    if pins::pin(lake, *table, &pin).await? == Pinned::Done {
        around.store.promise(pin);
    }
    Ok(())
}

async fn promote(lake: &Lake, around: &Around, rng: &mut ChaCha8Rng) -> Result<(), String> {
    let stop = CancellationToken::new();
    let now = around.store.clock().now();
    let what = if rng.random_ratio(1, 3) {
        What::Before
    } else {
        let table = Table::Staging(format!("shadow_{}", rng.random::<u32>()).parse().expect("a name"));
        let dimensions = rng.random_ratio(1, 3).then(|| Dimension::ALL[..rng.random_range(0..=3)].to_vec());
        let allowed_lateness_ms = rng.random_ratio(1, 3).then(|| rng.random_range(0..60) * 1_000);
        let requested = Requested { dimensions, allowed_lateness_ms, ..Requested::default() };
        let work = Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
        let staging = Staging { work, table, requested };
        staging.run().await.map_err(|error| error.to_string())?;
        What::Staging(table)
    };
    let promote = Promote { lake, what, now, stop };
    if let Some(Promoted { version, .. }) = promote.run().await.map_err(|error| error.to_string())? {
        promised_to_be_undone(around, version).await;
    }
    Ok(())
}

/// Brings all tables to the newest format, as the command does.
pub async fn upgrade_all(lake: &Lake) -> lake_store::Result<()> {
    for lacking in upgrade::lacking(lake).await? {
        upgrade::upgrade(lake, lacking.table).await?;
    }
    Ok(())
}

/// Records the promise that a promotion can be undone: the version before it is pinned.
async fn promised_to_be_undone(around: &Around, promoted: Version) {
    let (history, table) = (lake_on(around.store.archive()), Table::ClicksMinute);
    let Some(minutes) = TableView::newest(&history, table).await.expect("memory") else { return };
    let entry = minutes.files_of(promoted).await.expect("memory").expect("its entry");
    // After an outage, the promotion may be reported with a later version: the one at which it was found to have
    // happened.
    if entry.job.as_deref() == Some("promote") {
        let (version, name) = (promoted - 1, format!("promote_{}", promoted - 1).parse().expect("a name"));
        let expires = Some(around.store.clock().now() + chrono::Duration::days(29));
        around.store.promise(Pin { name, table: table.name().to_owned(), version, expires });
    }
}

async fn rewrite(lake: &Lake, table: Table, rng: &mut ChaCha8Rng) -> lake_store::Result<()> {
    let Some(mut log) = TableLog::find(lake, table).await? else { return Ok(()) };
    let mut groups: BTreeMap<_, Vec<Add>> = BTreeMap::new();
    for file in log.live_files().await? {
        let values: BTreeMap<_, _> = file.partition_values.clone().into_iter().collect();
        let of = if table.is_minutes() { String::new() } else { partition_of(&file) };
        groups.entry((values, of)).or_default().push(file);
    }
    let Some((_, mut group)) = groups.into_iter().filter(|(_, group)| group.len() > 1).choose(rng) else {
        return Ok(());
    };
    // In a raw table, choose files that follow one another in the log. Elsewhere, use an order that does not depend on
    // file names: these are random, and the same seed must choose the same files.
    group.sort_by_key(|file| (RawFile::of(file).map_or(0, |file| file.offsets.first), file.stats.clone()));
    let count = rng.random_range(2..=group.len().min(5));
    let first = rng.random_range(0..=group.len() - count);
    let inputs: Vec<_> = group.drain(first..first + count).collect();
    let schema = log.schema();
    let mut rows = Vec::new();
    for input in inputs.iter().cloned() {
        rows.extend(read::all_rows(log.object_store(), table, schema.clone(), input).await?);
    }
    let rows = concat_batches(&schema, &rows).expect("the same columns");
    let rows = if table.is_minutes() { rows } else { in_order(&rows) };
    let mut adds = Vec::new();
    for file in files::encode(table, &[rows]).await? {
        file.put(log.object_store().as_ref()).await?;
        adds.push(file.add);
    }
    let commit = Commit { adds, removes: inputs, data_change: false, ..Commit::new("rewrite") };
    let outcome = log.commit(&commit).await?;
    assert!(matches!(outcome, Outcome::Committed(_) | Outcome::InputGone { .. }), "{outcome:?}");
    Ok(())
}

/// Returns a raw file's Kafka partition, by its statistics.
fn partition_of(file: &Add) -> String {
    let statistics: serde_json::Value =
        file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let smallest = &statistics["minValues"];
    format!("{}/{}", smallest["topic"], smallest["kafka_partition"])
}

fn in_order(rows: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(&rows["kafka_offset"], None, None).expect("numbers");
    take_record_batch(rows, &order).expect("rows")
}
