//! Law: when another program deletes clicks of the raw table, no job stops because of it, and nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use backfill::{Range, Replace, Work, Writes};
use lake_schemas::{Code, Table};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, RawFile};
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use super::minutes;
use crate::minutes::{Counts, add_rows};
use crate::simulation::{Computation, Log, START_MS, lake_on, named, simulate, versions};

/// The message whose clock is ahead, which moves the watermark.
const AHEAD: usize = 99;

/// Makes a log of a click a second, with one click from ten minutes later.
fn log() -> Log {
    let time = |number: usize| START_MS + if number == AHEAD { 600_000 } else { number as i64 * 1_000 };
    Log::of_times([(0..200).map(time).map(|ms| (ms, ms)).collect()].into_iter())
}

/// Removes the files of the raw table that hold everything from an offset on, and leaves its positions.
async fn delete_from(lake: &Lake, offset: i64) {
    let mut clicks = TableLog::open(lake, Table::Clicks).await.expect("memory");
    let mut removes = clicks.live_files().await.expect("memory");
    removes.retain(|file| RawFile::of(file).expect("statistics").offsets.next > offset);
    assert!(!removes.is_empty(), "there is something to delete");
    let outcome = clicks.commit(&Commit { removes, ..Commit::new("test") }).await.expect("memory");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

#[test]
fn what_is_deleted_from_clicks_stops_no_restart_and_nothing_is_counted_twice() {
    // The click that the watermark comes from, and all clicks.
    for kept in [AHEAD as i64, 0] {
        simulate(async {
            let (log, lake) = (log(), lake_on(Arc::new(InMemory::new())));
            let [before, first, second, whole] =
                [AHEAD, AHEAD + 1, 150, 200].map(|messages| Arc::new(log.earlier(|_, _| messages)));
            Computation::Raw.read_all(&lake, &before).await.expect("ingest ends");
            Computation::Raw.read_all(&lake, &first).await.expect("ingest ends");
            minutes().read_all(&lake, &first).await.expect("aggregate ends");
            delete_from(&lake, kept).await;
            // The clicks that are left do not reach the recorded watermark: a backfill would remove windows that are
            // closed.
            let work = Work {
                lake: &lake,
                range: Range::All,
                at_a_time: 2,
                meter: Arc::default(),
                stop: CancellationToken::new(),
            };
            let replace = Replace { work, writes: Writes::Changes, wait: Duration::ZERO };
            let refused = replace.run().await.expect_err("it is refused");
            assert_eq!(refused.code(), Some(Code::ForeignLoss), "{refused}");
            assert!(refused.to_string().contains("clicks/0"), "{refused}");
            // These clicks are behind the watermark, so they do not move it to where it was.
            for log in [second, whole] {
                Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
                minutes().read_all(&lake, &log).await.expect("aggregate goes on");
            }
            let (mut counts, mut watermark_ms) = (Counts::new(), None);
            for version in versions(&lake, Table::ClicksMinute).await {
                version.rows.iter().for_each(|rows| add_rows(&mut counts, rows));
                let stand = version.stand(&named(0));
                assert!(watermark_ms <= stand.watermark_ms, "{watermark_ms:?}, and then {stand:?}");
                watermark_ms = stand.watermark_ms;
            }
            assert_eq!(watermark_ms, Some(START_MS + 600_000 - 5_000));
            let clicks: i64 = counts.values().map(|sums| sums[0]).sum();
            assert_eq!(clicks, 200, "each is counted once: {counts:?}");
        });
    }
}
