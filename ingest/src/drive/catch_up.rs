//! Progress of catching up: the assigned partitions that are not read to their ends yet.

use std::collections::BTreeSet;

use lake_schemas::TopicPartition;

/// State of catching up with the ends that the logs of the assigned partitions had when they were assigned.
#[derive(Debug, Default)]
pub(super) enum CatchUp {
    /// No assignment has come yet, so it is not known whether everything is read.
    #[default]
    Unassigned,
    /// An assignment has come, even one of no partitions. These partitions of it are not read to their ends yet.
    Behind(BTreeSet<TopicPartition>),
}

impl CatchUp {
    /// Records that partitions begin: all of them are behind.
    pub fn begin(&mut self, partitions: &[TopicPartition]) {
        let partitions = partitions.iter().cloned();
        match self {
            Self::Unassigned => *self = Self::Behind(partitions.collect()),
            Self::Behind(behind) => behind.extend(partitions),
        }
    }

    /// Records that a partition has been read to its end, or is not assigned to this process any more.
    pub fn leave_out(&mut self, partition: &TopicPartition) {
        if let Self::Behind(behind) = self {
            behind.remove(partition);
        }
    }

    /// Returns whether all assigned partitions have been read to their ends.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Behind(behind) if behind.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_caught_up_with_all_that_it_has_but_not_before_it_has_anything() {
        let [one, other] = [0, 1].map(|number| TopicPartition::new("clicks", number));
        let mut catch_up = CatchUp::default();
        assert!(!catch_up.is_done(), "nothing is assigned yet");
        catch_up.begin(&[one.clone(), other.clone()]);
        catch_up.leave_out(&one);
        assert!(!catch_up.is_done());
        catch_up.leave_out(&other);
        assert!(catch_up.is_done());
        catch_up.begin(std::slice::from_ref(&one));
        assert!(!catch_up.is_done(), "it begins again");
        let mut of_none = CatchUp::default();
        of_none.begin(&[]);
        assert!(of_none.is_done(), "the group has no partition for this process");
    }
}
