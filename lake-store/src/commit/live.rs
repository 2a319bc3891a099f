//! Marks of a table of minutes, which say who counts it live: one commit, which changes no row, sets the property.
//!
//! Who works on the table goes on: jobs read the property where they look at the table, and nothing that they hold
//! depends on it. Programs that do not know the property refuse to write the table from then on.

use futures::future::BoxFuture;
use lake_schemas::Live;
use lake_schemas::live::PROPERTY_LIVE;
use lake_schemas::table::Version;

use super::entry::LIVE;
use super::log::TableLog;
use super::{Commit, Outcome};
use crate::error::Result;

impl TableLog {
    /// Records who counts the table live. Returns the version that says so.
    ///
    /// # Panics
    ///
    /// If it is no table of minutes, or if only a table without the property says so: bugs of the caller.
    pub fn set_live(&mut self, live: Live) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async move {
            assert!(self.table().is_minutes(), "{}: only tables of minutes are counted live", self.table());
            let value = live.to_property().expect("the property has a value for what the caller asks for");
            let mut definition = self.terms.definition().clone();
            definition.properties.retain(|(key, _)| key != PROPERTY_LIVE);
            definition.properties.push((PROPERTY_LIVE.to_owned(), value.to_owned()));
            let commit = Commit { definition: Some(definition), ..Commit::new(LIVE) };
            match self.commit(&commit).await? {
                Outcome::Committed(version) => Ok(version),
                outcome => unreachable!("it moves and removes nothing, and goes onto any version: {outcome:?}"),
            }
        })
    }
}
