//! Collects the failures of a round, so that the rest of it goes on.

use std::error::Error;

use lake_store::LakeError;
use tracing::{info, warn};

use crate::error::CompactError;

/// Failures of a round. The round returns the worst one, which its caller reports; the others are logged here.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    worst: Option<CompactError>,
    /// Error of a table that was redefined since the pass began: the table must be opened again.
    altered: Option<CompactError>,
}

/// Severity of a failure, the least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// May have passed by the next round.
    Passing,
    /// Needs somebody to act.
    Lasting,
    /// Another process does the same work.
    Superfluous,
}

impl Rank {
    fn of(error: &CompactError) -> Self {
        match error {
            CompactError::Fenced(_) => Self::Superfluous,
            error if error.is_retryable() => Self::Passing,
            _ => Self::Lasting,
        }
    }
}

impl Failures {
    /// Records an error. A redefined table is no failure yet: the round makes another pass.
    pub fn add(&mut self, error: CompactError) {
        match error {
            CompactError::Lake(LakeError::Altered(why)) => {
                info!(why, "opening the table again");
                self.altered = Some(CompactError::Lake(LakeError::Altered(why)));
            }
            error => self.take(error),
        }
    }

    fn take(&mut self, error: CompactError) {
        let is_worse = self.worst.as_ref().is_none_or(|worst| Rank::of(worst) < Rank::of(&error));
        let other = if is_worse { self.worst.replace(error) } else { Some(error) };
        if let Some(other) = other {
            warn!(error = &other as &dyn Error, "left out; the rest of the round goes on");
        }
    }

    /// Returns whether a table was redefined since [`Failures::begin_again`].
    pub fn has_altered(&self) -> bool {
        self.altered.is_some()
    }

    /// Begins another pass: forgets the tables that were redefined.
    pub fn begin_again(&mut self) {
        self.altered = None;
    }

    /// Returns the worst failure; of several that are equally bad, the first.
    pub fn worst(mut self) -> Result<(), CompactError> {
        if let Some(altered) = self.altered.take() {
            self.take(altered);
        }
        self.worst.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::{Code, Table};

    use super::*;

    #[test]
    fn a_round_ends_with_the_worst_of_its_failures_and_the_first_of_these() {
        let passing = |name: &str| CompactError::Lake(LakeError::store(name, "it is down"));
        let lasting = || {
            CompactError::Lake(LakeError::Refused(
                Code::ForeignFeature.because("a feature that is not known".to_owned()),
            ))
        };
        let fenced = || CompactError::Fenced(Table::ClicksHourly);
        let worst = |errors: Vec<CompactError>| {
            let mut failures = Failures::default();
            errors.into_iter().for_each(|error| failures.add(error));
            failures.worst().expect_err("there are some").to_string()
        };
        assert_eq!(worst(vec![passing("one"), passing("two")]), "one");
        assert_eq!(worst(vec![passing("one"), lasting(), passing("two")]), lasting().to_string());
        assert_eq!(worst(vec![lasting(), fenced(), passing("one")]), fenced().to_string());
        assert!(Failures::default().worst().is_ok());
    }

    #[test]
    fn a_table_that_was_altered_is_a_failure_only_if_it_is_to_the_end() {
        let mut failures = Failures::default();
        failures.add(CompactError::Lake(LakeError::Altered("clicks: version 7".to_owned())));
        assert!(failures.has_altered());
        failures.begin_again();
        assert!(!failures.has_altered() && failures.worst().is_ok());
        let mut failures = Failures::default();
        failures.add(CompactError::Lake(LakeError::Altered("clicks: version 7".to_owned())));
        assert!(failures.worst().is_err());
    }
}
