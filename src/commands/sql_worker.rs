//! `clicklake sql-worker`: answers SQL of one key. `clicklake serve` starts it with a socket as its standard input; it
//! is not for people.

use std::ops::RangeInclusive;

use anyhow::Context;
use lake_store::Lake;
use serve::{bound_worker, work};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::arguments::SqlWorker;

/// Threads that wait for files: each has a stack of its own, which counts as memory.
const BLOCKING_THREADS_MAX: usize = 32;

/// Threads that run statements: one that hangs must not keep others of the same key from being answered, and many would
/// only be unused stacks.
const THREADS: RangeInclusive<usize> = 2..=8;

/// Bounds the memory of this process before it has threads, and the number of its threads.
pub fn bound(command: &SqlWorker, runtime: &mut Builder) -> anyhow::Result<()> {
    bound_worker(command.memory).context("bounding this process")?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    runtime.worker_threads(processors.clamp(*THREADS.start(), *THREADS.end()));
    runtime.max_blocking_threads(BLOCKING_THREADS_MAX);
    Ok(())
}

pub async fn run(lake: &str, command: SqlWorker, stop: CancellationToken) -> anyhow::Result<()> {
    Ok(work(Lake::at(lake)?, command.memory, stop).await?)
}
