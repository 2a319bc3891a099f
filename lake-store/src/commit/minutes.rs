//! Opens `clicks_minute`, which records the parameters that decide its counts.

use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::minute::{Parameters, Requested};

use super::log::TableLog;
use crate::error::Result;
use crate::lake::Lake;

impl TableLog {
    /// Opens `clicks_minute`, and makes it first if the lake lacks it. Refuses a table that records other parameters
    /// than those asked for.
    pub fn open_minutes<'a>(lake: &'a Lake, requested: &'a Requested) -> BoxFuture<'a, Result<(Self, Parameters)>> {
        Box::pin(async move {
            let table = Table::ClicksMinute;
            let new = requested.of_a_new_table(table, Parameters::default())?;
            let log = Self::open_or_make(lake, &new.definition(table)).await?;
            let recorded = log.parameters()?;
            requested.agrees_with(table, &recorded)?;
            log.has_its_stands().await?;
            Ok((log, recorded))
        })
    }

    /// Returns the parameters that a table of minutes records: they decide its counts.
    pub fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters::recorded(self.table(), self.properties())?)
    }
}
