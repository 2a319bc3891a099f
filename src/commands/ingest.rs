//! `clicklake ingest`: writes a topic into the raw tables.

use ::ingest::Run;
use ::ingest::drive::{CommitPolicy, Progress};
use ::ingest::kafka::KafkaOptions;
use lake_store::Lake;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{kafka, until};
use crate::arguments::Ingest;
use crate::metrics::{self, JobCollector};

pub async fn run(lake: &str, command: Ingest, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let kafka = kafka(&command.kafka.bootstrap_servers, &command.kafka.topic)?;
    let kafka = KafkaOptions { instance: command.instance, ..kafka };
    let running = command.running;
    let (progress, seen) = watch::channel(Progress::default());
    let run = Run { policy: CommitPolicy::every(running.commit_interval), until: until(&running), stop, progress };
    if let Some(address) = running.metrics {
        let collector = JobCollector { job: "ingest", progress: seen.clone() };
        metrics::serve(address, "ingest", Box::new(collector)).await?;
    }
    ::ingest::ingest(&lake, &kafka, run).await?;
    info!(messages = seen.borrow().read, "done");
    Ok(())
}
