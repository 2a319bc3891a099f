//! The `clicklake` binary: parses the command line and calls the libraries, nothing else.

mod arguments;
mod commands;
mod drawing;
mod logging;
mod memory;
mod metrics;
mod progress;
mod report;
mod signals;

use std::process::ExitCode;

use crate::arguments::Command;

fn main() -> ExitCode {
    let arguments = match arguments::environment::parse() {
        Ok(arguments) => arguments,
        Err(error) => return commands::fail_usage(&error),
    };
    logging::start(&arguments.common, &arguments.command);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Command::SqlWorker(command) = &arguments.command
        && let Err(error) = commands::sql_worker::bound(command, &mut runtime)
    {
        return commands::fail(&error);
    }
    let runtime = match runtime.enable_all().thread_stack_size(memory::STACK_BYTES).build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::fail(&anyhow::Error::new(error).context("starting")),
    };
    // Commands that only ask need no clean stop: a signal ends them at once.
    let stop = || signals::stop_on_signal(&runtime);
    let done = runtime.block_on(async {
        let lake = &arguments.common.lake;
        match arguments.command {
            Command::Up(command) => commands::up::run(lake, command, stop()).await,
            Command::Generate(command) => commands::generate::run(command, stop()).await,
            Command::Ingest(command) => commands::ingest::run(lake, command, stop()).await,
            Command::Aggregate(command) => commands::aggregate::run(lake, command, stop()).await,
            Command::Backfill(command) => commands::backfill::run(lake, command, stop()).await,
            Command::Promote(command) => commands::promote::run(lake, command, stop()).await,
            Command::Live(command) => commands::live::run(lake, command).await,
            Command::Retire(command) => commands::retire::run(lake, command).await,
            Command::Upgrade(command) => commands::upgrade::run(lake, command).await,
            Command::Compact(command) => commands::compact::run(lake, command, stop()).await,
            Command::Pin(command) => commands::pins::pin(lake, command).await,
            Command::Unpin(command) => commands::pins::unpin(lake, command).await,
            Command::Pins(command) => commands::pins::list(lake, command).await,
            Command::Verify(command) => return commands::verify::run(lake, command).await,
            Command::Explain(command) => commands::explain::run(lake, command).await,
            Command::Total(command) => commands::total::run(lake, command).await,
            Command::Series(command) => commands::series::run(lake, command).await,
            Command::Top(command) => commands::top::run(lake, command).await,
            Command::Status(command) => commands::status::run(lake, command).await,
            Command::Lag(command) => commands::lag::run(lake, command).await,
            Command::History(command) => commands::history::run(lake, command).await,
            Command::Sql(command) => commands::sql::run(lake, command).await,
            Command::Serve(command) => commands::serve::run(&arguments.common, command, stop()).await,
            Command::SqlWorker(command) => commands::sql_worker::run(lake, command, stop()).await,
            Command::Key(command) => commands::key::run(&command),
            Command::Completions(command) => commands::manual::completions(&command),
            Command::Man(command) => commands::manual::man(&command),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    // Any thread that is still blocked has nothing more to do.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => commands::fail(&error),
    }
}
