//! Retires topics, so that the lake does not wait for those that are over.
//!
//! A topic that was moved to another cluster, or made again under another name, brings nothing any more, and unless
//! somebody says so, the lake waits for it for ever. Retiring records that as a `txn` of `clicks_minute` for each of
//! its partitions, whose value is the cut at which it was over: see [`retirement`]. So it holds only for the partition
//! at that cut. A message that comes all the same moves the cut, and the topic is waited for again; so it is when a job
//! reads it.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use lake_schemas::stand::{WAITED_FOR, cut_of, is_over, retirement};
use lake_schemas::table::Version;
use lake_schemas::{Code, Stand, Table, TopicPartition};

use crate::commit::{Commit, Move, Outcome, Partitions, TableLog, TableView};
use crate::error::{LakeError, Result};
use crate::lake::Lake;

/// Name of the job, as `history` shows it.
const JOB: &str = "retire";

/// Whether a topic may still bring clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The topic brings no clicks any more.
    Over,
    /// The topic may bring more clicks.
    WaitedFor,
}

/// Records whether a topic is waited for. Returns the version that does so; `None` if nothing changes.
///
/// # Errors
///
/// [`LakeError::Refused`] if the lake does not know the topic, or has clicks of it that are not in the counts yet.
pub fn retire<'a>(lake: &'a Lake, topic: &'a str, is: Topic) -> BoxFuture<'a, Result<Option<Version>>> {
    Box::pin(async move {
        let table = Table::ClicksMinute;
        let mut minutes = TableLog::find(lake, table).await?.ok_or_else(|| lake.lacks(table))?;
        // Read `clicks` after `clicks_minute`, so that it has every message that the minutes have seen.
        let clicks = TableView::newest(lake, Table::Clicks).await?;
        let known = minutes.partitions();
        let of_topic: Vec<_> =
            known.stands.iter().filter(|(of, _)| of.topic == topic).map(|(of, stand)| (of.clone(), *stand)).collect();
        if of_topic.is_empty() {
            return Err(unknown(topic, &known));
        }
        if is == Topic::Over {
            all_is_counted(topic, &of_topic, clicks.as_ref())?;
        }
        let moves: Vec<_> = of_topic.iter().filter_map(|(of, stand)| said(&minutes, of, *stand, is)).collect();
        if moves.is_empty() {
            return Ok(None);
        }
        let cut = cut_of(&of_topic.into_iter().collect());
        let commit = Commit { moves, cut, ..Commit::new(JOB) };
        match minutes.commit(&commit).await? {
            Outcome::Committed(version) => {
                if let Some(checkpoint) = minutes.take_checkpoint_owed() {
                    checkpoint.write_or_warn().await;
                }
                Ok(Some(version))
            }
            Outcome::Fenced { .. } => {
                let why = format!("another process retires topic {topic}, or undoes that, at the same time; try again");
                Err(LakeError::Refused(Code::Contended.because(why)))
            }
            outcome @ (Outcome::InputGone { .. } | Outcome::Overtaken { .. }) => {
                unreachable!("it removes nothing, and goes onto any version: {outcome:?}")
            }
        }
    })
}

/// Makes the commit by which partitions that a job now owns are waited for; `None` if they are already.
pub fn waiting_for(minutes: &TableLog, partitions: &[TopicPartition]) -> Option<Commit> {
    let is_awaited = |of: &TopicPartition, stand: Stand| match minutes.txn(&retirement(minutes.table(), of)) {
        Some(value) => !is_over(value, stand),
        None => stand.cut.is_some(),
    };
    let new = partitions.iter().map(|of| (of, minutes.stand(of))).filter(|(of, stand)| !is_awaited(of, *stand));
    let moves: Vec<_> = new.map(|(of, stand)| to(minutes, of, value_of(stand, Topic::WaitedFor))).collect();
    (!moves.is_empty()).then(|| Commit { moves, ..Commit::new("aggregate") })
}

/// Returns the move that records this for a partition; `None` if it is recorded already.
fn said(minutes: &TableLog, of: &TopicPartition, stand: Stand, is: Topic) -> Option<Move> {
    let step = to(minutes, of, value_of(stand, is));
    // A partition that was never retired is waited for without a record.
    let is_known = match is {
        Topic::Over => step.from == step.to,
        Topic::WaitedFor => step.from.is_none_or(|value| !is_over(value, stand)),
    };
    (!is_known).then_some(step)
}

fn value_of(stand: Stand, is: Topic) -> i64 {
    match is {
        Topic::Over => stand.cut.unwrap_or(0),
        Topic::WaitedFor => WAITED_FOR,
    }
}

fn to(minutes: &TableLog, of: &TopicPartition, value: i64) -> Move {
    let app_id = retirement(minutes.table(), of);
    Move { from: minutes.txn(&app_id), app_id, to: Some(value) }
}

/// Refuses to retire a topic with clicks that are not in the minutes: nobody would count them any more.
fn all_is_counted(topic: &str, of_topic: &[(TopicPartition, Stand)], clicks: Option<&TableView>) -> Result<()> {
    let way_out = format!(
        "let `clicklake aggregate --topic {topic} --until-caught-up` finish it; if its log is gone, count what clicks \
         has, by `clicklake backfill --into NAME` and `clicklake promote NAME`"
    );
    let raw = clicks.map(TableView::stands).unwrap_or_default();
    let counted = |of: &TopicPartition| of_topic.iter().find(|(known, _)| known == of).map(|(_, stand)| *stand);
    let behind = raw.iter().find(|(of, stand)| of.topic == topic && counted(of).unwrap_or_default().cut < stand.cut);
    if let Some((of, stand)) = behind {
        let (has, counted) = (stand.cut.unwrap_or(0), counted(of).unwrap_or_default().cut.unwrap_or(0));
        let why =
            format!("{of}: clicks has all below offset {has}, but clicks_minute has counted only below {counted}");
        return Err(LakeError::Refused(Code::TopicNotCounted.because(format!("{why}; {way_out}"))));
    }
    let open = of_topic.iter().find(|(_, stand)| stand.drained < stand.cut);
    match open {
        None => Ok(()),
        Some((of, stand)) => Err(LakeError::Refused(Code::TopicNotCounted.because(format!(
            "{of}: minutes of clicks below offset {} may not be written yet; {way_out}",
            stand.cut.unwrap_or(0)
        )))),
    }
}

fn unknown(topic: &str, known: &Partitions) -> LakeError {
    let topics: BTreeSet<_> = known.stands.keys().map(|of| of.topic.as_str()).collect();
    let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
    let has = if topics.is_empty() { "knows none yet".to_owned() } else { format!("knows {topics}") };
    LakeError::Refused(
        Code::NothingThere.because(format!("clicks_minute has counted nothing of a topic {topic}; it {has}")),
    )
}
