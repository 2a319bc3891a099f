//! What somebody may see of a lake: everything, or the campaigns that are theirs.
//!
//! It is looked at where rows are read, not where they are asked for: whatever a question says, rows of other campaigns
//! are never part of what it is answered from.

use std::collections::BTreeSet;

use datafusion::logical_expr::{Expr, col, lit};
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
}

impl Sees {
    /// Whether a campaign is among them.
    pub fn has(&self, campaign: &str) -> bool {
        self.has_row_of(Some(campaign))
    }

    /// Whether a row of a campaign, or of none, is.
    pub fn has_row_of(&self, campaign: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Campaigns(own) => campaign.is_some_and(|campaign| own.contains(campaign)),
        }
    }

    /// The same as a condition on rows; `None`: on none of them.
    pub(crate) fn condition(&self) -> Option<Expr> {
        let Self::Campaigns(own) = self else { return None };
        let own = own.iter().map(|campaign| lit(campaign.as_str())).collect();
        Some(col(column::CAMPAIGN_ID).in_list(own, false))
    }
}
