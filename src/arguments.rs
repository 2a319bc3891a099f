//! The command line. A flag that is not given is looked up as `CLICKLAKE_<FLAG>`.

mod asking;
pub mod environment;
mod kafka;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use lake_schemas::minute::Dimension;
use lake_schemas::table::StagingName;
use lake_schemas::{CountedBy, EventTime, Table};
use lake_store::pins::PinName;

pub use self::asking::*;
pub use self::kafka::{Kafka, Topic};
use self::values::{
    address, counted_by, duration, duration_or_zero, history, instant, memory, minute, minutes, number, rate, share,
    size, switch, table, topic,
};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("CLICKLAKE_COMMIT"), ")");

/// Guide at the end of the help: which command to begin with, for each purpose.
const GUIDE: &str = "\
To try it:              clicklake up --for 30s, then top or sql; verify checks the counts
To run it:              ingest, aggregate and compact; several of ingest and aggregate share the partitions
To query:               top, total and series; sql for everything else
To see the state:       status, lag, history
To let others query:    serve, for programs, browsers and clients of PostgreSQL
To change the settings: backfill --into NAME, then promote NAME
To repair counts:       backfill --replace
Each command shows an example: clicklake COMMAND --help";

/// Ad clicks from Kafka into billable counts in Delta Lake, exact to the click.
#[derive(Debug, Parser)]
#[command(name = "clicklake", version = VERSION, after_help = GUIDE)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Heading of the flags that all commands have, behind the command's own flags.
const COMMON: &str = "Options of all commands";

#[derive(Debug, Args)]
pub struct Common {
    /// The lake: a folder, file:// or s3://bucket/prefix (with the usual AWS_* variables)
    #[arg(long, global = true, env = "CLICKLAKE_LAKE", default_value = "./lake", value_name = "PATH|URL",
          help_heading = COMMON)]
    pub lake: String,
    /// Logs more; given twice, logs everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = COMMON)]
    pub verbose: u8,
    /// The format of logs
    #[arg(long, global = true, env = "CLICKLAKE_LOG_FORMAT", default_value = "text", help_heading = COMMON)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a test broker, generated clicks and all jobs in one process, to try clicklake
    Up(Up),
    /// Sends generated clicks to a topic
    Generate(Generate),
    /// Writes the messages of a topic into the raw tables, exactly once
    Ingest(Ingest),
    /// Counts the clicks of every minute, exactly once
    Aggregate(Aggregate),
    /// Computes minutes again from the raw clicks, into a staging table or in place
    Backfill(Backfill),
    /// Replaces clicks_minute by a staging table of backfill, in one commit; or undoes that
    Promote(Promote),
    /// Records in clicks_minute, or in a staging table, who counts it live; or that nobody does
    Live(Live),
    /// Deletes a staging table of backfill that nobody needs
    Drop(DropStaging),
    /// Records that a topic has ended, so that counts become final without it; or undoes that
    Retire(Retire),
    /// Brings the tables of an older lake to the format of this program; older programs cannot write them then
    Upgrade(Upgrade),
    /// Counts the raw clicks again in plain SQL, and compares with clicks_minute
    Verify(Verify),
    /// Shows the events behind one count, and those that were not counted, with the reason
    Explain(Explain),
    /// Rolls minutes up to hours and days, merges small files, and deletes old versions
    Compact(Compact),
    /// Keeps a version of a table however old it gets
    Pin(Pin),
    /// Removes a pin: the version is kept no longer
    Unpin(Unpin),
    /// Shows the pinned versions
    Pins(Pins),
    /// Shows the counts of an ad, a campaign or everything, in one row
    Total(Total),
    /// Shows the counts of an ad, a campaign or everything, for each minute, hour or day
    Series(Series),
    /// Shows the ads or campaigns with most clicks
    Top(Top),
    /// Shows the state of the pipeline: how far each table is, what is pending, and changes by other programs
    Status(Status),
    /// Shows how far the tables are behind the topic
    Lag(Lag),
    /// Shows what each table holds, or the versions of one
    History(History),
    /// Runs SQL over the lake at any version: statements, scripts, or a shell
    Sql(Sql),
    /// Serves totals over HTTP, a live page, and SQL to clients of PostgreSQL
    Serve(Serve),
    /// Runs the SQL of one key; started by serve itself
    #[command(hide = true)]
    SqlWorker(SqlWorker),
    /// Makes a key for clients of serve, and prints its line for the file of keys
    Key(Key),
    /// Prints the completion script of a shell
    Completions(Completions),
    /// Prints the manual page, or writes one for each command into a folder
    Man(Man),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake up --rate 5000 --for 1m")]
pub struct Up {
    /// The Kafka brokers to use, host:port[,…] [default: a test broker in this process]
    #[arg(long, env = "CLICKLAKE_BOOTSTRAP_SERVERS", value_name = "H:P[,…]")]
    pub bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub topic: Topic,
    /// How many messages to send in a second
    #[arg(long, env = "CLICKLAKE_RATE", default_value_t = 2_000)]
    pub rate: u64,
    /// How long to run [default: until Ctrl-C]
    #[arg(long = "for", env = "CLICKLAKE_FOR", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// The address to serve the page at; port 0 takes any free port
    #[arg(long, env = "CLICKLAKE_LISTEN", value_name = "H:P", default_value = "127.0.0.1:0", value_parser = address)]
    pub listen: SocketAddr,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake generate --bootstrap-servers localhost:9092 --rate 500 --count 10000")]
pub struct Generate {
    #[command(flatten)]
    pub kafka: Kafka,
    /// The seed of the random clicks; the same seed makes the same clicks [default: the time]
    #[arg(long, env = "CLICKLAKE_SEED")]
    pub seed: Option<u64>,
    /// How many messages to send in a second
    #[arg(long, env = "CLICKLAKE_RATE", default_value_t = 2_000, value_parser = rate)]
    pub rate: u64,
    /// How many messages to send in all [default: no end]
    #[arg(long, env = "CLICKLAKE_COUNT")]
    pub count: Option<u64>,
    /// How many ads there are
    #[arg(long, env = "CLICKLAKE_ADS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub ads: u32,
    /// How far event times may be behind the times of their messages
    #[arg(long, env = "CLICKLAKE_DISORDER", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub disorder: Duration,
    /// The share of messages that are copies of an earlier click, from 0 to 1
    #[arg(long, env = "CLICKLAKE_DUPLICATES", default_value_t = 0.02, value_parser = share)]
    pub duplicates: f64,
    /// The share of messages that come long after their event, from 0 to 1
    #[arg(long, env = "CLICKLAKE_LATE", default_value_t = 0.005, value_parser = share)]
    pub late: f64,
    /// The share of messages that are no valid events, from 0 to 1
    #[arg(long, env = "CLICKLAKE_MALFORMED", default_value_t = 0.001, value_parser = share)]
    pub malformed: f64,
}

/// How a job runs and stops.
#[derive(Debug, Args)]
pub struct Running {
    /// The longest time that a click waits before its commit begins
    #[arg(long, env = "CLICKLAKE_COMMIT_INTERVAL", default_value = "5s", value_name = "DURATION",
          value_parser = duration)]
    pub commit_interval: Duration,
    /// Reads what is in the topic at the start, commits, and stops
    #[arg(long, env = "CLICKLAKE_UNTIL_CAUGHT_UP", value_parser = switch())]
    pub until_caught_up: bool,
    /// Serves metrics for Prometheus, at /metrics of this address
    #[arg(long, env = "CLICKLAKE_METRICS", value_name = "H:P", value_parser = address)]
    pub metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:  clicklake ingest --bootstrap-servers localhost:9092 --topic clicks --lake s3://bucket/lake"
)]
pub struct Ingest {
    #[command(flatten)]
    pub kafka: Kafka,
    /// The name of this process in its group: one that is started again under it has its partitions at once
    #[arg(long, env = "CLICKLAKE_INSTANCE", value_name = "NAME", value_parser = topic)]
    pub instance: Option<String>,
    #[command(flatten)]
    pub running: Running,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake aggregate --bootstrap-servers localhost:9092 --lake s3://bucket/lake \
                  --dimensions country")]
pub struct Aggregate {
    #[command(flatten)]
    pub kafka: Kafka,
    #[command(flatten)]
    pub running: Running,
    /// Memory for the counts in progress and the remembered clicks [default: 3/4 of this machine's]
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = size)]
    pub memory_limit: Option<usize>,
    /// Also writes minutes that are not complete yet, this often [default: never]
    #[arg(long, env = "CLICKLAKE_EARLY_FIRE", value_name = "DURATION", value_parser = duration)]
    pub early_fire: Option<Duration>,
    #[command(flatten)]
    pub settings: Settings,
}

/// What decides the counts. A table records it when it is made.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How far the watermark stays behind the latest event time [default of a new table: 5s]
    #[arg(long, env = "CLICKLAKE_OUT_OF_ORDERNESS", value_name = "DURATION", value_parser = duration_or_zero)]
    pub out_of_orderness: Option<Duration>,
    /// How long after its end, by the watermark, a minute still counts clicks [default of a new table: 15m]
    #[arg(long, env = "CLICKLAKE_ALLOWED_LATENESS", value_name = "DURATION", value_parser = duration_or_zero)]
    pub allowed_lateness: Option<Duration>,
    /// How far apart the times of two copies of a click may be [default of a new table: 1h]
    #[arg(long, env = "CLICKLAKE_DEDUP_HORIZON", value_name = "DURATION", value_parser = duration_or_zero)]
    pub dedup_horizon: Option<Duration>,
    /// Further columns to count by
    #[arg(long, env = "CLICKLAKE_DIMENSIONS", value_name = "D,…", value_delimiter = ',', help = about_dimensions())]
    pub dimensions: Option<Vec<Dimension>>,
}

/// Describes the flag that chooses dimensions, with the names of all that may be chosen.
fn about_dimensions() -> String {
    let names = Dimension::ALL.map(Dimension::column).join(", ");
    format!("Further columns to count by: {names} [default of a new table: none]")
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:  clicklake backfill --into by_country --dimensions country\n          \
                  clicklake backfill --replace --from 2026-03-07 --to 2026-03-08 --dry-run",
    group = ArgGroup::new("target").required(true)
)]
pub struct Backfill {
    /// Writes into a staging table of this name; run again after a crash, it goes on
    #[arg(long, env = "CLICKLAKE_INTO", value_name = "NAME", group = "target")]
    pub into: Option<StagingName>,
    /// Replaces complete minutes of clicks_minute, in one commit, while the job runs
    // No variable that somebody has left in an environment rewrites history.
    #[arg(long, group = "target", conflicts_with_all = SETTINGS)]
    pub replace: bool,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub range: Range,
    /// Shows what would change on each day, and writes nothing
    #[arg(long, env = "CLICKLAKE_DRY_RUN", value_parser = switch())]
    pub dry_run: bool,
    /// How many partitions to read at once [default: the number of processors]
    #[arg(long, env = "CLICKLAKE_PARALLELISM", value_name = "N", value_parser = number)]
    pub parallelism: Option<NonZeroUsize>,
    /// How long to wait for the raw table if it is behind clicks_minute
    #[arg(long, env = "CLICKLAKE_WAIT", default_value = "60s", value_name = "DURATION",
          value_parser = duration_or_zero)]
    pub wait: Duration,
}

/// Flags of [`Settings`], which `--replace` excludes.
const SETTINGS: [&str; 4] = ["out_of_orderness", "allowed_lateness", "dedup_horizon", "dimensions"];

/// A part of history; without any of these, all of it.
#[derive(Clone, Debug, Args)]
pub struct Range {
    // No variable that somebody has left in an environment chooses which history is computed again.
    /// Only minutes from this time on
    #[arg(long, value_name = "TIME", value_parser = minute)]
    pub from: Option<EventTime>,
    /// Only minutes before this time
    #[arg(long, value_name = "TIME", value_parser = minute)]
    pub to: Option<EventTime>,
    /// Only what versions of clicks added, from this one on
    #[arg(long, value_name = "A", conflicts_with_all = ["from", "to"])]
    pub from_version: Option<u64>,
    /// Only what versions of clicks added, up to this one
    #[arg(long, value_name = "B", conflicts_with_all = ["from", "to"])]
    pub to_version: Option<u64>,
    /// Uses the clicks as they were at this time
    #[arg(long, value_name = "TIME", value_parser = instant,
          conflicts_with_all = ["from", "to", "from_version", "to_version"])]
    pub as_of: Option<DateTime<Utc>>,
    /// Uses the clicks as they were in this version of clicks
    #[arg(long, value_name = "V",
          conflicts_with_all = ["from", "to", "from_version", "to_version", "as_of"])]
    pub as_of_version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:  clicklake promote by_country\n          clicklake promote --undo",
    group = ArgGroup::new("what").required(true)
)]
pub struct Promote {
    /// The staging table that replaces clicks_minute
    #[arg(value_name = "NAME", group = "what")]
    pub name: Option<StagingName>,
    /// Goes back to the version before the last promotion
    // No variable that somebody has left in an environment rewrites history.
    #[arg(long, group = "what")]
    pub undo: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake live by_country\n          clicklake live by_country --stop")]
pub struct Live {
    /// The table: clicks_minute, or a complete staging table of all history
    #[arg(value_name = "NAME", value_parser = minutes)]
    pub table: Table,
    /// Who counts it [default: who counts clicks_minute, if that says so, else run]
    // No variable that somebody has left in an environment decides who writes a table.
    #[arg(long, value_name = "WHO", value_parser = counted_by(), conflicts_with = "stop")]
    pub by: Option<CountedBy>,
    /// Nobody counts it from now on
    #[arg(long)]
    pub stop: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake drop by_country")]
pub struct DropStaging {
    /// The staging table to delete
    #[arg(value_name = "NAME")]
    pub name: StagingName,
    /// Deletes it although a backfill may be at work on it, which then ends with an error
    // No variable that somebody has left in an environment deletes what is being made.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake retire clicks-2025")]
pub struct Retire {
    /// The topic, by the name under which positions are recorded: that of --topic-as, if it was given
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub topic: String,
    /// Waits for the topic again; a new message, or a job that reads the topic, does the same
    // A switch that changes what is final does not come from the environment.
    #[arg(long)]
    pub undo: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake upgrade --dry-run")]
pub struct Upgrade {
    /// Shows what would be done, and changes nothing
    #[arg(long, env = "CLICKLAKE_DRY_RUN", value_parser = switch())]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake compact --lake s3://bucket/lake --keep-history 30d")]
pub struct Compact {
    /// Does one round and exits
    #[arg(long, env = "CLICKLAKE_ONCE", value_parser = switch(), conflicts_with = "every")]
    pub once: bool,
    /// How often to begin a round
    #[arg(long, env = "CLICKLAKE_EVERY", default_value = "1m", value_name = "DURATION", value_parser = duration)]
    pub every: Duration,
    /// How long versions are kept; older ones are deleted unless they are pinned
    #[arg(long, env = "CLICKLAKE_KEEP_HISTORY", default_value = "7d", value_name = "DURATION", value_parser = history)]
    pub keep_history: Duration,
    /// Memory for roll-ups and for merging files [default: 3/4 of this machine's]
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory)]
    pub memory_limit: Option<usize>,
    /// Shows what one round would do, and changes nothing
    #[arg(long, env = "CLICKLAKE_DRY_RUN", value_parser = switch())]
    pub dry_run: bool,
    /// Serves metrics for Prometheus, at /metrics of this address
    #[arg(long, env = "CLICKLAKE_METRICS", value_name = "H:P", value_parser = address)]
    pub metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake pin invoice_march --version 412 --expires 90d")]
pub struct Pin {
    /// A name for the pin
    #[arg(value_name = "NAME")]
    pub name: PinName,
    /// The table to keep a version of
    #[arg(long, env = "CLICKLAKE_TABLE", value_name = "NAME", default_value_t = Table::ClicksMinute)]
    #[arg(value_parser = table)]
    pub table: Table,
    /// The version to keep; `clicklake history TABLE` shows them
    #[arg(long, env = "CLICKLAKE_VERSION", value_name = "V")]
    pub version: u64,
    /// How long to keep it [default: until unpin]
    #[arg(long, env = "CLICKLAKE_EXPIRES", value_name = "DURATION", value_parser = duration)]
    pub expires: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake unpin invoice_march")]
pub struct Unpin {
    /// The name of the pin
    #[arg(value_name = "NAME")]
    pub name: PinName,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake pins --format json")]
pub struct Pins {
    #[command(flatten)]
    pub report: Report,
}
