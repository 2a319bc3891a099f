//! `clicklake retire`: records that a topic is over, so that it is not waited for.

use chrono::NaiveDateTime;
use lake_schemas::Table;
use lake_schemas::table::Version;
use lake_store::commit::TableView;
use lake_store::retire::{Topic, retire};
use lake_store::{Lake, LakeError};

use crate::arguments::Retire;
use crate::report;

/// Pattern for names of the topics that `clicklake up` makes on its test broker, by the time. The broker forgets them.
pub const TOPIC_OF_UP: &str = "up-%Y%m%dT%H%M%S%3fZ";

pub async fn run(lake: &str, command: Retire) -> anyhow::Result<()> {
    let (lake, topic) = (Lake::at(lake)?, command.topic);
    let is = if command.undo { Topic::WaitedFor } else { Topic::Over };
    let since = retire(&lake, &topic, is).await?;
    report::print_text(&said(&topic, is, since))
}

/// Returns the message for a topic that is over, or waited for, since a version; `None`: it was so already.
fn said(topic: &str, is: Topic, since: Option<Version>) -> String {
    let table = Table::ClicksMinute;
    match (is, since) {
        (Topic::Over, Some(version)) => format!(
            "{topic} is retired since version {version} of {table}; a message that comes all the same takes that back"
        ),
        (Topic::Over, None) => format!("{topic} was retired already; nothing was changed"),
        (Topic::WaitedFor, Some(version)) => format!("{topic} is waited for again since version {version} of {table}"),
        (Topic::WaitedFor, None) => format!("{topic} was not retired; nothing was changed"),
    }
}

/// Retires the topics of `up`, except `but`, because the brokers that had them are gone. Topics with clicks that are
/// not counted stay; the reasons are returned.
pub async fn leftovers(lake: &Lake, but: Option<&str>) -> Result<Vec<String>, LakeError> {
    let Some(minutes) = TableView::newest(lake, Table::ClicksMinute).await? else {
        return Ok(Vec::new());
    };
    let known = minutes.partitions();
    let mut topics: Vec<_> = known.waited_for().map(|(of, _)| of.topic.as_str()).collect();
    topics.dedup();
    // Only names that match the pattern: somebody's own topic may begin in the same way.
    topics.retain(|topic| NaiveDateTime::parse_from_str(topic, TOPIC_OF_UP).is_ok() && Some(*topic) != but);
    let mut left = Vec::new();
    for topic in topics {
        match retire(lake, topic, Topic::Over).await {
            Ok(_) => {}
            Err(LakeError::Refused(why)) => left.push(format!("{topic} is still waited for: {why}")),
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}
