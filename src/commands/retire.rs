//! `clicklake retire`: a topic that is over is not waited for.

use chrono::NaiveDateTime;
use lake_schemas::commit::TableView;
use lake_schemas::retire::{Topic, retire};
use lake_schemas::{Lake, LakeError, Table};

use crate::arguments::Retire;
use crate::report;

/// How `clicklake up` names the topics that it makes on its test broker, which forgets them: by the time.
pub const TOPIC_OF_UP: &str = "up-%Y%m%dT%H%M%S%3fZ";

pub async fn run(lake: &str, command: Retire) -> anyhow::Result<()> {
    let (lake, topic) = (Lake::at(lake)?, command.topic);
    let is = if command.undo { Topic::WaitedFor } else { Topic::Over };
    let says = match is {
        Topic::Over => "is not waited for any more; a message that comes all the same takes that back",
        Topic::WaitedFor => "is waited for",
    };
    let said = retire(&lake, &topic, is).await?;
    let version = said.map_or_else(|| "it was before".to_owned(), |version| format!("since version {version}"));
    report::print_text(&format!("{topic} {says} ({version} of {})", Table::ClicksMinute))
}

/// Retires the topics of `up` but one: the brokers that had them are gone. Those of which not all is counted stay; why,
/// is returned.
pub async fn leftovers(lake: &Lake, but: Option<&str>) -> Result<Vec<String>, LakeError> {
    let Some(minutes) = TableView::newest(lake, Table::ClicksMinute).await? else {
        return Ok(Vec::new());
    };
    let known = minutes.partitions();
    let mut topics: Vec<_> = known.waited_for().map(|(of, _)| of.topic.as_str()).collect();
    topics.dedup();
    // A topic of somebody else may begin like these.
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
