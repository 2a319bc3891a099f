//! Row-level access: a key sees everything, or the rows of its campaigns only.
//!
//! It is applied where rows are read, not where they are asked for: whatever a question says, rows of other campaigns
//! are never among those that it is answered from.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use datafusion::logical_expr::{Expr, col, lit};
use lake_schemas::Field;
use lake_schemas::table::column;
use serde::{Deserialize, Serialize};

/// Row-level access of whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowAccess {
    /// The rows of all campaigns.
    #[default]
    All,
    /// Rows of these campaigns, whose names must match exactly; rows without a campaign are not among them.
    Campaigns(BTreeSet<String>),
    /// Rows of these campaigns, and in addition who clicked: `ip`, `user_id` and `extra`.
    People(BTreeSet<String>),
}

/// Columns that tell of the person who clicked, or may: `extra` is whatever a page has sent.
static PERSONAL: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let personal = Field::ALL.into_iter().filter(|field| field.is_personal());
    personal.map(Field::column).collect()
});

/// Columns that would reveal how many clicks others have, by the distance between positions of one's own.
pub(crate) const POSITIONS: [&str; 3] = [column::KAFKA_OFFSET, column::OFFSET_FIRST, column::OFFSET_NEXT];

impl RowAccess {
    /// Returns whether a campaign may be seen.
    pub fn has(&self, campaign: &str) -> bool {
        self.has_row_of(Some(campaign))
    }

    /// Returns whether a row of this campaign, or of none, may be seen.
    pub fn has_row_of(&self, campaign: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Campaigns(own) | Self::People(own) => campaign.is_some_and(|campaign| own.contains(campaign)),
        }
    }

    /// Returns whether a column may be seen, in rows that may be seen.
    pub(crate) fn has_column(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::People(_) => !POSITIONS.contains(&name),
            Self::Campaigns(_) => !POSITIONS.contains(&name) && !PERSONAL.contains(&name),
        }
    }

    /// Returns the access as a condition on rows; `None`: every row may be seen.
    pub(crate) fn condition(&self) -> Option<Expr> {
        let (Self::Campaigns(own) | Self::People(own)) = self else { return None };
        let own = own.iter().map(|campaign| lit(campaign.as_str())).collect();
        Some(col(column::CAMPAIGN_ID).in_list(own, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_campaigns_sees_neither_positions_nor_people_unless_that_is_said() {
        let own = BTreeSet::from(["spring".to_owned()]);
        let (some, people) = (RowAccess::Campaigns(own.clone()), RowAccess::People(own));
        for (name, by_some, by_people) in [
            (column::AD_ID, true, true),
            (column::IP, false, true),
            (column::USER_ID, false, true),
            (column::EXTRA, false, true),
            (column::KAFKA_OFFSET, false, false),
        ] {
            let found = (RowAccess::All.has_column(name), some.has_column(name), people.has_column(name));
            assert_eq!(found, (true, by_some, by_people), "{name}");
        }
    }
}
