//! Decides whether a count table can follow the raw table from where it stands.
//!
//! A table that has always followed can. In a lake of an older program, counts were made of Kafka itself: they may be
//! ahead of the raw table, or older than it. Neither is a loss by itself: the raw table may still come there, and a gap
//! in the log looks like rows that are not there. Only what Kafka cannot bring any more is refused.

use lake_schemas::{Code, OffsetRange, Refusal, Table, TopicPartition};
use lake_store::Result;
use tokio::sync::Mutex;

use super::live_log::LiveLog;
use super::raw_table::RawTable;

/// A partition of a count table, where it is to follow the raw table.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Table that follows.
    pub table: Table,
    /// Partition that it is about.
    pub partition: TopicPartition,
    /// Offset from which its operator must be restored; `None`: from the first that there is.
    pub from: Option<i64>,
    /// Cut of the table.
    pub cut: Option<i64>,
}

/// Extent of a partition in the raw tables and in the live log, as far as it matters to a follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawReach {
    /// Smallest offset that the raw tables have a row of; `None` if they have none, or if nothing is read below the
    /// cut.
    pub first: Option<i64>,
    /// Cut of the raw table.
    pub cut: Option<i64>,
    /// Offsets that the live log has; `None` if nobody tells, or if they do not matter.
    pub live: Option<OffsetRange>,
}

impl RawReach {
    /// Finds what there is for each of these followers. Files are listed once for all of them, and the live log is
    /// asked once, for the partitions of those to which it matters.
    pub async fn of(raw: &Mutex<RawTable>, live: &dyn LiveLog, followers: &[Follower]) -> Result<Vec<Self>> {
        let mut reaches = Vec::new();
        let mut raw_table = raw.lock().await;
        for Follower { partition, from, .. } in followers {
            let cut = raw_table.cut(partition);
            let first = if from.is_some() && *from < cut { raw_table.first(partition).await? } else { None };
            reaches.push(Self { first, cut, live: None });
        }
        drop(raw_table);
        let both = || followers.iter().zip(&reaches);
        let asked: Vec<_> =
            both().filter(|(one, raw)| raw.is_doubtful(one)).map(|(one, _)| one.partition.clone()).collect();
        if asked.is_empty() {
            return Ok(reaches);
        }
        let told = live.offsets(&asked).await;
        let mut raw_table = raw.lock().await;
        for (one, reach) in followers.iter().zip(&mut reaches) {
            reach.live = told.get(&one.partition).copied();
            // Rejected messages are rows of the other raw table. They matter only where a table would be refused.
            if may_follow(one, *reach).is_err()
                && let Some(first) = reach.first
                && let Some(rejected) = raw_table.first_rejected(&one.partition).await?
            {
                reach.first = Some(first.min(rejected));
            }
        }
        Ok(reaches)
    }

    fn is_ahead(self, follower: &Follower) -> bool {
        follower.cut > self.cut
    }

    fn begins_later(self, follower: &Follower) -> bool {
        follower.from.zip(self.first).is_some_and(|(from, first)| from < first)
    }

    fn is_doubtful(self, follower: &Follower) -> bool {
        self.is_ahead(follower) || self.begins_later(follower)
    }
}

/// Decides whether a table can follow the raw table. Returns a remark where it can, but somebody may want to know.
pub fn may_follow(follower: &Follower, raw: RawReach) -> Result<Option<String>, Refusal> {
    let Follower { table, partition, from, cut } = follower;
    let at = |offset: Option<i64>| offset.map_or_else(|| "no offset".to_owned(), |offset| offset.to_string());
    let (ours, theirs) = (at(*cut), at(raw.cut));
    // First offset that the live log no longer has, if it is known to lack one that is needed.
    let lacks =
        |needed: Option<i64>| raw.live.map(|live| live.first).filter(|first| needed.is_some_and(|of| of < *first));
    let refused = |why: String| {
        Err(Code::OffsetsGone.because(format!(
            "{table}: {partition}: {why}; to count on without what is missing, record the topic under a new name with \
             --topic-as"
        )))
    };
    // The raw table goes on at its cut. Before it has one, it begins with what the log has.
    if raw.is_ahead(follower)
        && let Some(dropped) = lacks(raw.cut.or(*from))
    {
        return refused(format!(
            "it has counted up to {ours}, clicks has come to {theirs}, and kafka has dropped what is below {dropped}"
        ));
    }
    if let Some((from, first)) = from.zip(raw.first).filter(|(from, first)| from < first) {
        let why = format!("it must be restored from {from}, and the first row of clicks is at {first}");
        match (raw.live, lacks(Some(from))) {
            // Kafka's log never gets longer at its beginning: the raw table began there or before, so what lies between
            // is a gap.
            (Some(_), None) => {}
            // Rows below the first one that is left were counted before it was there.
            (_, Some(dropped)) if *cut > Some(first) => {
                return refused(format!("{why}; kafka has dropped what is below {dropped}"));
            }
            _ => {
                let remark = format!("{why}; whether there was anything between them is not known");
                return Ok(Some(format!("{table}: {partition}: {remark}")));
            }
        }
    }
    Ok(raw.is_ahead(follower).then(|| {
        format!(
            "{table}: {partition}: it has counted up to {ours}, and waits until clicks, which has come to {theirs}, is \
             there"
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt;
    use futures::future::{BoxFuture, ready};

    use super::super::written::{Written, named};
    use super::*;

    /// A live log that has these offsets of each partition.
    struct Has(OffsetRange);

    impl LiveLog for Has {
        fn offsets<'a>(
            &'a self,
            partitions: &'a [TopicPartition],
        ) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>> {
            let offsets = partitions.iter().map(|partition| (partition.clone(), self.0));
            ready(offsets.collect::<BTreeMap<_, _>>()).boxed()
        }
    }

    fn follower(from: Option<i64>, cut: Option<i64>) -> Follower {
        Follower { table: Table::ClicksMinute, partition: TopicPartition::new("clicks", 3), from, cut }
    }

    fn raw(first: Option<i64>, cut: Option<i64>, live: Option<(i64, i64)>) -> RawReach {
        let live = live.map(|(first, next)| OffsetRange { first, next });
        RawReach { first, cut, live }
    }

    /// Returns what is decided in a word, and checks that a refusal names the table, the partition and these offsets.
    fn decided(follower: &Follower, raw: RawReach, named: &[i64]) -> &'static str {
        let said = match may_follow(follower, raw) {
            Ok(None) => return "follows",
            Ok(Some(remark)) => ("with a remark", remark),
            Err(refusal) => {
                assert_eq!(refusal.code, Code::OffsetsGone);
                assert!(refusal.why.contains("--topic-as"), "{refusal}");
                ("refused", refusal.why)
            }
        };
        let words = named.iter().map(i64::to_string).chain(["clicks_minute: clicks/3: ".to_owned()]);
        words.for_each(|word| assert!(said.1.contains(&word), "{word:?} is not in: {}", said.1));
        said.0
    }

    #[test]
    fn a_table_that_has_followed_goes_on_whatever_kafka_has() {
        for live in [None, Some((0, 100)), Some((100, 100))] {
            assert_eq!(decided(&follower(None, None), raw(None, None, live), &[]), "follows");
            assert_eq!(decided(&follower(None, None), raw(Some(7), Some(50), live), &[]), "follows");
            assert_eq!(decided(&follower(Some(20), Some(40)), raw(Some(7), Some(50), live), &[]), "follows");
            assert_eq!(decided(&follower(Some(50), Some(50)), raw(None, Some(50), live), &[]), "follows");
            assert_eq!(decided(&follower(Some(20), Some(40)), raw(None, Some(50), live), &[]), "follows");
        }
    }

    #[test]
    fn a_table_ahead_waits_unless_kafka_has_dropped_what_the_raw_table_needs() {
        let ahead = follower(Some(60), Some(80));
        assert_eq!(decided(&ahead, raw(Some(7), Some(50), Some((50, 90))), &[80, 50]), "with a remark");
        assert_eq!(decided(&ahead, raw(Some(7), Some(50), None), &[80, 50]), "with a remark");
        assert_eq!(decided(&ahead, raw(Some(7), Some(50), Some((51, 90))), &[80, 50, 51]), "refused");
        // The raw table knows nothing of the partition yet: it must have what the table is restored from.
        assert_eq!(decided(&ahead, raw(None, None, Some((60, 90))), &[80]), "with a remark");
        assert_eq!(decided(&ahead, raw(None, None, Some((61, 90))), &[80, 61]), "refused");
        // It could come there, but lacks what came before.
        assert_eq!(
            decided(&follower(Some(20), Some(80)), raw(Some(30), Some(50), Some((40, 90))), &[20, 30, 40]),
            "refused"
        );
    }

    #[test]
    fn a_gap_before_the_first_row_is_no_loss_as_long_as_kafka_has_that_offset() {
        let old = follower(Some(20), Some(40));
        assert_eq!(decided(&old, raw(Some(30), Some(50), Some((20, 90))), &[]), "follows");
        assert_eq!(decided(&old, raw(Some(30), Some(50), None), &[20, 30]), "with a remark");
        assert_eq!(decided(&old, raw(Some(30), Some(50), Some((21, 90))), &[20, 30, 21]), "refused");
        // History has expired: nothing that is left was counted.
        assert_eq!(decided(&old, raw(Some(40), Some(50), Some((45, 90))), &[20, 40]), "with a remark");
    }

    #[tokio::test]
    async fn the_raw_tables_and_the_live_log_are_asked_where_it_matters() {
        let mut written = Written::new().await;
        written.rejected(0, 10..20).await;
        written.events(0, 30..50, 50).await;
        written.events(1, 0..5, 5).await;
        let (live, log) = (OffsetRange { first: 60, next: 90 }, Has(OffsetRange { first: 60, next: 90 }));
        let of = |partition, from, cut| Follower { partition: named(partition), ..follower(Some(from), Some(cut)) };
        let followers = [of(0, 20, 40), of(0, 35, 40), of(0, 50, 50), of(1, 5, 80)];
        let raw = written.raw().await.shared();
        let reaches = RawReach::of(&raw, &log, &followers).await.expect("memory");
        let reach = |first, cut, live| RawReach { first, cut: Some(cut), live };
        assert_eq!(
            reaches,
            [
                reach(Some(30), 50, Some(live)),
                reach(Some(30), 50, Some(live)),
                reach(None, 50, Some(live)),
                reach(None, 5, Some(live))
            ]
        );
        let decided = |reaches: &[RawReach]| -> Vec<_> {
            followers.iter().zip(reaches).map(|(one, reach)| may_follow(one, *reach).is_ok()).collect()
        };
        assert_eq!(decided(&reaches), [false, true, true, false]);
        // Rejected messages are rows, too: what lies behind them is a gap.
        let raw = written.raw().await.beside(written.open(Table::ClicksRejected).await).shared();
        let reaches = RawReach::of(&raw, &log, &followers).await.expect("memory");
        assert_eq!((reaches[0].first, decided(&reaches)), (Some(10), vec![true, true, true, false]));
    }
}
