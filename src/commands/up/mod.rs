//! `clicklake up`: runs broker, generated clicks, both jobs and the compactor in one process, to see them work.

mod minutes;
mod rounds;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use ::ingest::drive::{CommitPolicy, DriveError, Progress, Reach};
use ::ingest::kafka::KafkaOptions;
use ::ingest::{Run, Until};
use anyhow::Context;
use lake_schemas::minute::Requested;
use lake_schemas::{Table, TopicPartition};
use lake_store::Lake;
use localstack::broker::Broker;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use query::output::{is_dumb, visible};
use serve::Server;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::minutes::LastMinute;
use self::rounds::Files;
use super::retire::{TOPIC_OF_UP, leftovers};
use super::{kafka, now};
use crate::arguments::Up;
use crate::memory;
use crate::report::{self, grouped, say};

/// Partitions of the topic on the test broker, which keeps 5 MiB of each.
const PARTITIONS: i32 = 4;

/// Commit interval: often enough to watch, seldom enough that files are not tiny.
const COMMIT_INTERVAL: Duration = Duration::from_secs(2);

/// Divisor of the memory for the part that is for the page: the jobs beside it need the most.
const PAGE_SHARE: usize = 4;

/// How long the jobs may take at the end for the last messages.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

pub async fn run(location: &str, command: Up, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(location)?;
    let (kafka, broker) = log(&command)?;
    // Brokers of earlier runs have forgotten their topics, so nothing more comes from these.
    if broker.is_some() {
        retire_leftovers(&lake, Some(kafka.recorded_topic())).await?;
    }
    let http = super::serve::at("--listen", command.listen, false)?.await?;
    let page = http.local_addr()?;
    let server = Server::new(lake.clone(), None, memory::three_quarters() / PAGE_SHARE)?;
    let (produced_in, produced) = watch::channel(Counts::default());
    let (ingested_in, ingested) = watch::channel(Progress::default());
    let (counted_in, counted) = watch::channel(Progress::default());
    let (stop_producing, stop_jobs, stop_rounds) =
        (stop.child_token(), CancellationToken::new(), CancellationToken::new());
    say(&format!("lake {location}, topic {}, {} messages a second; Ctrl-C stops", kafka.topic, command.rate));
    if broker.is_some() {
        say(&format!("kafka {}, in this process", kafka.bootstrap_servers));
    }
    say(&format!("page http://{page}/"));
    say(&format!("ask {}", asks(location, &kafka)));

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
        // Then the jobs catch up, or time runs out; a message that is left is read at the next start.
        let (total, mut ingested, mut counted) = (produced.borrow().total() as i64, ingested.clone(), counted.clone());
        let caught_up = async {
            let all_is_read = ingested.wait_for(|ingested| ingested.read >= total).await;
            let reached = all_is_read.map(|ingested| ingested.partitions.clone()).unwrap_or_default();
            let _ = counted.wait_for(|counted| has_reached(counted, &reached)).await;
        };
        let _ = timeout(CATCH_UP_MAX, caught_up).await;
        stop_jobs.cancel();
        done
    };
    let ingesting = ::ingest::ingest(&lake, &kafka, job(&stop_jobs, ingested_in));
    let counting = count(&lake, &kafka, job(&stop_jobs, counted_in));
    let watching = watch_progress(&lake, &kafka, produced.clone(), ingested.clone(), counted.clone());
    let jobs = async {
        let done = tokio::join!(stopping(ingesting, &stop_producing), stopping(counting, &stop_producing));
        // The last round comes when all minutes are there.
        stop_rounds.cancel();
        done
    };
    let ((has_ingested, has_counted), has_sent, files) = tokio::select! {
        done = async { tokio::join!(jobs, producing, rounds::run(&lake, &stop_rounds)) } => done,
        () = watching => unreachable!("it watches for ever"),
        () = server.serve(http, None, CancellationToken::new()) => unreachable!("nobody stops it"),
    };
    say("");
    has_ingested?;
    has_counted?;
    has_sent?;
    let files = files?;
    // This run's broker will forget its topic, too.
    if broker.is_some() {
        retire_leftovers(&lake, None).await?;
    }
    let minutes = minutes::total(&lake, kafka.recorded_topic()).await?;
    let hours_and_days = minutes::rolled_up(&lake).await?;
    let counted = (minutes.as_str(), hours_and_days.as_str(), files);
    report::print_text(&summary(location, *produced.borrow(), &ingested.borrow(), counted, began.elapsed()))
}

/// Retires topics of brokers that are gone, or about to be, and says which cannot be retired.
async fn retire_leftovers(lake: &Lake, but: Option<&str>) -> anyhow::Result<()> {
    for left in leftovers(lake, but).await? {
        say(&left);
    }
    Ok(())
}

/// Returns commands that may be typed in another terminal meanwhile.
fn asks(location: &str, kafka: &KafkaOptions) -> String {
    let KafkaOptions { bootstrap_servers: servers, topic, .. } = kafka;
    format!(
        "clicklake top --lake {location} --last 1h; clicklake lag --lake {location} --bootstrap-servers {servers} \
         --topic {topic}"
    )
}

fn job(stop: &CancellationToken, progress: watch::Sender<Progress>) -> Run {
    Run { policy: CommitPolicy::every(COMMIT_INTERVAL), until: Until::Stopped, stop: stop.clone(), progress }
}

/// Counts the clicks of every minute, as `clicklake aggregate` does.
async fn count(lake: &Lake, kafka: &KafkaOptions, run: Run) -> Result<(), DriveError> {
    ::ingest::compute(lake, kafka, &Requested::default(), run).await
}

/// Returns whether a job has come as far as another, in each partition.
fn has_reached(job: &Progress, other: &BTreeMap<TopicPartition, Reach>) -> bool {
    other.iter().all(|(partition, reach)| job.partitions.get(partition).is_some_and(|job| job.cut >= reach.cut))
}

/// Returns the broker to use, and the test broker that was started for it.
fn log(command: &Up) -> anyhow::Result<(KafkaOptions, Option<Broker>)> {
    if let Some(servers) = &command.bootstrap_servers {
        return Ok((kafka(servers, &command.topic)?, None));
    }
    let broker = Broker::start().context("starting the test broker")?;
    let mut topic = command.topic.clone();
    // The broker forgets on exit: each run has a topic of its own, or its offsets would start over below the cut.
    topic.topic = now().format(TOPIC_OF_UP).to_string();
    broker.create_topic(&topic.topic, PARTITIONS).context("making a topic on the test broker")?;
    Ok((kafka(&broker.bootstrap_servers(), &topic)?, Some(broker)))
}

/// Runs a job, and stops the producer when the job ends.
async fn stopping(
    job: impl Future<Output = Result<(), DriveError>>,
    stop_producing: &CancellationToken,
) -> Result<(), DriveError> {
    let done = job.await;
    stop_producing.cancel();
    done
}

/// Draws the progress on stderr: a live line in a terminal, or else a new line every few seconds.
async fn watch_progress(
    lake: &Lake,
    kafka: &KafkaOptions,
    produced: watch::Receiver<Counts>,
    ingested: watch::Receiver<Progress>,
    counted: watch::Receiver<Progress>,
) {
    let live = std::io::stderr().is_terminal() && !is_dumb();
    let mut ticks = interval(if live { Duration::from_millis(250) } else { Duration::from_secs(5) });
    let mut minute = LastMinute::default();
    loop {
        ticks.tick().await;
        let complete = minutes::last_complete(&counted.borrow());
        minute.follow(lake, kafka.recorded_topic(), complete).await;
        let (clicks, produced) = (committed(&ingested.borrow()), produced.borrow().total());
        let line = format!(
            "produced {:>11}   committed {:>11}   rejected {:>7}   {minute}",
            grouped(produced),
            grouped(clicks.rows),
            grouped(rejected(&ingested.borrow())),
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

fn summary(
    location: &str,
    produced: Counts,
    progress: &Progress,
    (minutes, hours_and_days, files): (&str, &str, Files),
    took: Duration,
) -> String {
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
        format!("counted    {minutes}"),
        format!("rolled up  {hours_and_days}; {} files were put together into {}", files.before, files.after),
    ];
    if left > 0 {
        lines.push(format!("left       {} messages not committed when time ran out", grouped(left.unsigned_abs())));
    }
    lines.push(format!("lake       {location}, after {:.0} s", took.as_secs_f64()));
    lines.push(format!("next       clicklake verify --lake {location}"));
    lines.join("\n")
}

fn draw(line: &str) {
    // Also clear the rest of a longer line before it. A line that cannot be drawn is no reason to stop.
    let _ = write!(std::io::stderr(), "\r{}\x1b[K", visible(line));
}
