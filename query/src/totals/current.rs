//! The tables of counts that the current SQL statement takes totals from: looked up when first needed, and kept until
//! the statement is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_schemas::table::Version;
use lake_store::locked::lock;
use lake_store::{Lake, LakeError};
use tokio::sync::Mutex as AsyncMutex;

use super::as_of::sources_as_of;
use super::question::AsOf;
use super::sources::Sources;

/// Choice of the tables that counts are taken from.
#[derive(Clone)]
pub(crate) enum From {
    /// The tables given here.
    These(Arc<Sources>),
    /// The tables that the current statement sees.
    Current(Arc<Current>),
}

impl From {
    /// Returns the tables, and looks them up if necessary.
    pub async fn sources(&self) -> Result<Arc<Sources>, LakeError> {
        match self {
            Self::These(sources) => Ok(Arc::clone(sources)),
            Self::Current(current) => current.sources().await,
        }
    }
}

/// Tables of counts of the current statement, which are the same for all its parts.
pub(crate) struct Current {
    lake: Lake,
    sources: Mutex<Option<Arc<Sources>>>,
    /// Held during the look-up, so that it is done once.
    opening: AsyncMutex<()>,
    /// Whether any statement of the session has asked for totals. A view that asks for them can exist only from then
    /// on.
    is_asked: AtomicBool,
}

impl Current {
    /// Makes the value for a lake. No table is looked up yet.
    pub fn new(lake: Lake) -> Self {
        Self { lake, sources: Mutex::default(), opening: AsyncMutex::default(), is_asked: AtomicBool::new(false) }
    }

    /// Returns the tables, and looks them up first if this statement has not.
    pub async fn sources(&self) -> Result<Arc<Sources>, LakeError> {
        let _opening = self.opening.lock().await;
        if let Some(sources) = &*lock(&self.sources) {
            return Ok(Arc::clone(sources));
        }
        let sources = Arc::new(sources_as_of(&self.lake, AsOf::Newest).await?);
        *lock(&self.sources) = Some(Arc::clone(&sources));
        self.is_asked.store(true, Ordering::Relaxed);
        Ok(sources)
    }

    /// Returns the parameters that decide the counts, if the tables have been looked up.
    pub fn parameters(&self) -> Option<Parameters> {
        lock(&self.sources).as_ref().map(|sources| sources.parameters.clone())
    }

    /// Returns the version that a table is taken at, if the tables have been looked up.
    pub fn version_of(&self, table: Table) -> Option<Version> {
        let sources = lock(&self.sources);
        let sources = sources.as_ref()?;
        match table {
            Table::ClicksMinute => Some(sources.minutes.version),
            Table::ClicksHourly => sources.hourly.as_ref().map(|level| level.version),
            Table::ClicksDaily => sources.daily.as_ref().map(|level| level.version),
            _ => None,
        }
    }

    /// Returns whether a view of the session may ask for totals. Tables must then be looked up for any statement that
    /// names a view.
    pub fn may_be_in_views(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Forgets the tables: the next statement looks again.
    pub fn forget(&self) {
        *lock(&self.sources) = None;
    }
}
