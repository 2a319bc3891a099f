//! `clicklake aggregate`: counts a topic into minutes.

use ::ingest::Run;
use ::ingest::drive::{CommitPolicy, Progress};
use lake_store::Lake;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{kafka, requested, until};
use crate::arguments::Aggregate;
use crate::memory;
use crate::metrics::{self, JobCollector};

pub async fn run(lake: &str, command: Aggregate, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let kafka = kafka(&command.kafka.bootstrap_servers, &command.kafka.topic)?;
    let requested = requested(&command.settings);
    let running = command.running;
    let (progress, seen) = watch::channel(Progress::default());
    if let Some(address) = running.metrics {
        let collector = JobCollector { job: "aggregate", progress: seen.clone() };
        metrics::serve(address, "aggregate", Box::new(collector)).await?;
    }
    let policy = CommitPolicy {
        commit_interval: running.commit_interval,
        early_fire: command.early_fire,
        memory_max: Some(command.memory_limit.unwrap_or_else(memory::three_quarters)),
    };
    let run = Run { policy, until: until(&running), stop, progress };
    ::ingest::compute(&lake, &kafka, &requested, run).await?;
    info!("done");
    Ok(())
}
