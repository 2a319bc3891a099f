//! Who counts a table of minutes live: `clicks_minute`, or a staging table that goes on behind its backfill.
//!
//! The table itself says it, in the property [`PROPERTY_LIVE`], so that no two programs count one table because of
//! what somebody wrote on two command lines. `clicklake live` writes it. It decides who writes the table, and nothing
//! of what is counted.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::code::Code;
use crate::error::{Invalid, Result};
use crate::table::Table;

/// Property of a table of minutes that says who counts it live.
pub const PROPERTY_LIVE: &str = "clicklake.live";

/// Value of the property where nobody counts the table live.
const NOBODY: &str = "no";

/// A program that counts tables live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedBy {
    /// `clicklake run`, which writes the raw rows and the counts in one process.
    Run,
    /// `clicklake aggregate`, which counts beside whoever writes the raw rows.
    Aggregate,
}

impl CountedBy {
    /// All programs that count tables live.
    pub const ALL: [Self; 2] = [Self::Run, Self::Aggregate];

    /// Returns the name of the program, as the property and the command line have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Aggregate => "aggregate",
        }
    }
}

impl fmt::Display for CountedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CountedBy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|by| by.as_str() == name);
        known.ok_or_else(|| format!("expected {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}

/// Whether a table of minutes is counted live, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// One program counts it, and the others leave it alone.
    By(CountedBy),
    /// Any of the programs may count it, which `clicks_minute` means as long as it says nothing.
    Either,
    /// Nobody counts it.
    No,
}

impl Live {
    /// Reads who counts a table of minutes live. Where the table says nothing, anyone may count `clicks_minute`, and
    /// nobody a staging table.
    pub fn recorded(table: Table, properties: &HashMap<String, String>) -> Result<Self> {
        match properties.get(PROPERTY_LIVE) {
            Some(value) => Self::of_property(table, value),
            None if table == Table::ClicksMinute => Ok(Self::Either),
            None => Ok(Self::No),
        }
    }

    /// Reads the value of the property. A value that this program does not know is refused by its name: a later
    /// program may count the table.
    pub fn of_property(table: Table, value: &str) -> Result<Self> {
        if value == NOBODY {
            return Ok(Self::No);
        }
        value.parse().map(Self::By).map_err(|_| {
            Invalid(Code::NeedUnknown.because(format!(
                "{table}: its property {PROPERTY_LIVE} is {value:?}, which this clicklake does not know; upgrade \
                 clicklake, or, if another program set it, ALTER TABLE {table} UNSET TBLPROPERTIES ('{PROPERTY_LIVE}')"
            )))
        })
    }

    /// Returns the value of the property; `None` if only a table without the property says so.
    pub const fn to_property(self) -> Option<&'static str> {
        match self {
            Self::By(by) => Some(by.as_str()),
            Self::Either => None,
            Self::No => Some(NOBODY),
        }
    }

    /// Returns whether a program is to count the table.
    pub fn is_of(self, by: CountedBy) -> bool {
        match self {
            Self::By(one) => one == by,
            Self::Either => true,
            Self::No => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging() -> Table {
        Table::Staging("again".parse().expect("a name"))
    }

    #[test]
    fn what_a_table_says_is_read_as_it_was_written() {
        for live in [Live::By(CountedBy::Run), Live::By(CountedBy::Aggregate), Live::No] {
            let value = live.to_property().expect("a table can say so");
            let properties = HashMap::from([(PROPERTY_LIVE.to_owned(), value.to_owned())]);
            for table in [Table::ClicksMinute, staging()] {
                assert_eq!(Live::recorded(table, &properties), Ok(live));
            }
        }
        assert_eq!(Live::Either.to_property(), None);
    }

    #[test]
    fn of_tables_that_say_nothing_the_minutes_may_be_counted_by_anyone_and_staging_tables_by_nobody() {
        let nothing = HashMap::new();
        let minutes = Live::recorded(Table::ClicksMinute, &nothing).expect("nothing is no fault");
        let staging = Live::recorded(staging(), &nothing).expect("nothing is no fault");
        assert!(CountedBy::ALL.into_iter().all(|by| minutes.is_of(by) && !staging.is_of(by)));
        let of_run = Live::By(CountedBy::Run);
        assert!(of_run.is_of(CountedBy::Run) && !of_run.is_of(CountedBy::Aggregate));
        assert!(CountedBy::ALL.into_iter().all(|by| !Live::No.is_of(by)));
    }

    #[test]
    fn a_value_that_is_not_known_is_refused_by_its_name() {
        for value in ["", "yes", "Run", "run ", "either", "run,aggregate"] {
            let Invalid(refusal) = Live::of_property(staging(), value).expect_err(value);
            assert_eq!(refusal.code, Code::NeedUnknown, "{refusal}");
            let named = format!("again: its property clicklake.live is {value:?}, ");
            assert!(refusal.why.starts_with(&named) && refusal.why.contains("upgrade clicklake"), "{refusal}");
        }
    }
}
