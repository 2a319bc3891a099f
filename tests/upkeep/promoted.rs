//! Law of promotions: the live job goes on from the table that replaced its own, and no click is lost; and a table that
//! cannot become the lake's minutes is refused in one line.

use std::sync::Arc;

use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_store::Lake;

use crate::minutes::at_every_commit;
use crate::simulation::{Computation, Log, simulate};
use crate::start_up::{clicklake, fails, folder};

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
