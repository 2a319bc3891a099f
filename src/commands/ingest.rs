//! `clicklake ingest`: a topic into the raw tables.

use ::ingest::Pace;
use ::ingest::drive::Progress;
use lake_schemas::Lake;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::kafka;
use crate::arguments::Ingest;
use crate::metrics;

pub async fn run(lake: &str, command: Ingest, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let kafka = kafka(&command.bootstrap_servers, &command.topic)?;
    let pace = Pace { commit_interval: command.commit_interval, until_caught_up: command.until_caught_up };
    let (progress, seen) = watch::channel(Progress::default());
    if let Some(address) = command.metrics {
        metrics::serve(address, "ingest", seen.clone()).await?;
    }
    ::ingest::ingest(&lake, &kafka, pace, stop, progress).await?;
    info!(messages = seen.borrow().read, "done");
    Ok(())
}
