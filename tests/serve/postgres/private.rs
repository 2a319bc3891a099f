//! Law: over the PostgreSQL protocol a key sees neither positions nor people, unless its line says that it sees people;
//! and a key that is removed from the file can ask nothing any more.

use std::sync::Arc;

use lake_store::Lake;
use serve::{Keys, Postgres};

use super::{MEMORY, Rows, Served, lake};

/// File of keys: `all-of-it`, and `spring-key`, which also sees who clicked.
const WITH_PEOPLE: &str = "
294c04e5ac9dd23c5448c01a3bb266a553de650cc27d9a1ddc35e2765498c1fb *
1be082a4fc22e386dbac58d743e0254e93a2fced7476e934f7bbde2165358661 [people] spring
";

/// Returns the columns of a table, as tools find them.
fn columns(served: &Served, key: &str, table: &str) -> Vec<String> {
    let text = "select column_name from information_schema.columns where table_name = ";
    let printed = served.printed(key, &[&format!("{text}'{table}'")]);
    printed.lines().map(str::to_owned).collect()
}

fn over(lake: &Lake, keys: &str) -> (Served, Arc<Keys>) {
    let keys = Arc::new(Keys::parse(keys).expect("keys"));
    let server = Postgres::new(lake.clone(), Some(Arc::clone(&keys)), MEMORY).expect("a server");
    (Served::of(server), keys)
}

#[test]
fn a_key_sees_neither_positions_nor_people_unless_its_line_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::write(folder.path(), Rows::All);
    let (served, keys) = over(&lake, super::KEYS);
    let positions = [("clicks", "kafka_offset"), ("clicks_minute", "offset_first"), ("clicks_minute", "offset_next")];
    let people = [("clicks", "ip"), ("clicks", "user_id"), ("clicks", "extra")];
    let access = |key: &str, (table, column): (&str, &str)| {
        let is_listed = columns(&served, key, table).contains(&column.to_owned());
        let output = served.psql(key, &[&format!("select count({column}) from {table}")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), is_listed, "{column} of {table} is listed or not: {said}");
        assert!(is_listed || said.contains("42703"), "it is as if it were not there: {said}");
        is_listed
    };
    for column in positions.into_iter().chain(people) {
        assert!(access("all-of-it", column) && !access("spring-key", column), "{column:?}");
    }
    assert!(access("spring-key", ("clicks", "ad_id")));
    assert_eq!(served.printed("spring-key", &["select count(*) from (select * from clicks) c"]), "6");
    keys.replace(WITH_PEOPLE).expect("keys");
    for column in people {
        assert!(access("spring-key", column), "{column:?}");
    }
    for column in positions {
        assert!(!access("spring-key", column), "{column:?}");
    }
    served.end();
}

#[test]
fn who_guesses_where_the_lake_is_does_not_learn_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = over(&lake::write(folder.path(), Rows::All), super::KEYS);
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (right, wrong) = (path("lake"), path("ekal"));
    for text in [
        "select 'GUESS'::int",
        "select 'GUESS/clicks/a.parquet'::int",
        "select 'file://GUESS'::int",
        "select * from series('GUESS', null, 'day')",
        "select to_timestamp('GUESS')",
        "select * from \"GUESS\"",
    ] {
        for protocol in ["simple", "extended"] {
            let told = |guess: &str| {
                let answer = served.one("spring-key", protocol, &text.replace("GUESS", guess));
                assert!(answer["code"].is_string(), "{text}: {answer}");
                answer.to_string().replace(guess, "GUESS")
            };
            assert_eq!(told(&right), told(&wrong), "{protocol}: {text}");
        }
    }
    served.end();
}

#[test]
fn a_session_ends_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::write(folder.path(), Rows::All);
    let (served, keys) = over(&lake, super::KEYS);
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-A", "-t", "-d", &served.url("spring-key")]);
    psql.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut psql = psql.spawn().expect("psql runs; tests/run installs it");
    let (mut input, output) = (psql.stdin.take().expect("a pipe"), psql.stdout.take().expect("a pipe"));
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    std::io::Write::write_all(&mut input, b"select 41 + 1;\n").expect("it reads");
    assert_eq!(lines.next().expect("a line").expect("text"), "42");
    keys.replace(WITH_PEOPLE).expect("keys");
    std::io::Write::write_all(&mut input, b"select 43;\n").expect("it reads");
    drop(input);
    let said = psql.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("the key is no longer one of this server"), "{said}");
    assert!(lines.all(|line| line.expect("text") != "43"));
    served.end();
}
