//! Checks that clean-up has left a whole lake: every version that can still be read has what it always had.

use std::collections::BTreeSet;

use lake_schemas::Table;
use lake_schemas::table::Version;
use lake_store::Lake;
use lake_store::commit::TableView;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use super::{Survivors, live_files};

/// Number of versions of a table that are read as any reader of Delta tables does, beside the first, the newest and the
/// pinned ones. For the others it is enough that their files are there, because files never change.
const READ: usize = 6;

/// Checks that all versions of all tables, from the first that the store still has, name the files that they always
/// named, that these are there, and that the pinned versions are among them.
pub async fn what_is_kept_is_whole(world: &Survivors, seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pinned = world.store.promised();
    for table in Table::ALL {
        let Some(view) = newest(&world.lake, table).await? else { continue };
        let (first, newest) = (view.first().await.map_err(|error| error.to_string())?, view.version());
        let pinned: Vec<_> = pinned.iter().filter(|pin| pin.table == table.name()).collect();
        if let Some(lost) = pinned.iter().find(|pin| pin.version < first) {
            return Err(format!("{table}: {lost:?} is lost; the first version is {first}"));
        }
        let history = live_files(&world.history, table).await;
        let named: BTreeSet<_> = history[first as usize..].iter().flatten().collect();
        for path in named {
            let path = Path::from_url_path(format!("lake/{table}/{path}")).expect("a path");
            if world.store.head(&path).await.is_err() {
                return Err(format!("{table}: {path} is gone, which a version from {first} to {newest} names"));
            }
        }
        let some = (first..newest).choose_multiple(&mut rng, READ).into_iter();
        let wanted: BTreeSet<Version> =
            some.chain([first, newest]).chain(pinned.iter().map(|pin| pin.version)).collect();
        for version in wanted {
            let files = match view.at(version).await {
                Ok(view) => view.live_files().await,
                Err(error) => Err(error),
            };
            let files = files.map_err(|error| format!("{table} version {version}: {error}"))?;
            let found: BTreeSet<_> = files.into_iter().map(|file| file.path).collect();
            if found != history[version as usize] {
                return Err(format!("{table} version {version}: {found:?}, not {:?}", history[version as usize]));
            }
        }
    }
    Ok(())
}

async fn newest(lake: &Lake, table: Table) -> Result<Option<TableView>, String> {
    TableView::newest(lake, table).await.map_err(|error| error.to_string())
}
