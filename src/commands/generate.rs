//! `clicklake generate`: sends clicks that a seed determines to a topic, and reports what became of them.

use lake_schemas::Code;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Usage, kafka, now};
use crate::arguments::Generate;
use crate::report;

/// Greatest sum of the shares of messages: all of them, and what sums of decimal fractions are off by.
const SHARES_MAX: f64 = 1.0 + 1e-9;

pub async fn run(command: Generate, stop: CancellationToken) -> anyhow::Result<()> {
    are_shares(&command)?;
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

/// Refuses shares of messages that are more than all messages: some of them would be sent less often than asked for.
fn are_shares(command: &Generate) -> Result<(), Usage> {
    let sum = command.duplicates + command.late + command.malformed;
    if sum <= SHARES_MAX {
        return Ok(());
    }
    let why =
        format!("--late, --malformed and --duplicates are {sum:.3} of all messages together; give 1 at most in all");
    Err(Usage(Code::SettingsImpossible.because(why)))
}
