//! `clicklake verify`: the recount that proves the counts.

use std::process::ExitCode;

use lake_schemas::Lake;
use query::verify::{Windows, conservation, verify};

use crate::arguments::Verify;
use crate::{memory, report};

/// The table does not say what the raw clicks say.
const EXIT_DIFFERS: u8 = 1;

pub async fn run(lake: &str, command: Verify) -> anyhow::Result<ExitCode> {
    let lake = Lake::at(lake)?;
    let memory = memory::three_quarters();
    let (is_right, found) = if command.conservation {
        let found = conservation(&lake, memory).await?;
        (found.holds(), found.to_string())
    } else {
        let found = verify(&lake, Windows::between(command.from, command.to)?, memory).await?;
        (found.is_equal(), found.to_string())
    };
    report::print_text(found.trim_end());
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}
