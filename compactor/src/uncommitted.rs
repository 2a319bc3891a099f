//! Tracks files that were written but that no commit names yet. Only their `Add`s are held; if the work fails, the
//! files are deleted.

use std::sync::Arc;

use deltalake::kernel::Add;
use lake_store::LakeError;
use lake_store::files::{DataFile, delete_uncommitted};
use object_store::ObjectStore;

/// Files of one table that were written and not yet committed.
pub(crate) struct Uncommitted {
    store: Arc<dyn ObjectStore>,
    adds: Vec<Add>,
}

impl Uncommitted {
    /// Creates an empty set for a store.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, adds: Vec::new() }
    }

    /// Puts a file and keeps its `Add`.
    pub async fn put(&mut self, file: DataFile) -> Result<(), LakeError> {
        // A put that returns an error may have written the file all the same.
        self.adds.push(file.add.clone());
        file.put(self.store.as_ref()).await
    }

    /// Returns the `Add`s if the work was done; deletes the files if it failed.
    pub async fn after<E>(self, done: Result<(), E>) -> Result<Vec<Add>, E> {
        if let Err(error) = done {
            delete_uncommitted(self.store.as_ref(), &self.adds).await;
            return Err(error);
        }
        Ok(self.adds)
    }
}
