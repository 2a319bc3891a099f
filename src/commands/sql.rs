//! `clicklake sql`: one statement, one table of results.

use lake_schemas::Lake;

use crate::arguments::Sql;

pub async fn run(lake: &str, command: Sql) -> anyhow::Result<()> {
    let batches = query::run(&Lake::at(lake)?, &command.statement).await?;
    print(&arrow::util::pretty::pretty_format_batches(&batches)?.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the answer")]
fn print(answer: &str) {
    println!("{answer}");
}
