//! Law: every request, whether the OpenAPI document allows it or not, is answered as that document says, and never with
//! a 5xx. Schemathesis makes up the requests, by a seed.

use std::process::Command;

use super::keys::{EVERYTHING, server};
use crate::readers::python;

/// Checks of answers. One is left out, that everything which the document allows is accepted: which parameters go
/// together, and that times are whole minutes, the document can only say in words.
const CHECKS: [&str; 8] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
];

/// Seconds for which Schemathesis sends requests, unless `CLICKLAKE_SECONDS` says otherwise.
const SECONDS: &str = "20";

/// Number of requests that Schemathesis generates for each route at a time.
const QUESTIONS: &str = "200";

const SEED: &str = "8";

#[test]
fn answers_are_what_the_document_says() {
    let (folder, server) = server();
    let seconds = std::env::var("CLICKLAKE_SECONDS").unwrap_or_else(|_| SECONDS.to_owned());
    let mut command = Command::new(python().with_file_name("schemathesis"));
    command
        .args(["--no-color", "run", &format!("http://{}/openapi.json", server.address)])
        .args(["--header", &format!("Authorization: Bearer {EVERYTHING}")])
        .args(["--checks", &CHECKS.join(","), "--phases", "examples,coverage,fuzzing", "--warnings", "off"])
        .args(["--seed", SEED, "--max-examples", QUESTIONS, "--max-time", &seconds])
        .args(["--generation-database", "none", "--output-truncate", "false"])
        // It keeps what it finds beside itself.
        .current_dir(folder.path());
    let output = command.output().expect("schemathesis runs");
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}\n{said}", output.status);
    let tested = shown.lines().find_map(|line| line.trim().strip_prefix("Tested: ")?.parse::<usize>().ok());
    assert!(tested >= Some(3), "too little is tried: {shown}");
    assert!(!server.said().contains("panicked"), "{}", server.said());
}
