//! Laws of the loop that drives every job: the real loop, over real tables, in simulated time.

mod paced;
mod restarted;
mod run_twice;
mod stopped;
mod taken_back;
mod taken_out;

use std::sync::Arc;

use lake_schemas::minute::Parameters;

use crate::simulation::{Computation, Group, Log, ScriptedSource};

/// Returns the computation of minute counts.
fn minutes() -> Computation {
    Computation::Minutes(Parameters::default())
}

/// Returns a source of the whole log for one process, and its group.
fn all_of(log: &Arc<Log>) -> (ScriptedSource, Arc<Group>) {
    let group = Arc::new(Group::default());
    (0..log.partitions.len() as i32).for_each(|partition| group.give(partition, 0));
    (ScriptedSource::new(Arc::clone(log), Arc::clone(&group), 0, 7), group)
}
