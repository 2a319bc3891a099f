//! Law of promotions: the live job goes on from the table that replaced its own, and no click is lost, even if that
//! table was counted live, too; and a table that cannot become the lake's minutes is refused in one line.

use std::sync::Arc;
use std::time::Duration;

use ingest::drive::{CommitPolicy, drive};
use ingest::hybrid::HybridSource;
use ingest::replay::RawTable;
use lake_schemas::job::Job;
use lake_schemas::live::PROPERTY_LIVE;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::{Code, History, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;
use stream_agg::job::Aggregate;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::minutes::at_every_commit;
use crate::simulation::{Computation, Group, Log, ScriptedSource, simulate};
use crate::start_up::{clicklake, fails, folder, refused};

/// Brings a log into a lake in a folder.
fn fill(path: &str, log: &Arc<Log>) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        Computation::Raw.read_all(&lake, log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, log).await.expect("aggregate ends");
    });
}

/// Returns what a command prints.
fn says(path: &str, command: &[&str]) -> String {
    let done = clicklake(&[command, &["--lake", path]].concat());
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn the_live_job_goes_on_from_what_was_promoted_and_back() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    let part = |share: usize| Arc::new(log.earlier(|_, all| all * share / 4));
    fill(&path, &part(1));
    says(&path, &["compact", "--once"]);
    says(&path, &["backfill", "--into", "by_country", "--dimensions", "country"]);
    fill(&path, &part(2));
    says(&path, &["compact", "--once"]);
    let said = says(&path, &["promote", "by_country"]);
    assert!(said.contains("of clicks_minute is by_country") && said.contains("--undo"), "{said}");
    // Messages that came since are counted as the promoted table counts.
    fill(&path, &part(3));
    let rolled_up = says(&path, &["compact", "--once"]);
    assert!(rolled_up.contains("clicks_hourly") && rolled_up.contains("clicks_daily"), "{rolled_up}");
    for table in ["clicks_minute", "clicks_hourly", "clicks_daily"] {
        let sql = format!("select count(distinct country) > 1, sum(clicks) > 0 from {table}");
        assert!(says(&path, &["sql", &sql]).contains("| true "), "{table} is not by country");
    }
    assert!(says(&path, &["verify"]).starts_with("equal"));
    assert!(says(&path, &["pins"]).contains("promote_"));
    says(&path, &["promote", "--undo"]);
    fill(&path, &log);
    assert!(says(&path, &["verify"]).starts_with("equal"));
    says(&path, &["compact", "--once"]);
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        at_every_commit(&lake, &log).await.expect("every version is what its stand says");
        super::rolled_up::are_rolled_up(&lake).await.expect("every version is of what it names");
    });
}

/// Counts a staging table on from where it stands, up to the end of a log.
async fn count_on(lake: &Lake, log: &Arc<Log>, table: Table) {
    let staging = TableLog::find(lake, table).await.expect("a folder").expect("it is there");
    let clicks = TableLog::open(lake, Table::Clicks).await.expect("a folder");
    let job = Aggregate::over(History::default(), table, staging.parameters().expect("its own"));
    let group = Arc::new(Group::default());
    (0..log.partitions.len() as i32).for_each(|partition| group.give(partition, 0));
    let messages = ScriptedSource::new(Arc::clone(log), group, 0, 7);
    let mut source = HybridSource::new(RawTable::new(clicks).shared(), messages, job.reads());
    let (policy, stop) = (CommitPolicy::every(Duration::from_millis(300)), CancellationToken::new());
    let counted = drive(&job, &mut source, vec![staging], policy, Some(log.ends()), stop, watch::Sender::default());
    counted.await.expect("it ends");
}

#[test]
fn a_table_that_was_counted_live_is_promoted_as_it_stands() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    let part = |share: usize| Arc::new(log.earlier(|_, all| all * share / 4));
    let table = Table::Staging("by_country".parse().expect("a name"));
    let into = ["backfill", "--into", "by_country", "--dimensions", "country", "--lake", path.as_str()];
    fill(&path, &part(2));
    says(&path, &into[..5]);
    says(&path, &["live", "clicks_minute", "--by", "aggregate"]);
    says(&path, &["live", "by_country"]);
    refused(&into, Code::StagingExists, 4, &["by_country is counted live", "another name"]);
    fill(&path, &part(3));
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        count_on(&lake, &part(3), table).await;
        let staging = TableLog::find(&lake, table).await.expect("a folder").expect("it is there");
        assert_eq!(cut_of(&staging.stands()), part(3).ends(), "it has gone on");
    });
    // It is what its stands say, wherever its backfill ended.
    for more in [&["--replay"][..], &["--conservation"], &[]] {
        says(&path, &[&["verify", "--table", "by_country"][..], more].concat());
    }
    assert!(says(&path, &["promote", "by_country"]).contains("of clicks_minute is by_country"));
    fill(&path, &log);
    assert!(says(&path, &["verify"]).starts_with("equal"));
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        let minutes = TableLog::find(&lake, Table::ClicksMinute).await.expect("a folder").expect("it is there");
        assert_eq!(minutes.properties()[PROPERTY_LIVE], "aggregate", "it says so itself, whatever is promoted");
        at_every_commit(&lake, &log).await.expect("every version is what its stand says");
    });
    // Nobody counts it on any more, and there is nothing for a backfill to go on with.
    says(&path, &["live", "by_country", "--stop"]);
    refused(&into, Code::StagingExists, 4, &["by_country is there already, and complete"]);
}

#[test]
fn what_cannot_be_promoted_is_refused() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    fill(&path, &log);
    says(&path, &["backfill", "--into", "in_part", "--from", "2026-03-31", "--to", "2026-04-01"]);
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["promote", "nothing"], 4, &["no table nothing", "backfill --into"]),
        (&["promote", "in_part"], 4, &["in_part is of a part of history", "without a range"]),
        (&["promote", "clicks_minute"], 2, &["clicks_minute is a table of the lake itself"]),
        (&["promote", "--undo"], 4, &["not promoted", "nothing to undo"]),
        (&["promote"], 2, &["NAME"]),
        (&["compact", "--keep-history", "10m"], 2, &["expected 1h at least"]),
    ];
    for (command, exit, words) in cases {
        fails(&[command, &["--lake", &path]].concat(), exit, words);
    }
    let lake = Lake::at(&path).expect("a lake");
    simulate(async {
        let newest = crate::simulation::versions(&lake, Table::ClicksMinute).await;
        assert!(newest.iter().all(|version| version.job != "promote"));
    });
}
