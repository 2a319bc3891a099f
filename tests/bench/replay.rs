//! Measures a replay of history into a staging table, by the program. Beside it stand two statements of SQL that
//! DataFusion runs over the same files: one has the whole logic of the counts, and one only drops copies and sums up
//! minutes.

use std::process::Stdio;

use lake_schemas::{Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableLog;
use serde_json::{Value, json};

use crate::Scale;
use crate::process::{cpu_seconds, cpu_seconds_of_children, peak_memory_mb};
use crate::raw_lake::{RATE, RawLake, now, recount, seconds};

const TOPIC: &str = "replayed";

/// Raw table whose files hold a minute each: larger ones than ingest writes, smaller ones than compaction makes.
const RAW: RawLake = RawLake { topic: TOPIC, partitions: 12, epoch_seconds: 60 };

/// SQL that only drops copies and sums up minutes: it has no watermark and no lateness, and leaves out other events.
const PLAIN: &str = "select date_trunc('minute', event_time), ad_id, campaign_id, count(*), sum(cost_micros) from ( \
     select event_time, ad_id, campaign_id, cost_micros, \
       row_number() over (partition by kafka_partition, click_id order by kafka_offset) as copy \
     from clicks where coalesce(event_type, 'click') = 'click') clicks \
     where copy = 1 group by 1, 2, 3";

/// Returns the size of the raw table, in bytes.
async fn bytes_of(lake: &Lake) -> f64 {
    let mut clicks = TableLog::open(lake, Table::Clicks).await.expect("a table");
    clicks.live_files().await.expect("a folder").iter().map(|file| file.size as f64).sum()
}

/// Measures the replay and the two statements.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lake").to_str().expect("UTF-8").to_owned();
    let lake = Lake::at(&path).expect("a lake");
    let clicks = scale.replayed_seconds * RATE;
    let (cuts, raw_files) = runtime.block_on(RAW.make(&lake, scale.replayed_seconds));
    let bytes = runtime.block_on(bytes_of(&lake));
    let (began, cpu) = (now(), cpu_seconds_of_children());
    let mut replay = std::process::Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["backfill", "--into", "again", "--lake", &path])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut peak_mb: f64 = 0.0;
    let status = loop {
        peak_mb = peak_memory_mb(replay.id()).unwrap_or(0.0).max(peak_mb);
        if let Some(status) = replay.try_wait().expect("it runs") {
            break status;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    let (replayed, replay_cpu) = (began.elapsed(), cpu_seconds_of_children() - cpu);
    assert!(status.success(), "{status}");
    let (began, cpu) = (now(), cpu_seconds());
    let mut counted = 0;
    for (number, cut) in (0..).zip(&cuts) {
        counted += runtime.block_on(recount(&lake, &TopicPartition::new(TOPIC, number), *cut));
    }
    let (sql, sql_cpu) = (began.elapsed(), cpu_seconds() - cpu);
    assert!(counted > 0, "the SQL counts");
    let (began, cpu) = (now(), cpu_seconds());
    runtime.block_on(query::run(&lake, PLAIN)).expect("the lake can be read");
    let (plain, plain_cpu) = (began.elapsed(), cpu_seconds() - cpu);
    let of = |took: std::time::Duration, cpu: f64| {
        let cpu_a_million = (cpu * 1e6 / clicks as f64 * 1e3).round() / 1e3;
        json!({ "seconds": seconds(took), "cpu_seconds_a_million": cpu_a_million })
    };
    json!({
        "clicks": clicks,
        "raw_files": raw_files,
        "bytes_a_click": bytes / clicks as f64,
        "replay": of(replayed, replay_cpu),
        "clicks_a_second": (clicks as f64 / replayed.as_secs_f64()).round(),
        "clicks_a_second_min": 1_500_000,
        "peak_memory_mb": peak_mb.round(),
        "peak_memory_mb_max": 1_024,
        "sql_of_the_same": of(sql, sql_cpu),
        "sql_of_copies_and_sums_alone": of(plain, plain_cpu),
    })
}
