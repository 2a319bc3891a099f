//! What somebody may see of a lake: everything, or the campaigns that are theirs.
//!
//! It is looked at where rows are read, not where they are asked for: whatever a question says, rows of other campaigns
//! are never part of what it is answered from.

use std::collections::BTreeSet;

/// Whose rows somebody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        match self {
            Self::All => true,
            Self::Campaigns(own) => own.contains(campaign),
        }
    }
}
