//! Laws of `localstack/up` and `down`: a server that runs is left alone, one that died comes back with its data, and
//! nothing is left behind.

use std::path::Path;
use std::process::Command;

use localstack::produce::Load;
use tokio_util::sync::CancellationToken;

use crate::stack::{RealStack, Server, script};
use crate::{NOON_MS, readers};

/// Returns how many processes have a command line that names a folder.
fn processes_of(folder: &Path) -> usize {
    let folder = folder.to_str().expect("UTF-8");
    let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(folder).then_some(())
    });
    processes.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_comes_back_with_its_data_and_nothing_is_left_behind() {
    let (stack, topic) = (RealStack::start(), "kept");
    let folder = stack.path().join("kafka").parent().expect("a folder").to_owned();
    let ids = |server: &str| std::fs::read_to_string(folder.join(server).join("pid")).expect("it runs");
    let (kafka, s3) = (ids("kafka"), ids("s3"));
    assert_eq!(stack.up(), stack.environment().collect::<Vec<_>>());
    assert_eq!((ids("kafka"), ids("s3")), (kafka.clone(), s3.clone()), "what runs is left alone");

    stack.create_topic(topic, 2, &[]).await;
    let load = Load { rate: 1_000_000, count: Some(1_000), start_ms: NOON_MS };
    stack.produce(topic, 1, load, CancellationToken::new()).await;
    stack.catch_up(topic, topic, &[]).await;
    stack.kill(Server::Kafka);
    stack.kill(Server::S3);
    stack.up();
    assert!(ids("kafka") != kafka && ids("s3") != s3, "what died is started");
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 1_000);

    assert_eq!(processes_of(&folder), 2);
    drop(stack);
    assert_eq!(processes_of(&folder), 0);
    assert!(!folder.exists());
}

#[test]
fn bad_options_are_said_in_one_line() {
    for (arguments, word) in [(&["--ports", "1,2"][..], "--ports 1,2"), (&["--fast"], "--fast")] {
        let output = script("up").args(arguments).output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.starts_with("error: ") && said.contains(word) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_compose_file_is_one() {
    let check = readers::python().with_file_name("check-jsonschema");
    let file = "localstack/compose.yaml";
    let output = Command::new(check).args(["--builtin-schema", "vendor.compose-spec", file]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
