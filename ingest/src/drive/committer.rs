//! The tables of a job, and the one operation that has them at a time: the commit of an epoch, or a look at them.
//!
//! ```text
//!            ┌── commit ──> Epoch ──┐
//!     Idle ──┤                      ├── landed ──> Idle
//!            └── look ────> Look ───┘
//! ```
//!
//! The operation is a task of its own, so that signals keep coming meanwhile. It owns the tables until it has landed:
//! nobody can decide by tables that are about to change, and nobody can begin a second one. Dropping the committer
//! aborts it.

use lake_schemas::job::Step;
use lake_store::Result;
use lake_store::commit::{Checkpoint, TableLog};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::epoch::{Epoch, EpochOutcome};
use crate::backoff::unless_stopped;
use crate::task::unwind;

/// The tables of a job, or the operation in flight that has them.
pub(super) enum Committer {
    /// Nothing is in flight: the tables are here.
    Idle(Vec<TableLog>),
    /// An epoch is on its way into the tables; `give_up` tells it to stop trying.
    Epoch { task: AbortOnDropHandle<(Vec<TableLog>, EpochOutcome)>, give_up: CancellationToken },
    /// The tables are being refreshed; `end` tells that nobody waits for it any longer.
    Look { task: AbortOnDropHandle<(Vec<TableLog>, Looked)>, end: CancellationToken },
}

/// Outcome of a look at the tables; `None` if it was ended before it had one.
type Looked = Option<Result<()>>;

/// Outcome of an operation that has landed: the tables are back.
pub(super) enum Landed {
    /// Outcome of an epoch, and the log checkpoints that its commits have made due.
    Epoch(EpochOutcome, Vec<Checkpoint>),
    /// Outcome of a look.
    Look(Looked),
}

impl Committer {
    /// Makes an idle committer of a job's tables.
    pub fn new(logs: Vec<TableLog>) -> Self {
        Self::Idle(logs)
    }

    /// Returns whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle(_))
    }

    /// Returns the way to begin an operation; `None` while one is in flight.
    pub fn idle(&mut self) -> Option<Idle<'_>> {
        self.is_idle().then_some(Idle(self))
    }

    /// Returns the tables, as they are known; `None` while an operation has them.
    pub fn logs(&self) -> Option<&[TableLog]> {
        if let Self::Idle(logs) = self { Some(logs) } else { None }
    }

    /// Returns the tables, to be followed and committed to by the caller; `None` while an operation has them.
    pub fn logs_mut(&mut self) -> Option<&mut [TableLog]> {
        if let Self::Idle(logs) = self { Some(logs) } else { None }
    }

    /// Tells the epoch in flight, if there is one, to stop trying. It comes back at once.
    pub fn give_up_epoch(&self) {
        if let Self::Epoch { give_up, .. } = self {
            give_up.cancel();
        }
    }

    /// Ends the look in flight, if there is one. It comes back at once.
    pub fn end_look(&self) {
        if let Self::Look { end, .. } = self {
            end.cancel();
        }
    }

    /// Waits for the operation in flight, takes the tables back, and returns its outcome; `None` if nothing is in
    /// flight. Safe to cancel: a wait that is dropped leaves the operation on its way, and its outcome to the next
    /// wait. A panic of the operation goes on in the caller.
    pub async fn landed(&mut self) -> Option<Landed> {
        let (logs, landed) = match self {
            Self::Idle(_) => return None,
            Self::Epoch { task, .. } => {
                let (mut logs, settled) = unwind(task.await);
                logs.iter_mut().for_each(TableLog::warn_of_foreign);
                let checkpoints = logs.iter_mut().filter_map(TableLog::take_checkpoint_owed).collect();
                (logs, Landed::Epoch(settled, checkpoints))
            }
            Self::Look { task, .. } => {
                let (logs, looked) = unwind(task.await);
                (logs, Landed::Look(looked))
            }
        };
        // Nothing is awaited between the end of the task and here: the tables cannot get lost with a dropped wait.
        *self = Self::Idle(logs);
        Some(landed)
    }
}

/// A committer that is idle, and stays so until an operation begins.
pub(super) struct Idle<'a>(&'a mut Committer);

impl Idle<'_> {
    /// Sends the steps of an epoch on their way into the tables.
    pub fn commit(self, job: &'static str, steps: Vec<Step>) {
        self.begin(|logs| {
            let give_up = CancellationToken::new();
            let epoch = Epoch { job, steps, give_up: give_up.clone() };
            Committer::Epoch { task: AbortOnDropHandle::new(tokio::spawn(epoch.settle(logs))), give_up }
        });
    }

    /// Begins a look at the tables.
    pub fn look(self) {
        self.begin(|mut logs| {
            let end = CancellationToken::new();
            let ended = end.clone();
            let task = tokio::spawn(async move {
                let looked = unless_stopped(refresh(&mut logs), &ended).await;
                (logs, looked)
            });
            Committer::Look { task: AbortOnDropHandle::new(task), end }
        });
    }

    fn begin(self, operation: impl FnOnce(Vec<TableLog>) -> Committer) {
        let Self(committer) = self;
        // Always so: only `Committer::idle` makes a value of this type, and it is borrowed since.
        if let Committer::Idle(logs) = committer {
            *committer = operation(std::mem::take(logs));
        }
    }
}

/// Follows the logs of the tables to their ends.
async fn refresh(logs: &mut [TableLog]) -> Result<()> {
    for log in logs {
        log.refresh().await?;
        log.warn_of_foreign();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use lake_schemas::{Stand, Table, TopicPartition};
    use lake_store::Lake;
    use object_store::memory::InMemory;
    use tokio::task::yield_now;

    use super::*;

    const TABLE: Table = Table::Clicks;

    fn partition() -> TopicPartition {
        TopicPartition::new("clicks", 0)
    }

    fn lake() -> Lake {
        Lake::on(Arc::new(InMemory::new()), "memory:///lake".parse().expect("an address"))
    }

    async fn committer(lake: &Lake) -> Committer {
        Committer::new(TableLog::open_all(lake, &[TABLE]).await.expect("a table in memory"))
    }

    /// Sends an epoch on its way that moves the partition to offset 2.
    fn commit(committer: &mut Committer) {
        let to = Stand { cut: Some(2), read: Some(2), ..Stand::default() };
        let step = Step { table: TABLE, partition: partition(), rows: Vec::new(), from: Stand::default(), to };
        committer.idle().expect("nothing is in flight").commit("ingest", vec![step]);
    }

    /// Returns the cut of the partition, as a table that is here knows it.
    fn cut(committer: &Committer) -> Option<i64> {
        committer.logs().expect("nothing is in flight")[0].stand(&partition()).cut
    }

    #[tokio::test]
    async fn tables_are_lent_to_one_operation_at_a_time_and_come_back() {
        let mut committer = committer(&lake()).await;
        assert!(committer.landed().await.is_none() && committer.is_idle());
        commit(&mut committer);
        assert!(committer.idle().is_none() && committer.logs().is_none() && committer.logs_mut().is_none());
        assert!(matches!(committer.landed().await, Some(Landed::Epoch(EpochOutcome::Committed(_), _))));
        assert_eq!(cut(&committer), Some(2));
        committer.idle().expect("it has landed").look();
        assert!(committer.idle().is_none() && committer.logs().is_none());
        assert!(matches!(committer.landed().await, Some(Landed::Look(Some(Ok(()))))));
        assert!(committer.landed().await.is_none() && committer.is_idle());
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_nothing() {
        let mut committer = committer(&lake()).await;
        commit(&mut committer);
        assert!(committer.landed().now_or_never().is_none(), "its task has not run yet");
        assert!(matches!(committer.landed().await, Some(Landed::Epoch(EpochOutcome::Committed(_), _))));
        assert_eq!(cut(&committer), Some(2));
    }

    #[tokio::test]
    async fn an_epoch_can_be_given_up_and_a_look_ended_but_not_the_other_way_round() {
        let mut committer = committer(&lake()).await;
        commit(&mut committer);
        committer.give_up_epoch();
        assert!(matches!(committer.landed().await, Some(Landed::Epoch(EpochOutcome::Abandoned { .. }, _))));
        committer.idle().expect("it has landed").look();
        committer.end_look();
        assert!(matches!(committer.landed().await, Some(Landed::Look(None))));
        committer.idle().expect("it has landed").look();
        committer.give_up_epoch();
        assert!(matches!(committer.landed().await, Some(Landed::Look(Some(Ok(()))))));
        commit(&mut committer);
        committer.end_look();
        assert!(matches!(committer.landed().await, Some(Landed::Epoch(EpochOutcome::Committed(_), _))));
    }

    #[tokio::test]
    async fn dropping_it_aborts_what_is_in_flight() {
        let lake = lake();
        let mut dropped = committer(&lake).await;
        commit(&mut dropped);
        let Committer::Epoch { task, .. } = &dropped else { panic!("an epoch is in flight") };
        let task = task.abort_handle();
        drop(dropped);
        while !task.is_finished() {
            yield_now().await;
        }
        assert_eq!(cut(&committer(&lake).await), None, "nobody was left who wanted it committed");
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_of_the_operation_goes_on_in_whoever_waits() {
        async fn fails() -> (Vec<TableLog>, Looked) {
            panic!("a bug")
        }
        let task = AbortOnDropHandle::new(tokio::spawn(fails()));
        Committer::Look { task, end: CancellationToken::new() }.landed().await;
    }
}
