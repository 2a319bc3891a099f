//! Law: a change by another program that is taken back is also gone for totals that follow the table: they are right
//! again as soon as the table is.
//!
//! The other program writes by Delta's protocol alone, entry by entry and by hand.

use std::collections::HashMap;

use deltalake::kernel::Add;
use lake_schemas::Table;
use lake_schemas::table::Version;
use lake_store::Lake;
use lake_store::commit::TableView;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use query::QueryError;
use query::totals::Totals;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::SUMMING_MAX;
use super::questions::{answer, by_ad, contents, granularities, is_right};
use super::world::World;
use crate::simulation::{compact, simulate};

/// Name by which the other program calls itself.
pub const ENGINE: &str = "Another/1.0";

/// Advice in the refusal of a table with deletion vectors.
pub const WAY_OUT: &str = "DROP FEATURE deletionVectors";

/// Another program that writes to a table.
pub struct Others {
    lake: Lake,
    table: Table,
    newest: Version,
}

impl Others {
    /// Finds the table at its newest version.
    pub async fn of(lake: &Lake, table: Table) -> Self {
        let newest = TableView::newest(lake, table).await.expect("it can be read").expect("it is there").version();
        Self { lake: lake.clone(), table, newest }
    }

    /// Returns the newest version of the table.
    pub fn newest(&self) -> Version {
        self.newest
    }

    /// Lets files have deletion vectors from now on.
    pub async fn turn_vectors_on(&mut self) {
        let vectors = json!(["deletionVectors"]);
        let protocol = json!({
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": vectors, "writerFeatures": vectors
        });
        self.put("SET TBLPROPERTIES", &[json!({ "protocol": protocol })]).await;
    }

    /// Forbids deletion vectors again.
    pub async fn turn_vectors_off(&mut self) {
        let protocol = json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } });
        self.put("DROP FEATURE", &[protocol]).await;
    }

    /// Deletes all rows of a file by a deletion vector.
    pub async fn delete_by_vector(&mut self, file: &Add) {
        let mut add = add_of(file);
        add["add"]["deletionVector"] = vector();
        self.put("DELETE", &[remove_of(file, true), add]).await;
    }

    /// Removes a file whose rows are all deleted by a vector.
    pub async fn purge(&mut self, file: &Add) {
        let mut remove = remove_of(file, false);
        remove["remove"]["deletionVector"] = vector();
        self.put("REORG", &[remove]).await;
    }

    /// Removes a file, with its rows.
    pub async fn delete(&mut self, file: &Add) {
        self.put("DELETE", &[remove_of(file, true)]).await;
    }

    /// Puts back a file that was removed.
    pub async fn restore(&mut self, file: &Add) {
        self.put("RESTORE", &[add_of(file)]).await;
    }

    /// Copies a file to a place where no file of the table is, and removes the copy again.
    async fn misplace(&mut self, file: &Add) {
        let odd = Add { path: "odd.parquet".to_owned(), partition_values: HashMap::new(), ..file.clone() };
        let [from, to] = [file, &odd].map(|file| Path::from(format!("{}/{}", self.table, file.path)));
        self.lake.object_store().expect("an address").copy(&from, &to).await.expect("the file is there");
        self.put("WRITE", &[add_of(&odd)]).await;
        self.delete(&odd).await;
    }

    async fn put(&mut self, operation: &str, actions: &[Value]) {
        let info = json!({ "commitInfo": { "timestamp": 1, "operation": operation, "engineInfo": ENGINE } });
        let lines: Vec<_> = [&info].into_iter().chain(actions).map(Value::to_string).collect();
        self.newest += 1;
        let path = Path::from(format!("{}/_delta_log/{:020}.json", self.table, self.newest));
        let store = self.lake.object_store().expect("an address");
        let put = store.put_opts(&path, lines.join("\n").into(), PutOptions::from(PutMode::Create)).await;
        put.expect("nobody else writes");
    }
}

fn vector() -> Value {
    let inline = "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
    json!({ "storageType": "i", "pathOrInlineDv": inline, "sizeInBytes": 40, "cardinality": 6 })
}

fn add_of(file: &Add) -> Value {
    json!({ "add": Add { data_change: true, ..file.clone() } })
}

fn remove_of(file: &Add, data_change: bool) -> Value {
    json!({ "remove": {
        "path": file.path, "dataChange": data_change, "deletionTimestamp": 1, "extendedFileMetadata": true,
        "partitionValues": file.partition_values, "size": file.size
    } })
}

/// Returns the live files of a table, in the order of their paths.
pub async fn files_of(lake: &Lake, table: Table) -> Vec<Add> {
    let view = TableView::newest(lake, table).await.expect("it can be read").expect("it is there");
    let mut files = view.live_files().await.expect("it can be read");
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

async fn look(totals: &Totals) -> Result<Version, QueryError> {
    totals.look(Instant::now() + SUMMING_MAX).await
}

/// Checks that totals that look again answer by the newest version, and rightly.
async fn is_right_again(totals: &Totals, lake: &Lake) {
    let contents = contents(lake).await;
    let newest = contents.len() as u64 - 1;
    assert_eq!(look(totals).await.expect("nothing is wrong any more"), newest);
    for granularity in granularities() {
        let asked = by_ad(granularity);
        let answer = answer(totals, &asked).await.expect("an answer");
        assert_eq!(answer.at.minutes, newest);
        is_right(&answer, &contents, &asked).expect("the plain sum");
    }
}

/// Makes a world whose minutes are rolled up, and totals that follow them.
async fn followed() -> (World, Totals) {
    let mut world = World::of_seed(3).await;
    for _ in 0..6 {
        world.append().await;
    }
    compact(&world.lake, 1).await.expect("memory works");
    let totals = Totals::new(world.lake.clone()).expect("a session");
    is_right_again(&totals, &world.lake).await;
    (world, totals)
}

#[test]
fn a_table_that_was_refused_is_answered_from_again_when_it_is_put_right() {
    for is_seen in [true, false] {
        simulate(async {
            let (mut world, totals) = followed().await;
            let is_refused = async || {
                if is_seen {
                    let error = look(&totals).await.expect_err("its rows cannot be told").to_string();
                    assert!(error.contains(WAY_OUT), "{error}");
                }
            };
            let (mut others, files) =
                (Others::of(&world.lake, Table::ClicksMinute).await, files_of(&world.lake, Table::ClicksMinute).await);
            others.turn_vectors_on().await;
            is_refused().await;
            others.delete_by_vector(&files[0]).await;
            is_refused().await;
            others.purge(&files[0]).await;
            others.turn_vectors_off().await;
            is_right_again(&totals, &world.lake).await;
            world.append().await;
            is_right_again(&totals, &world.lake).await;
        });
    }
}

#[test]
fn a_file_that_is_none_of_ours_hurts_nobody_once_it_is_gone() {
    simulate(async {
        let (mut world, totals) = followed().await;
        let file = files_of(&world.lake, Table::ClicksMinute).await.swap_remove(0);
        Others::of(&world.lake, Table::ClicksMinute).await.misplace(&file).await;
        is_right_again(&totals, &world.lake).await;
        world.append().await;
        is_right_again(&totals, &world.lake).await;
    });
}

/// The protocol of the table does not announce the vector: only the files show it.
#[test]
fn a_file_with_deleted_rows_is_refused_as_long_as_it_is_there() {
    simulate(async {
        let (world, totals) = followed().await;
        let file = files_of(&world.lake, Table::ClicksMinute).await.swap_remove(0);
        let mut others = Others::of(&world.lake, Table::ClicksMinute).await;
        others.delete_by_vector(&file).await;
        for _ in 0..2 {
            let error = look(&totals).await.expect_err("its rows cannot be told").to_string();
            assert!(error.contains(WAY_OUT) && error.contains(&file.path), "{error}");
        }
        others.purge(&file).await;
        is_right_again(&totals, &world.lake).await;
    });
}
