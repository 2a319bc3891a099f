//! `clicklake pin`, `unpin`, `pins`: keep versions of tables however old they get, and list them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use chrono::{DateTime, SecondsFormat, Utc};
use lake_schemas::table::timestamp;
use lake_schemas::{Code, counted};
use lake_store::pins::{self, Damaged, Pin, PinName, Pinned, Pins};
use lake_store::{Lake, LakeError};

use super::now;
use crate::arguments;
use crate::drawing::with_ages;
use crate::report;

pub async fn pin(lake: &str, command: arguments::Pin) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let expires = match command.expires {
        Some(after) => Some(now() + chrono::Duration::from_std(after)?),
        None => None,
    };
    let (table, version) = (command.table, command.version);
    let pin = Pin { name: command.name, table: table.name().to_owned(), version, expires };
    match pins::pin(&lake, table, &pin).await? {
        Pinned::Done => report::print_text(&format!("version {version} of {table} is kept {}", until(expires)))?,
        Pinned::Taken(other) => {
            let name = other.name.as_str();
            let why = format!(
                "the pin {name} is there already, for version {} of {}; unpin it first, or give another name",
                other.version, other.table
            );
            return Err(LakeError::Refused(Code::PinTaken.because(why)).into());
        }
    }
    Ok(())
}

pub async fn unpin(lake: &str, command: arguments::Unpin) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let name = command.name.as_str();
    if !pins::unpin(&lake, command.name).await? {
        return Err(LakeError::Refused(
            Code::NothingThere.because(format!("there is no pin {name}; see `clicklake pins`")),
        )
        .into());
    }
    report::print_text(&format!("the pin {name} is removed; what is too old is deleted at the next clean-up"))
}

pub async fn list(lake: &str, command: arguments::Pins) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let Pins { pins, damaged } = pins::all(&lake).await?;
    let expires = pins.iter().map(|pin| pin.expires.map(|time| time.timestamp_micros()));
    let expires = expires.chain(damaged.iter().map(|_| None));
    let expires = expires.collect::<TimestampMicrosecondArray>().with_data_type(timestamp());
    let now = now();
    let names = pins.iter().map(|pin| &pin.name).chain(damaged.iter().map(|pin| &pin.name));
    let tables = pins.iter().map(|pin| Some(&pin.table)).chain(damaged.iter().map(|pin| pin.table.as_ref()));
    let versions = pins.iter().map(|pin| Some(pin.version)).chain(damaged.iter().map(|_| None));
    let state = |pin: &Pin| if pin.holds(now) { "kept" } else { "expired" };
    let states = pins.iter().map(state).chain(damaged.iter().map(|_| "damaged"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from_iter_values(names.map(PinName::as_str)))),
        ("table", Arc::new(tables.collect::<StringArray>())),
        ("version", Arc::new(versions.collect::<UInt64Array>())),
        ("expires", Arc::new(expires)),
        ("state", Arc::new(StringArray::from_iter_values(states))),
    ];
    let rows = RecordBatch::try_from_iter(columns)?;
    report::show(&[rows], &command.report, &lake, |rows| with_ages(rows, "expires", now))?;
    all_can_be_read(&damaged)
}

/// Fails if pins are damaged, after everything else has been printed.
pub fn all_can_be_read(damaged: &[Damaged]) -> anyhow::Result<()> {
    match damaged {
        [] => Ok(()),
        [one] => Err(one.refused().into()),
        [first, others @ ..] => {
            let why = format!("{}; damaged, too: {}", first.refused(), counted(others.len(), "more pin"));
            Err(LakeError::Refused(Code::PinDamaged.because(why)).into())
        }
    }
}

fn until(expires: Option<DateTime<Utc>>) -> String {
    match expires {
        Some(time) => format!("until {}", time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None => "until it is unpinned".to_owned(),
    }
}
