//! Another engine that writes to the tables of a lake by Delta's protocol alone: it gives them features, columns and
//! properties, merges files under names and in orders of its own, removes files and puts them back.
//!
//! It undoes what it does to rows: when it is over, each row is there once.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::compute::concat_batches;
use deltalake::kernel::{Action, Add};
use deltalake::logstore::get_actions;
use lake_schemas::Table;
use lake_store::{Lake, files, read};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use rand::Rng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Name of the engine, by which its own entries are known.
const ENGINE: &str = "Another/1.0";

/// A table as the engine sees it, followed from version to version.
pub struct Engine {
    lake: Lake,
    table: Table,
    next: u64,
    metadata: Value,
    /// Whether the table has a feature that the engine gave it.
    has_feature: bool,
    live: BTreeMap<String, Add>,
    /// Files that it removed, and has not put back.
    taken: BTreeMap<String, Add>,
}

type Done = Result<(), String>;

impl Engine {
    pub fn of(lake: &Lake, table: Table) -> Self {
        let (live, taken) = (BTreeMap::new(), BTreeMap::new());
        Self { lake: lake.clone(), table, next: 0, metadata: Value::Null, has_feature: false, live, taken }
    }

    /// Does one thing.
    pub async fn act(&mut self, rng: &mut ChaCha8Rng) -> Done {
        self.follow().await?;
        if self.next == 0 {
            return Ok(());
        }
        match rng.random_range(0..8) {
            0 => {
                self.protocol(true).await?;
                tokio::time::sleep(Duration::from_millis(rng.random_range(1..3_000))).await;
                self.follow().await?;
                self.protocol(false).await
            }
            1 => self.add_column(&format!("note_{}", rng.random_range(0..5))).await,
            2 | 3 if self.table.is_minutes() => self.take(rng).await,
            4 | 5 => self.put_back().await,
            _ => self.optimize(rng).await,
        }
    }

    /// Undoes what it has done: no feature is left, and no file is missing.
    pub async fn put_right(&mut self) -> Done {
        self.follow().await?;
        if self.has_feature {
            self.protocol(false).await?;
        }
        self.put_back().await
    }

    async fn follow(&mut self) -> Done {
        let log_store = self.lake.log_store(self.table.name()).map_err(|error| error.to_string())?;
        while let Some(entry) = log_store.read_commit_entry(self.next).await.map_err(|error| error.to_string())? {
            let actions = get_actions(self.next, &entry).map_err(|error| error.to_string())?;
            let is_own = actions.iter().any(
                |action| matches!(action, Action::CommitInfo(info) if info.engine_info.as_deref() == Some(ENGINE)),
            );
            for action in &actions {
                match action {
                    Action::Metadata(metadata) => self.metadata = json!({ "metaData": metadata }),
                    Action::Protocol(protocol) => self.has_feature = json!(protocol)["minReaderVersion"] != 1,
                    Action::Remove(remove) => {
                        let file = self.live.remove(&remove.path);
                        self.taken.extend(
                            file.filter(|_| is_own && remove.data_change).map(|file| (file.path.clone(), file)),
                        );
                    }
                    _ => {}
                }
            }
            for action in actions {
                if let Action::Add(add) = action {
                    self.taken.remove(&add.path);
                    self.live.insert(add.path.clone(), add);
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Puts an entry; if another writer was faster, gives up.
    async fn put(&mut self, operation: &str, mut actions: Vec<Value>) -> Done {
        let info = json!({ "timestamp": 1, "operation": operation, "engineInfo": ENGINE });
        actions.insert(0, json!({ "commitInfo": info }));
        let text = actions.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let path = Path::from(format!("{}/_delta_log/{:020}.json", self.table, self.next));
        let store = self.lake.object_store().map_err(|error| error.to_string())?;
        let put = store.put_opts(&path, text.into(), PutOptions::from(PutMode::Create)).await;
        put.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn protocol(&mut self, with_feature: bool) -> Done {
        let features = json!(["deletionVectors"]);
        let protocol = if with_feature {
            json!({
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features
            })
        } else {
            json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
        };
        self.put("ALTER TABLE", vec![json!({ "protocol": protocol })]).await
    }

    /// Adds a column, and a property of its own.
    pub async fn add_column(&mut self, column: &str) -> Done {
        self.follow().await?;
        let mut metadata = self.metadata.clone();
        let text = metadata["metaData"]["schemaString"].as_str().ok_or("no schema")?;
        let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let fields = schema["fields"].as_array_mut().ok_or("no fields")?;
        if fields.iter().all(|field| field["name"] != column) {
            fields.push(json!({ "name": column, "type": "string", "nullable": true, "metadata": {} }));
        }
        metadata["metaData"]["schemaString"] = json!(schema.to_string());
        metadata["metaData"]["configuration"]["owner"] = json!(column);
        self.put("ALTER TABLE", vec![metadata]).await
    }

    /// Removes a file, with its rows.
    async fn take(&mut self, rng: &mut ChaCha8Rng) -> Done {
        let Some(file) = self.live.values().choose(rng) else { return Ok(()) };
        let remove = remove_of(file, true);
        self.put("DELETE", vec![remove]).await
    }

    /// Puts back the files that it removed.
    async fn put_back(&mut self) -> Done {
        let adds: Vec<_> = self.taken.values().map(|file| add_of(file, true)).collect();
        if adds.is_empty() { Ok(()) } else { self.put("RESTORE", adds).await }
    }

    /// Merges files of a folder, whatever partitions they are of, under a name of its own.
    async fn optimize(&mut self, rng: &mut ChaCha8Rng) -> Done {
        let failed = |error: lake_store::LakeError| error.to_string();
        let folder = |file: &Add| file.path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let Some(one) = self.live.values().choose(rng).cloned() else { return Ok(()) };
        let others = self.live.values().filter(|file| file.path != one.path && folder(file) == folder(&one));
        let inputs: Vec<_> = others.take(2).chain([&one]).cloned().collect();
        let store = self.lake.log_store(self.table.name()).map_err(failed)?.object_store(None);
        let schema = match self.metadata["metaData"]["configuration"].as_object() {
            Some(recorded) if self.table.is_counts() => {
                let recorded =
                    recorded.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                let recorded = recorded.collect();
                let parameters = lake_schemas::minute::Parameters::recorded(self.table, &recorded);
                parameters.map_err(|error| error.to_string())?.schema(self.table)
            }
            _ => self.table.schema(),
        };
        let mut rows = Vec::new();
        for input in inputs.iter().rev().cloned() {
            rows.extend(read::all_rows(store.clone(), self.table, schema.clone(), input).await.map_err(failed)?);
        }
        let rows = concat_batches(&schema, &rows).map_err(|error| error.to_string())?;
        let mut actions: Vec<_> = inputs.iter().map(|file| remove_of(file, false)).collect();
        for file in files::encode(self.table, &[rows]).await.map_err(failed)? {
            file.put(store.as_ref()).await.map_err(failed)?;
            // delta-rs names merged files like this, and so did earlier versions of clicklake.
            let path = file.add.path.replace(".clicklake.zstd.", ".zstd.").replace(".small.snappy.", ".zstd.");
            let copied = store.copy(&Path::from(file.add.path.as_str()), &Path::from(path.as_str())).await;
            copied.map_err(|error| error.to_string())?;
            actions.push(add_of(&Add { path, ..file.add }, false));
        }
        self.put("OPTIMIZE", actions).await
    }
}

fn add_of(file: &Add, data_change: bool) -> Value {
    json!({ "add": Add { data_change, ..file.clone() } })
}

fn remove_of(file: &Add, data_change: bool) -> Value {
    json!({ "remove": {
        "path": file.path, "dataChange": data_change, "deletionTimestamp": 1, "extendedFileMetadata": true,
        "partitionValues": file.partition_values, "size": file.size
    } })
}
