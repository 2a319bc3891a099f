//! What somebody may see of a lake: everything, or the campaigns that are theirs.
//!
//! It is looked at where rows are read, not where they are asked for: whatever a question says, rows of other campaigns
//! are never part of what it is answered from.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use datafusion::logical_expr::{Expr, col, lit};
use lake_schemas::Field;
use lake_schemas::table::column;
use serde::{Deserialize, Serialize};

/// Whose rows somebody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sees {
    /// Everyone's.
    #[default]
    All,
    /// Those of these campaigns, whose names are compared to the letter; rows of no campaign are not among them.
    Campaigns(BTreeSet<String>),
    /// The same, and who the people are that clicked: `ip`, `user_id` and `extra`.
    People(BTreeSet<String>),
}

/// Columns that tell of the person who clicked, or may: `extra` is whatever a page has sent.
static PERSONAL: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let personal = Field::ALL.into_iter().filter(|field| field.is_personal());
    personal.map(Field::column).collect()
});

/// Columns that tell how many clicks others have, by how far apart the positions of two of one's own are.
pub(crate) const POSITIONS: [&str; 3] = [column::KAFKA_OFFSET, column::OFFSET_FIRST, column::OFFSET_NEXT];

impl Sees {
    /// Whether a campaign is among them.
    pub fn has(&self, campaign: &str) -> bool {
        self.has_row_of(Some(campaign))
    }

    /// Whether a row of a campaign, or of none, is.
    pub fn has_row_of(&self, campaign: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Campaigns(own) | Self::People(own) => campaign.is_some_and(|campaign| own.contains(campaign)),
        }
    }

    /// Whether a column of rows that are seen is seen too.
    pub(crate) fn has_column(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::People(_) => !POSITIONS.contains(&name),
            Self::Campaigns(_) => !POSITIONS.contains(&name) && !PERSONAL.contains(&name),
        }
    }

    /// The same as a condition on rows; `None`: on none of them.
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
        let (some, people) = (Sees::Campaigns(own.clone()), Sees::People(own));
        for (name, by_some, by_people) in [
            (column::AD_ID, true, true),
            (column::IP, false, true),
            (column::USER_ID, false, true),
            (column::EXTRA, false, true),
            (column::KAFKA_OFFSET, false, false),
        ] {
            let found = (Sees::All.has_column(name), some.has_column(name), people.has_column(name));
            assert_eq!(found, (true, by_some, by_people), "{name}");
        }
    }
}
