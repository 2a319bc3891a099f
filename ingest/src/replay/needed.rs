//! Selects the files of a partition that matter to a bounded part of its history, by their statistics alone.
//!
//! Event time selects windows to output, never clicks to read. A file may be left out only if it cannot change the
//! result:
//!
//! - **before**: a file whose events are too old to be a copy's original, or to move a watermark that matters;
//! - **after**: a file without an event for the wanted windows, where the watermark has passed them and
//!   their lateness. An event that comes for them from there on is late, or filtered, whatever else there is.
//!
//! Offsets decide which file is before which. Files may overlap in offsets, so a file counts as before another one only
//! if it ends where that one begins, or earlier.

use lake_schemas::minute::Parameters;
use lake_schemas::{EventTime, History, TopicPartition};
use lake_store::RawFile;

/// Part of history that is asked for, with the parameters that decide what it needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Bounded part of history to replay.
    pub history: History,
    /// Parameters that decide how an event counts.
    pub parameters: Parameters,
}

impl Needs {
    /// Keeps the files of a partition that matter. All of them lie below its end, at least in part.
    pub(super) fn select(&self, partition: &TopicPartition, mut files: Vec<RawFile>) -> Vec<RawFile> {
        let (windows, since) = (&self.history.windows, self.history.since(partition));
        let Parameters { out_of_orderness_ms, allowed_lateness_ms, .. } = self.parameters;
        let reach_ms = out_of_orderness_ms + self.parameters.memory_ms();
        // The watermark at the first offset that counts, and the oldest time that the job still remembers there.
        let passed_ms = files.iter().filter(|file| file.offsets.next <= since).filter_map(largest_ms).max();
        let remembered_ms = passed_ms.map(|passed_ms| passed_ms - reach_ms);
        let matters_from_ms = windows.from().map(|from| from.millis() - reach_ms);
        files.retain(|file| {
            let is_older = |bound_ms: Option<i64>| largest_ms(file).zip(bound_ms).is_some_and(|(ms, bound)| ms < bound);
            !is_older(matters_from_ms) && (file.offsets.next > since || !is_older(remembered_ms))
        });
        let Some(to_ms) = windows.to().map(EventTime::millis) else { return files };
        let over_ms = to_ms + allowed_lateness_ms + out_of_orderness_ms;
        // First offset by which the watermark has passed all wanted windows.
        let passes = files.iter().filter(|file| largest_ms(file).is_some_and(|largest_ms| largest_ms >= over_ms));
        let Some(passed) = passes.map(|file| file.offsets.next).min() else { return files };
        files.retain(|file| {
            let may_hold = file.event_times.is_none_or(|(smallest, _)| smallest.millis() < to_ms);
            file.offsets.first < passed || may_hold
        });
        files
    }
}

fn largest_ms(file: &RawFile) -> Option<i64> {
    file.event_times.map(|(_, largest)| largest.millis())
}
