//! Parses one entry of a table's log: one action a line. No I/O.
//!
//! Delta's protocol lets writers add actions and fields that others do not know. A program skips what it does not know,
//! because whatever must be understood is announced as a table feature. A line that is no JSON object, or an action
//! that lacks what every such action has, is damage: nothing that follows from the entry can be told. So is an entry
//! without any action: no writer commits nothing, but a power loss may leave a file empty.

use std::collections::BTreeSet;
use std::fmt;

use deltalake::kernel::{Action, CommitInfo};
use serde_json::{Map, Value};

/// Actions that decide what a table holds and how it is read: each of them must be understood.
const DECISIVE: [&str; 5] = ["metaData", "protocol", "add", "remove", "txn"];

/// The action in which writers say who they are. Its fields are theirs: a field that this program does not understand
/// is left out.
const COMMIT_INFO: &str = "commitInfo";

/// Content of one entry.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Actions that this program knows.
    pub actions: Vec<Action>,
    /// Names of the actions that it does not know.
    pub unknown: BTreeSet<String>,
}

/// Reason why an entry is damaged, and at which line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// `None`: it is the entry as a whole.
    line: Option<usize>,
    why: String,
}

impl Damage {
    /// Returns the damage of an entry that is empty.
    pub fn empty() -> Self {
        Self { line: None, why: "it has no action".to_owned() }
    }
}

impl Lines {
    /// Parses an entry line by line.
    pub fn parse(entry: &[u8]) -> Result<Self, Damage> {
        let mut lines = Self::default();
        for (line, text) in (1..).zip(entry.split(|byte| *byte == b'\n')) {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice(text) {
                Ok(action) => lines.actions.push(action),
                Err(error) => lines.odd(text, &error).map_err(|why| Damage { line: Some(line), why })?,
            }
        }
        if lines.actions.is_empty() && lines.unknown.is_empty() {
            return Err(Damage::empty());
        }
        Ok(lines)
    }

    /// Takes a line that is not an action as this program writes it. Returns why it is damaged, if it is.
    fn odd(&mut self, text: &[u8], error: &serde_json::Error) -> Result<(), String> {
        let members: Map<String, Value> =
            serde_json::from_slice(text).map_err(|_| "it is no JSON object".to_owned())?;
        let mut members = members.into_iter().filter(|(_, value)| !value.is_null());
        let Some((name, value)) = members.next() else { return Ok(()) };
        if let Some((other, _)) = members.next() {
            return Err(format!("it is two actions at once, {name} and {other}"));
        }
        if name == COMMIT_INFO {
            self.actions.push(Action::CommitInfo(told(&value)));
            return Ok(());
        }
        // Members that are null may be all that was odd: without them, the action may be readable.
        let action = serde_json::from_value(Value::Object([(name.clone(), value)].into_iter().collect()));
        match action {
            Ok(action) => self.actions.push(action),
            Err(_) if DECISIVE.contains(&name.as_str()) => {
                return Err(format!("its {name} cannot be understood: {error}"));
            }
            Err(_) => {
                self.unknown.insert(name);
            }
        }
        Ok(())
    }
}

/// Reads the fields of a commit information that this program understands.
fn told(info: &Value) -> CommitInfo {
    let text = |name: &str| info[name].as_str().map(str::to_owned);
    let ours = info.get("clicklake").map(|ours| ("clicklake".to_owned(), ours.clone()));
    CommitInfo {
        timestamp: info["timestamp"].as_i64(),
        operation: text("operation"),
        engine_info: text("engineInfo"),
        info: ours.into_iter().collect(),
        ..CommitInfo::default()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.map_or(Ok(()), |line| write!(f, "line {line}: "))?;
        f.write_str(&self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Lines {
        Lines::parse(text.as_bytes()).expect("an entry")
    }

    fn damage(text: &str) -> String {
        Lines::parse(text.as_bytes()).expect_err("it is damaged").to_string()
    }

    const TXN: &str = r#"{"txn":{"appId":"a","version":1}}"#;

    #[test]
    fn an_unknown_action_is_told_and_the_others_are_read() {
        let lines = parsed(&format!("{{\"future\":{{\"of\":[1]}}}}\n{TXN}\n\n"));
        assert_eq!((lines.actions.len(), lines.unknown), (1, ["future".to_owned()].into()));
    }

    #[test]
    fn unknown_fields_of_known_actions_are_passed_over() {
        let add =
            r#"{"add":{"path":"a%20b","partitionValues":{},"size":1,"modificationTime":2,"dataChange":true,"new":{}}}"#;
        assert!(matches!(&parsed(add).actions[..], [Action::Add(add)] if add.path == "a b"));
    }

    #[test]
    fn known_members_of_commit_info_are_read_beside_unknown_ones() {
        let lines =
            parsed(r#"{"commitInfo":{"timestamp":7,"operation":"RESTORE","isolationLevel":"Odd","readVersion":"x"}}"#);
        let [Action::CommitInfo(info)] = &lines.actions[..] else { panic!("{lines:?}") };
        assert_eq!((info.timestamp, info.operation.as_deref()), (Some(7), Some("RESTORE")));
    }

    #[test]
    fn members_without_a_value_are_none() {
        assert_eq!(parsed(r#"{"txn":{"appId":"a","version":1},"add":null}"#).actions.len(), 1);
        assert_eq!(parsed(&format!("{{\"add\":null}}\n{TXN}")).actions.len(), 1);
    }

    #[test]
    fn an_entry_without_any_action_is_damaged() {
        for empty in ["", "\n", " \n\t\n", "{}", r#"{"add":null}"#] {
            assert_eq!(damage(empty), "it has no action", "{empty:?}");
        }
        assert_eq!(parsed(r#"{"future":{}}"#).actions.len(), 0, "an unknown action is one");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let cut = damage(&format!("{TXN}\n{{\"add\":{{\"path\":\"a"));
        assert!(cut.starts_with("line 2: it is no JSON object"), "{cut}");
        let lacking = damage(r#"{"remove":{"dataChange":true}}"#);
        assert!(lacking.starts_with("line 1: its remove cannot be understood"), "{lacking}");
        let two = damage(r#"{"txn":{"appId":"a","version":1},"remove":{"path":"a","dataChange":true}}"#);
        assert!(two.contains("two actions at once"), "{two}");
    }
}
