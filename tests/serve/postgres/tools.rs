//! Law: the queries that tools send before they show a table are answered, by both protocols: see `tools/README.md`.
//! The tools themselves are not here; the queries that they send at the start are.

use serde_json::Value;

use super::lake::{self, Rows};
use super::{MEMORY, Served};

/// Expected result of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    Some,
    None,
    Any,
}

impl Comes {
    fn is_met_by(self, rows: u64) -> bool {
        match self {
            Self::Some => rows > 0,
            Self::None => rows == 0,
            Self::Any => true,
        }
    }
}

/// Reads a file of statements that a tool sends at the start, with the expected result of each.
fn read(text: &str) -> Vec<(Vec<Comes>, &str)> {
    text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).map(of_block).collect()
}

fn of_block(block: &str) -> (Vec<Comes>, &str) {
    let (line, statements) = block.split_once('\n').expect("a line, and a statement");
    let said = line.strip_prefix("-- ").and_then(|line| line.split_once(':')).map_or("", |(comes, _)| comes);
    let comes = said.split(' ').map(|comes| match comes {
        "some" => Comes::Some,
        "none" => Comes::None,
        "any" => Comes::Any,
        _ => panic!("{line} does not say what must come of it"),
    });
    (comes.collect(), statements)
}

#[test]
fn what_tools_ask_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    let mut wrong = Vec::new();
    let mut tools = 0;
    for file in
        std::fs::read_dir("tests/serve/postgres/tools").expect("a folder").map(|entry| entry.expect("a file").path())
    {
        if file.extension().is_none_or(|kind| kind != "sql") {
            continue;
        }
        tools += 1;
        let tool = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        let text = std::fs::read_to_string(&file).expect("a text");
        let sent = read(&text);
        for key in ["all-of-it", "spring-key"] {
            for protocol in ["simple", "extended", "binary"] {
                // Only one statement can be prepared at once.
                let sent: Vec<_> = sent.iter().filter(|(comes, _)| comes.len() == 1 || protocol == "simple").collect();
                let asks: Vec<_> = sent.iter().map(|(_, text)| (*text, Value::Null)).collect();
                let answers = served.asked(key, protocol, &asks);
                for ((comes, text), answer) in sent.iter().zip(&answers) {
                    let counts = answer["counts"].as_array().map_or(&[] as &[Value], Vec::as_slice);
                    let is_met = |(comes, count): (&Comes, &Value)| comes.is_met_by(count.as_u64().expect("a number"));
                    if counts.len() != comes.len() || !comes.iter().zip(counts).all(is_met) {
                        let answer: String = match &answer["counts"] {
                            Value::Null => answer.to_string().chars().take(300).collect(),
                            counts => counts.to_string(),
                        };
                        let text: String = text.chars().take(120).collect();
                        wrong.push(format!("{tool}, {protocol}, {key}: {text} ...: expected {comes:?}: {answer}"));
                    }
                }
            }
        }
    }
    assert!(tools >= 12, "only {tools} tools");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    served.end();
}
