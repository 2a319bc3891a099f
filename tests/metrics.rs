//! Law: `--metrics` serves what is in the tables, and how far they are behind the log.

use std::collections::BTreeMap;
use std::time::Duration;

use localstack::produce::Load;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::stack::RealStack;
use crate::stack::member::Member;

/// How long a member may take to report that it is done: it learns the ends of the log every few seconds.
const SOON: Duration = Duration::from_secs(30);

/// Returns the samples of a scrape, by name with labels; the job's label is the same everywhere.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').expect("a name and a value"));
    pairs
        .map(|(name, value)| {
            let name = name.replace("job=\"ingest\",", "").replace("{job=\"ingest\"}", "");
            (name, value.parse().expect("a number"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_what_the_tables_say() {
    let (stack, topic) = (RealStack::shared(), "measured");
    stack.create_topic(topic, 2, &[]).await;
    let load = Load { rate: 1_000_000, count: Some(5_000), start_ms: NOON_MS };
    let counts = stack.produce(topic, 1, load, CancellationToken::new()).await;
    let mut member = Member::start(&stack, topic, topic, &["--metrics", "127.0.0.1:0"]);
    member.says("metrics address=", SOON).await;
    let began = Instant::now();
    let found = loop {
        let found = samples(&member.metrics().await);
        let lags = found.iter().filter(|(name, _)| name.starts_with("clicklake_lag_offsets"));
        if lags.clone().count() == 2 && lags.map(|(_, lag)| lag).sum::<f64>() == 0.0 {
            break found;
        }
        assert!(began.elapsed() < SOON, "{found:#?}");
        sleep(Duration::from_millis(200)).await;
    };
    let of = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in {found:#?}"));
    let sum =
        |prefix: &str| found.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum::<f64>();
    assert_eq!(of("clicklake_messages_committed_total"), counts.total() as f64);
    assert_eq!(of("clicklake_rows_total{table=\"clicks\"}"), (counts.total() - counts.malformed) as f64);
    assert_eq!(of("clicklake_rows_total{table=\"clicks_rejected\"}"), counts.malformed as f64);
    assert_eq!(sum("clicklake_rejected_total"), counts.malformed as f64);
    assert!(of("clicklake_rejected_total{reason=\"not_json\"}") > 0.0);
    assert_eq!(sum("clicklake_committed_offset"), counts.total() as f64);
    assert_eq!(sum("clicklake_owned"), 2.0);
    assert!(of("clicklake_written_bytes_total{table=\"clicks\"}") > 10_000.0);
    let commits = of("clicklake_commit_seconds_count");
    assert!(commits >= 1.0 && of("clicklake_commit_seconds_bucket{le=\"+Inf\"}") == commits);
    assert!(of("clicklake_commit_seconds_sum") > 0.0);
    assert!(of("clicklake_rebalances_total") >= 1.0);
    assert_eq!((of("clicklake_fenced_total"), of("clicklake_abandoned_total")), (0.0, 0.0));
    member.leaves().await;
}
