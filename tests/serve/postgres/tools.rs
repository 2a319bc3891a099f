//! Law: what tools ask before they show a table is answered, by both protocols: see `tools/README.md`. The tools
//! themselves are not here; what they send is.

use serde_json::Value;

use super::lake::{self, Rows};
use super::{MEMORY, Served};

/// What must come of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    Some,
    None,
    Any,
}

/// The statements of a file.
fn read(text: &str) -> Vec<(Comes, &str)> {
    text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).map(of_block).collect()
}

fn of_block(block: &str) -> (Comes, &str) {
    let (line, statement) = block.split_once('\n').expect("a line, and a statement");
    let comes = match line.strip_prefix("-- ").and_then(|line| line.split_once(':')).map(|(comes, _)| comes) {
        Some("some") => Comes::Some,
        Some("none") => Comes::None,
        Some("any") => Comes::Any,
        _ => panic!("{line} does not say what must come of it"),
    };
    (comes, statement)
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
        let statements = read(&text);
        let asks: Vec<_> = statements.iter().map(|(_, text)| (*text, Value::Null)).collect();
        for key in ["all-of-it", "spring-key"] {
            for protocol in ["simple", "extended", "binary"] {
                let answers = served.asked(key, protocol, &asks);
                for ((comes, text), answer) in statements.iter().zip(&answers) {
                    let rows = answer["rows"].as_array().map(Vec::len);
                    let is_right = match (comes, rows) {
                        (Comes::Some, Some(rows)) => rows > 0,
                        (Comes::None, Some(rows)) => rows == 0,
                        (Comes::Any, Some(_)) => true,
                        (_, None) => false,
                    };
                    if !is_right {
                        let answer: String = answer.to_string().chars().take(300).collect();
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
