//! `clicklake generate`: sends clicks that a seed determines to a topic, and reports what became of them.

use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{kafka, now};
use crate::arguments::Generate;
use crate::report;

pub async fn run(command: Generate, stop: CancellationToken) -> anyhow::Result<()> {
    let kafka = kafka(&command.kafka.bootstrap_servers, &command.kafka.topic)?;
    let start_ms = now().timestamp_millis();
    let seed = command.seed.unwrap_or(start_ms.unsigned_abs());
    let generator = Generator::new(Settings {
        seed,
        ads: command.ads,
        disorder: command.disorder,
        duplicates: command.duplicates,
        late: command.late,
        malformed: command.malformed,
    });
    let load = Load { rate: command.rate, count: command.count, start_ms };
    let (counts, produced) = watch::channel(Counts::default());
    let done = produce(&kafka.client(), &kafka.topic, generator, load, stop, counts).await;
    let said = report::print_text(&format!("seed {seed}, topic {}: {}", kafka.topic, *produced.borrow()));
    done?;
    said
}
