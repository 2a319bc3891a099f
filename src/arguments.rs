//! The command line, as the contract has it. A flag not given is looked up as `CLICKLAKE_<FLAG>`.

mod asking;
mod environment;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use lake_schemas::minute::Dimension;
use lake_schemas::table::ShadowName;
use lake_schemas::{EventTime, Table};
use lake_store::pins::PinName;

pub use self::asking::*;
use self::environment::switch;
pub use self::environment::{command, parse};
use self::values::{
    address, duration, duration_or_zero, history, instant, memory, minute, number, property, share, size, table, topic,
};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("CLICKLAKE_COMMIT"), ")");

/// Where to begin, by what one is after.
const GUIDE: &str = "\
To see it work:      clicklake up --for 30s, then ask; verify proves it
To run it:           ingest, aggregate and compact, each as often as it takes
To ask:              top, total, series for people; sql for all else; status, history, lag for how far it has come
To let others ask:   serve, for programs, browsers and clients of PostgreSQL
To count otherwise:  backfill --into NAME, promote NAME; backfill --replace mends
Each command has an example: clicklake COMMAND --help";

/// Ad clicks from Kafka into billable counts in Delta Lake, exact to the click.
#[derive(Debug, Parser)]
#[command(name = "clicklake", version = VERSION, after_help = GUIDE)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What the flags that all commands have stand under, behind those of the command.
const COMMON: &str = "Options of all commands";

#[derive(Debug, Args)]
pub struct Common {
    /// The lake: a folder, file:// or s3://bucket/prefix (with the usual AWS_* variables)
    #[arg(long, global = true, env = "CLICKLAKE_LAKE", default_value = "./lake", value_name = "PATH|URL",
          help_heading = COMMON)]
    pub lake: String,
    /// Logs more; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = COMMON)]
    pub verbose: u8,
    /// How logs are written
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
    /// Runs everything in one process, with clicks of its own making
    Up(Up),
    /// Sends generated clicks to a topic
    Generate(Generate),
    /// Brings a topic into the raw tables, exactly once
    Ingest(Ingest),
    /// Counts the clicks of every minute, exactly once
    Aggregate(Aggregate),
    /// Computes minutes again from the raw clicks, into a table of their own or in place
    Backfill(Backfill),
    /// Makes a table that backfill has computed the lake's minutes, in one step; or undoes that
    Promote(Promote),
    /// Says that a topic is over, so that counts can be final without it; or takes that back
    Retire(Retire),
    /// Brings the tables of an older lake to the format of this program; older programs refuse them then
    Upgrade(Upgrade),
    /// Counts the raw clicks again in plain SQL, and compares
    Verify(Verify),
    /// Shows the events behind one count, and those that were not counted, with the reason
    Explain(Explain),
    /// Keeps the lake cheap: rolls up hours and days, puts small files together, gives up what is old
    Compact(Compact),
    /// Keeps a version of a table, however old it gets
    Pin(Pin),
    /// Keeps it no longer
    Unpin(Unpin),
    /// Shows the versions that are kept
    Pins(Pins),
    /// Shows what ads or campaigns have got, or all together, in one row
    Total(Total),
    /// Shows what ads or campaigns have got, or all together, in each minute, hour or day
    Series(Series),
    /// Shows which ads, or campaigns, have got most
    Top(Top),
    /// Shows the whole pipeline: how far each table has come, what waits, what others did
    Status(Status),
    /// Shows how far the tables are behind the topic
    Lag(Lag),
    /// Shows what each table holds, or the versions of one
    History(History),
    /// Answers SQL over the lake, at any version of it: statements, scripts, or typed ones
    Sql(Sql),
    /// Serves totals over HTTP, a live page, and SQL to clients of PostgreSQL
    Serve(Serve),
    /// Answers SQL of one key; serve starts it by itself
    #[command(hide = true)]
    SqlWorker(SqlWorker),
    /// Makes a key for those who ask a server, and prints its line for the file of keys
    Key(Key),
    /// Prints what makes a shell complete the command line
    Completions(Completions),
    /// Prints the manual page, or puts one for each command into a folder
    Man(Man),
}

/// Which topic of which cluster.
#[derive(Clone, Debug, Args)]
pub struct Kafka {
    /// Where Kafka is
    #[arg(long, env = "CLICKLAKE_BOOTSTRAP_SERVERS", value_name = "H:P[,…]")]
    pub bootstrap_servers: String,
    #[command(flatten)]
    pub topic: Topic,
}

/// A topic, and how it is read.
#[derive(Clone, Debug, Args)]
pub struct Topic {
    /// The topic
    #[arg(long, env = "CLICKLAKE_TOPIC", default_value = "clicks", value_parser = topic)]
    pub topic: String,
    /// The name that positions are recorded under, for a topic that was recreated or moved
    #[arg(long, env = "CLICKLAKE_TOPIC_AS", value_name = "NAME", value_parser = topic)]
    pub topic_as: Option<String>,
    /// The consumer group; by default one of the job and the lake
    #[arg(long, env = "CLICKLAKE_GROUP")]
    pub group: Option<String>,
    /// A librdkafka property
    #[arg(short = 'X', value_name = "key=value", value_parser = property)]
    pub properties: Vec<(String, String)>,
    /// A file of librdkafka properties, one a line: the place for passwords
    #[arg(short = 'F', value_name = "FILE")]
    pub properties_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake up --rate 5000 --for 1m")]
pub struct Up {
    /// An own Kafka, host:port[,…]; without it a test broker is started in this process
    #[arg(long, env = "CLICKLAKE_BOOTSTRAP_SERVERS", value_name = "H:P[,…]")]
    pub bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub topic: Topic,
    /// Messages a second
    #[arg(long, env = "CLICKLAKE_RATE", default_value_t = 2_000)]
    pub rate: u64,
    /// Stops after this time; otherwise Ctrl-C does
    #[arg(long = "for", env = "CLICKLAKE_FOR", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Where the page is served
    #[arg(long, env = "CLICKLAKE_LISTEN", value_name = "H:P", default_value = "127.0.0.1:0", value_parser = address)]
    pub listen: SocketAddr,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake generate --bootstrap-servers localhost:9092 --rate 500 --count 10000")]
pub struct Generate {
    #[command(flatten)]
    pub kafka: Kafka,
    /// Where randomness starts; by default the time
    #[arg(long, env = "CLICKLAKE_SEED")]
    pub seed: Option<u64>,
    /// Messages a second
    #[arg(long, env = "CLICKLAKE_RATE", default_value_t = 2_000)]
    pub rate: u64,
    /// Messages in all; otherwise until stopped
    #[arg(long, env = "CLICKLAKE_COUNT")]
    pub count: Option<u64>,
    /// How many ads there are
    #[arg(long, env = "CLICKLAKE_ADS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub ads: u32,
    /// How far event times lie behind their messages
    #[arg(long, env = "CLICKLAKE_DISORDER", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub disorder: Duration,
    /// The share of messages that repeat an earlier click
    #[arg(long, env = "CLICKLAKE_DUPLICATES", default_value_t = 0.02, value_parser = share)]
    pub duplicates: f64,
    /// The share of messages that come long after their event
    #[arg(long, env = "CLICKLAKE_LATE", default_value_t = 0.005, value_parser = share)]
    pub late: f64,
    /// The share of messages that cannot be events
    #[arg(long, env = "CLICKLAKE_MALFORMED", default_value_t = 0.001, value_parser = share)]
    pub malformed: f64,
}

/// How a job runs.
#[derive(Debug, Args)]
pub struct Running {
    /// How long a click waits at most before its commit begins
    #[arg(long, env = "CLICKLAKE_COMMIT_INTERVAL", default_value = "5s", value_name = "DURATION",
          value_parser = duration)]
    pub commit_interval: Duration,
    /// Reads what was there at the start, commits, and stops
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
    /// What the counts in progress and the clicks remembered may take; 3/4 of the memory there is, by default
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = size)]
    pub memory_limit: Option<usize>,
    /// Writes minutes before they are complete, this often
    #[arg(long, env = "CLICKLAKE_EARLY_FIRE", value_name = "DURATION", value_parser = duration)]
    pub early_fire: Option<Duration>,
    #[command(flatten)]
    pub settings: Settings,
}

/// What decides the counts. A table records it when it is made.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How far a click's time may lie behind the latest [of a new table: 5s]
    #[arg(long, env = "CLICKLAKE_OUT_OF_ORDERNESS", value_name = "DURATION", value_parser = duration_or_zero)]
    pub out_of_orderness: Option<Duration>,
    /// How long a minute takes what comes late [of a new table: 15m]
    #[arg(long, env = "CLICKLAKE_ALLOWED_LATENESS", value_name = "DURATION", value_parser = duration_or_zero)]
    pub allowed_lateness: Option<Duration>,
    /// How far apart two copies of a click may lie [of a new table: 1h]
    #[arg(long, env = "CLICKLAKE_DEDUP_HORIZON", value_name = "DURATION", value_parser = duration_or_zero)]
    pub dedup_horizon: Option<Duration>,
    /// What to count by, beside ad and campaign: publisher_id, country, device [of a new table: nothing]
    #[arg(long, env = "CLICKLAKE_DIMENSIONS", value_name = "D,…", value_delimiter = ',')]
    pub dimensions: Option<Vec<Dimension>>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:  clicklake backfill --into by_country --dimensions country\n          \
                  clicklake backfill --replace --from 2026-03-07 --to 2026-03-08 --dry-run",
    group = ArgGroup::new("target").required(true)
)]
pub struct Backfill {
    /// Makes a table of that name, of the shape of clicks_minute; run again after a crash, it goes on
    #[arg(long, env = "CLICKLAKE_INTO", value_name = "NAME", group = "target")]
    pub into: Option<ShadowName>,
    /// Computes complete minutes of clicks_minute again, in one commit, beside the running job
    // No variable that somebody has left in an environment rewrites history.
    #[arg(long, group = "target", conflicts_with_all = SETTINGS)]
    pub replace: bool,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub range: Range,
    /// Shows what would change, per day, and writes nothing
    #[arg(long, env = "CLICKLAKE_DRY_RUN", value_parser = switch())]
    pub dry_run: bool,
    /// How many partitions are read at once; by default, as many as there are processors
    #[arg(long, env = "CLICKLAKE_PARALLELISM", value_name = "N", value_parser = number)]
    pub parallelism: Option<NonZeroUsize>,
    /// How long the raw table is waited for, if it is behind clicks_minute
    #[arg(long, env = "CLICKLAKE_WAIT", default_value = "60s", value_name = "DURATION",
          value_parser = duration_or_zero)]
    pub wait: Duration,
}

/// The flags of [`Settings`].
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
    /// Clicks as they were at this time
    #[arg(long, value_name = "TIME", value_parser = instant,
          conflicts_with_all = ["from", "to", "from_version", "to_version"])]
    pub as_of: Option<DateTime<Utc>>,
    /// Clicks as they were in this version
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
    /// The table that becomes clicks_minute
    #[arg(value_name = "NAME", group = "what")]
    pub name: Option<ShadowName>,
    /// What was there before the last promotion becomes it again
    // No variable that somebody has left in an environment rewrites history.
    #[arg(long, group = "what")]
    pub undo: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake retire clicks-2025")]
pub struct Retire {
    /// The topic, as positions are recorded under: what --topic-as said, if it did
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub topic: String,
    /// The topic is waited for again; a message that comes, or a job that reads it, does that too
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
    /// Does one round, and ends
    #[arg(long, env = "CLICKLAKE_ONCE", value_parser = switch(), conflicts_with = "every")]
    pub once: bool,
    /// How often a round begins
    #[arg(long, env = "CLICKLAKE_EVERY", default_value = "1m", value_name = "DURATION", value_parser = duration)]
    pub every: Duration,
    /// How old versions may get; what nobody has pinned and is older is deleted
    #[arg(long, env = "CLICKLAKE_KEEP_HISTORY", default_value = "7d", value_name = "DURATION", value_parser = history)]
    pub keep_history: Duration,
    /// What rolling up and putting files together may take; 3/4 of the memory there is, by default
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
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: PinName,
    /// The table
    #[arg(long, env = "CLICKLAKE_TABLE", value_name = "NAME", default_value_t = Table::ClicksMinute)]
    #[arg(value_parser = table)]
    pub table: Table,
    /// The version
    #[arg(long, env = "CLICKLAKE_VERSION", value_name = "V")]
    pub version: u64,
    /// How long it is kept; otherwise, until it is unpinned
    #[arg(long, env = "CLICKLAKE_EXPIRES", value_name = "DURATION", value_parser = duration)]
    pub expires: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake unpin invoice_march")]
pub struct Unpin {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: PinName,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake pins --format json")]
pub struct Pins {
    #[command(flatten)]
    pub report: Report,
}
