//! The command line of the commands that ask: totals, reports, SQL, audits.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use lake_schemas::{EventTime, Field, Table, Width};
use query::output::Destination;
use query::totals::{AsOf, Filter};

use super::kafka::{Kafka, Topic};
use super::values::{
    address, as_of, campaigns, dimension, duration, filter, granularity, memory, minute, minutes, name, number, origin,
    switch, table,
};

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake verify --from 2026-03-07T12:00:00Z --to 2026-03-07T13:00:00Z")]
pub struct Verify {
    /// Checks that every message read is a row, and that every row is counted
    #[arg(long, env = "CLICKLAKE_CONSERVATION", value_parser = switch(), conflicts_with_all = ["from", "to"])]
    pub conservation: bool,
    /// Compares with a replay of the raw clicks through the code that counts live, instead of with SQL
    #[arg(long, env = "CLICKLAKE_REPLAY", value_parser = switch(), conflicts_with = "conservation")]
    pub replay: bool,
    /// The table to check: clicks_minute, or a staging table
    #[arg(long, env = "CLICKLAKE_TABLE", value_name = "NAME", default_value_t = Table::ClicksMinute)]
    #[arg(value_parser = minutes)]
    pub table: Table,
    /// Only windows from this time on
    #[arg(long, env = "CLICKLAKE_FROM", value_name = "TIME", value_parser = minute)]
    pub from: Option<EventTime>,
    /// Only windows before this time
    #[arg(long, env = "CLICKLAKE_TO", value_name = "TIME", value_parser = minute)]
    pub to: Option<EventTime>,
    /// Memory for counting again [default: 3/4 of this machine's]
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory)]
    pub memory_limit: Option<usize>,
    /// The format of the findings
    #[arg(long, default_value = "text")]
    pub format: AuditFormat,
}

/// Format of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake explain --ad ad-7 --minute 2026-03-07T12:00:00Z")]
pub struct Explain {
    /// The ad to explain
    #[arg(long, env = "CLICKLAKE_AD", value_name = "A", value_parser = name)]
    pub ad: String,
    /// The start of the minute to explain
    #[arg(long, env = "CLICKLAKE_MINUTE", value_name = "TIME", value_parser = minute)]
    pub minute: EventTime,
    #[command(flatten)]
    pub report: Report,
}

/// Clicks that are counted; without any of these, everything.
#[derive(Clone, Debug, Args)]
pub struct Filters {
    #[command(flatten)]
    pub named: Named,
    /// Only clicks whose dimension has one of these values, as country=DE,AT; nothing behind the = is null; may be
    /// repeated
    #[arg(long = "where", env = "CLICKLAKE_WHERE", value_name = "DIMENSION=VALUE[,…]", value_parser = filter)]
    pub filters: Vec<Filter>,
}

/// Ad or campaign whose clicks are counted, for short.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub struct Named {
    /// Only the clicks of this ad; a comma is part of its name: for several give --where ad_id=A,B
    #[arg(long, env = "CLICKLAKE_AD", value_name = "A", value_parser = name)]
    pub ad: Option<String>,
    /// Only the clicks of this campaign; a comma is part of its name: for several give --where campaign_id=C,D
    #[arg(long, env = "CLICKLAKE_CAMPAIGN", value_name = "C", value_parser = name)]
    pub campaign: Option<String>,
}

/// Dimensions that have rows of their own.
#[derive(Clone, Debug, Args)]
pub struct Groups {
    /// A row for each combination of these: ad_id, campaign_id, and what else the lake counts by
    #[arg(long, env = "CLICKLAKE_GROUP_BY", value_name = "DIMENSION[,…]", value_delimiter = ',',
          value_parser = dimension)]
    pub group_by: Vec<Field>,
}

/// A stretch of event time, in whole minutes; without any of these, all of it.
#[derive(Clone, Debug, Args)]
pub struct Span {
    /// The stretch of time up to now, with the current minute
    #[arg(long, env = "CLICKLAKE_LAST", value_name = "DURATION", value_parser = duration,
          conflicts_with_all = ["from", "to"])]
    pub last: Option<Duration>,
    /// Only minutes from this time on
    #[arg(long, env = "CLICKLAKE_FROM", value_name = "TIME", value_parser = minute)]
    pub from: Option<EventTime>,
    /// Only minutes before this time
    #[arg(long, env = "CLICKLAKE_TO", value_name = "TIME", value_parser = minute)]
    pub to: Option<EventTime>,
    /// Shows the counts as they were at this time, or in this version of clicks_minute
    #[arg(long, env = "CLICKLAKE_AS_OF", value_name = "TIME|V", value_parser = as_of)]
    pub as_of: Option<AsOf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:  clicklake total --ad ad-7 --from 2026-03-01 --to 2026-04-01\n           \
                  clicklake total --where country=DE,AT --group-by device --last 24h")]
pub struct Total {
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub groups: Groups,
    #[command(flatten)]
    pub span: Span,
    #[command(flatten)]
    pub report: Report,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake series --campaign spring --last 24h --granularity hour")]
pub struct Series {
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub groups: Groups,
    #[command(flatten)]
    pub span: Span,
    /// The windows that are summed up [default: minute up to 3 hours, hour up to 7 days, then day]
    #[arg(long, visible_alias = "by", env = "CLICKLAKE_SERIES_BY", value_parser = granularity())]
    pub granularity: Option<Width>,
    #[command(flatten)]
    pub report: Report,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake top --last 1h --by campaign -n 20")]
pub struct Top {
    #[command(flatten)]
    pub span: Span,
    #[command(flatten)]
    pub filters: Filters,
    /// What to rank: ad, campaign, or another dimension that the lake counts by; of several, their combinations
    #[arg(long, visible_alias = "group-by", env = "CLICKLAKE_TOP_BY", default_value = "ad",
          value_name = "DIMENSION[,…]", value_delimiter = ',', value_parser = dimension)]
    pub by: Vec<Field>,
    /// How many to show
    #[arg(short, env = "CLICKLAKE_N", default_value = "10", value_name = "N", value_parser = number)]
    pub n: NonZeroUsize,
    #[command(flatten)]
    pub report: Report,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake serve --keys keys.txt --listen 0.0.0.0:8080 --postgres 0.0.0.0:5432")]
pub struct Serve {
    /// The address to serve HTTP at: the live page, and the API that /openapi.json describes
    #[arg(long, env = "CLICKLAKE_LISTEN", value_name = "H:P", value_parser = address,
          default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The address to serve SQL at, to clients of PostgreSQL [default: none]
    #[arg(long, env = "CLICKLAKE_POSTGRES", value_name = "H:P", value_parser = address)]
    pub postgres: Option<SocketAddr>,
    /// The file of keys: each line is one that `clicklake key` prints, with the campaigns that the key sees. Without
    /// the file, everyone on this machine may query everything
    #[arg(long, env = "CLICKLAKE_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// The certificate of the server and its chain, in PEM: HTTP is served over TLS, and PostgreSQL to clients that ask
    /// for TLS; the file is read again when it changes
    #[arg(long, env = "CLICKLAKE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, env = "CLICKLAKE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Origins of web pages that may query this server from a browser: https://HOST[:PORT]
    #[arg(long, env = "CLICKLAKE_CORS_ORIGIN", value_name = "ORIGIN,…", value_delimiter = ',', value_parser = origin)]
    pub cors_origin: Vec<String>,
    /// Serves metrics for Prometheus, at /metrics of this address [default: at --listen, and with --keys nowhere]
    #[arg(long, env = "CLICKLAKE_METRICS", value_name = "H:P", value_parser = address)]
    pub metrics: Option<SocketAddr>,
    /// Memory for all answers, a third of it for HTTP, the rest for SQL [default: 3/4 of this machine's]
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory)]
    pub memory_limit: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake key spring,campaign-3 >> keys.txt")]
pub struct Key {
    /// The campaigns that the key sees, by comma, or * for all; with "[people] " before them, it also sees who clicked
    #[arg(value_name = "CAMPAIGNS", value_parser = campaigns)]
    pub campaigns: String,
}

#[derive(Debug, Args)]
pub struct SqlWorker {
    /// Memory for its statements, in bytes
    #[arg(long, value_name = "BYTES")]
    pub memory: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake history clicks_minute")]
pub struct History {
    /// The table whose versions to show [default: what each table holds]
    #[arg(value_name = "TABLE", value_parser = table)]
    pub table: Option<Table>,
    #[command(flatten)]
    pub report: Report,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake completions bash > /etc/bash_completion.d/clicklake")]
pub struct Completions {
    /// The shell to complete in
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder for the pages [default: print the page of clicklake itself]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:  clicklake status\n           \
                  clicklake status --bootstrap-servers localhost:9092 --format json")]
pub struct Status {
    /// The Kafka brokers, host:port[,…]; without them, the lag behind the topic is not shown
    #[arg(long, env = "CLICKLAKE_BOOTSTRAP_SERVERS", value_name = "H:P[,…]")]
    pub bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub topic: Topic,
    /// The format of the report
    // The variable for rows may say csv, which this cannot be.
    #[arg(long, default_value = "table")]
    pub format: StatusFormat,
}

/// Format in which the state of a pipeline is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StatusFormat {
    /// A few lines
    Table,
    /// One JSON object
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:  clicklake lag --bootstrap-servers localhost:9092")]
pub struct Lag {
    #[command(flatten)]
    pub kafka: Kafka,
    #[command(flatten)]
    pub report: Report,
}

/// Format and destination of a result.
#[derive(Debug, Args)]
pub struct Report {
    /// The format of the result
    #[arg(long, env = "CLICKLAKE_FORMAT", default_value = "table")]
    pub format: Format,
    /// The file to write to instead of standard output; it appears once it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl Report {
    /// Returns where the result goes.
    pub fn destination(&self) -> Destination {
        self.output.clone().map_or(Destination::Standard, Destination::File)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Tsv,
    Json,
    NdJson,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:  clicklake sql                      (type \\? for help)\n           \
                  clicklake sql \"select count(*) from clicks VERSION AS OF 412\"\n           \
                  clicklake sql -f report.sql --format csv > report.csv")]
pub struct Sql {
    /// The statements to run [default: those of -c and -f, else standard input, else a shell]
    #[arg(value_name = "SQL", conflicts_with_all = ["commands", "files"])]
    pub statement: Option<String>,
    /// Statements to run; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,
    /// A file of statements to run; the first one that fails ends it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How many rows of a result to show in a table [default: all; 40 in the shell]
    #[arg(long, env = "CLICKLAKE_MAXROWS", value_name = "N")]
    pub maxrows: Option<usize>,
    /// Memory for sorting, joining and grouping, before they use the disk [default: 3/4 of this machine's]
    #[arg(long, env = "CLICKLAKE_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory)]
    pub memory_limit: Option<usize>,
    #[command(flatten)]
    pub report: Report,
}
