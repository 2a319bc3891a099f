//! `clicklake up`: broker, clicks and ingest in one process, to see it work.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use ::ingest::Pace;
use ::ingest::drive::{DriveError, Progress};
use ::ingest::kafka::KafkaOptions;
use anyhow::Context;
use lake_schemas::{Lake, Table};
use localstack::broker::Broker;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{kafka, now};
use crate::arguments::Up;

/// Partitions of the topic on the test broker. It keeps 5 MiB of each.
const PARTITIONS: i32 = 4;

/// Often enough to watch, seldom enough that files are not tiny.
const COMMIT_INTERVAL: Duration = Duration::from_secs(2);

/// How long ingest may take at the end for what was produced last.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

pub async fn run(location: &str, command: Up, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(location)?;
    let (kafka, _broker) = log(&command)?;
    let (produced_in, produced) = watch::channel(Counts::default());
    let (progress_in, progress) = watch::channel(Progress::default());
    let (stop_producing, stop_ingest) = (stop.child_token(), CancellationToken::new());
    say(&format!("lake {location}, topic {}, {} messages a second; Ctrl-C stops", kafka.topic, command.rate));

    let pace = Pace { commit_interval: COMMIT_INTERVAL, until_caught_up: false };
    let ingest = ::ingest::ingest(&lake, &kafka, pace, stop_ingest.clone(), progress_in);
    let began = Instant::now();
    let start_ms = now().timestamp_millis();
    let generator = Generator::new(Settings { seed: start_ms.unsigned_abs(), ..Settings::default() });
    let load = Load { rate: command.rate, count: None, start_ms };
    let producing = async {
        let config = kafka.client();
        let producing = produce(&config, &kafka.topic, generator, load, stop_producing.clone(), produced_in);
        let time_is_up = async {
            match command.duration {
                Some(duration) => sleep(duration).await,
                None => stop.cancelled().await,
            }
            stop_producing.cancel();
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            done = producing => done,
            () = time_is_up => Ok(()),
        };
        // Then ingest has what there is, or time runs out, and what is left is there at the next start.
        let (total, mut progress) = (produced.borrow().total() as i64, progress.clone());
        let _ = timeout(CATCH_UP_MAX, progress.wait_for(|progress| progress.read >= total)).await;
        stop_ingest.cancel();
        done
    };
    let watching = watch_progress(produced.clone(), progress.clone());
    let (ingested, sent) = tokio::select! {
        done = async { tokio::join!(stopping(ingest, &stop_producing), producing) } => done,
        () = watching => unreachable!("it watches for ever"),
    };
    say("");
    ingested?;
    sent?;
    print(&summary(location, *produced.borrow(), &progress.borrow(), began.elapsed()));
    Ok(())
}

/// The broker to use, and the one that was started for it.
fn log(command: &Up) -> anyhow::Result<(KafkaOptions, Option<Broker>)> {
    if let Some(servers) = &command.bootstrap_servers {
        return Ok((kafka(servers, &command.topic)?, None));
    }
    let broker = Broker::start().context("starting the test broker")?;
    let mut topic = command.topic.clone();
    // The broker forgets on exit: each run has a topic of its own, or its offsets would start over below the cut.
    topic.topic = now().format("up-%Y%m%dT%H%M%S%3fZ").to_string();
    broker.create_topic(&topic.topic, PARTITIONS).context("making a topic on the test broker")?;
    Ok((kafka(&broker.bootstrap_servers(), &topic)?, Some(broker)))
}

/// Ingest, which takes the producer with it when it ends.
async fn stopping(
    ingest: impl Future<Output = Result<(), DriveError>>,
    stop_producing: &CancellationToken,
) -> Result<(), DriveError> {
    let done = ingest.await;
    stop_producing.cancel();
    done
}

/// Draws the progress on stderr: a live line in a terminal, a line now and then elsewhere.
async fn watch_progress(produced: watch::Receiver<Counts>, progress: watch::Receiver<Progress>) {
    let live = std::io::stderr().is_terminal();
    let mut ticks = interval(if live { Duration::from_millis(250) } else { Duration::from_secs(5) });
    loop {
        ticks.tick().await;
        let (clicks, produced) = (committed(&progress.borrow()), produced.borrow().total());
        let line = format!(
            "produced {:>11}   committed {:>11}   rejected {:>7}   version {:>5}",
            grouped(produced),
            grouped(clicks.rows),
            grouped(rejected(&progress.borrow())),
            clicks.version
        );
        if live {
            draw(&line);
        } else if produced > 0 {
            say(&line);
        }
    }
}

fn committed(progress: &Progress) -> ::ingest::drive::Committed {
    progress.tables.get(&Table::Clicks).copied().unwrap_or_default()
}

fn rejected(progress: &Progress) -> u64 {
    progress.tables.get(&Table::ClicksRejected).map_or(0, |table| table.rows)
}

fn summary(location: &str, produced: Counts, progress: &Progress, took: Duration) -> String {
    let clicks = committed(progress);
    let bytes_a_click = clicks.bytes as f64 / clicks.rows.max(1) as f64;
    let left = produced.total() as i64 - progress.read;
    let mut lines = vec![
        format!("produced   {produced}"),
        format!(
            "committed  {} rows of clicks, in {} commits and {} files; {bytes_a_click:.1} bytes a row; now version {}",
            grouped(clicks.rows),
            clicks.commits,
            clicks.files,
            clicks.version
        ),
        format!("rejected   {} rows of clicks_rejected", grouped(rejected(progress))),
    ];
    if left > 0 {
        lines.push(format!("left       {} messages not committed when time ran out", grouped(left.unsigned_abs())));
    }
    lines.push(format!("lake       {location}, after {:.0} s", took.as_secs_f64()));
    lines.push(format!(
        "next       clicklake sql --lake {location} \"select ad_id, count(*) as clicks from clicks group by ad_id order by clicks desc limit 5\""
    ));
    lines.join("\n")
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[expect(clippy::print_stderr, reason = "progress")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stderr, reason = "progress")]
fn draw(line: &str) {
    eprint!("\r{line}");
    // A line that cannot be drawn is not worth stopping for.
    let _ = std::io::stderr().flush();
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(text: &str) {
    println!("{text}");
}
