//! The chain: the steps that a job handed over, and the open part behind them; and where a version of the table fits.

use std::collections::{VecDeque, vec_deque};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::frame::{ChainKey, Frame};
use super::open::OpenPart;
use crate::minute::Parameters;
use crate::stand::Stand;

/// The counts that a job has of one partition beyond a table. Each step starts where the one before it leads to, and
/// the open part where the last one leads to. Whatever counts below [`Beyond::next`], and is not in the table where the
/// first step starts, is in exactly one step or in the open part.
#[derive(Clone, Debug)]
pub struct Chain {
    table_id: String,
    spec: String,
    /// Meaning of the spec.
    parameters: Parameters,
    pub(super) steps: VecDeque<ChainStep>,
    /// Stand where the open part begins.
    pub(super) at: Stand,
    pub(super) open: OpenPart,
    pub(super) next: i64,
}

/// A step that was handed over, whether or not it is committed.
#[derive(Clone, Debug)]
pub struct ChainStep {
    /// Stand that it starts from.
    pub from: Stand,
    /// Stand that it leads to.
    pub to: Stand,
    /// Rows of the step, in the columns of the table.
    pub rows: Arc<RecordBatch>,
    /// Whether it is known to be in the table.
    pub is_committed: bool,
}

/// Place of a version of the table in a chain.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// A step, or the open part, begins at the stand of the version.
    Here(Beyond<'a>),
    /// The version is ahead of the chain: frames are on their way, or somebody else commits.
    TableIsAhead,
    /// The version is behind where the chain begins, or beside it: a newer version may fit.
    TableIsBehind,
}

/// The counts that a version of the table lacks. Together with the version, they are all that counts below `next`.
#[derive(Clone, Debug)]
pub struct Beyond<'a> {
    /// Steps that the version lacks, in their order. Their windows may also be in the version, and in each other: rows
    /// of a window add up.
    pub steps: vec_deque::Iter<'a, ChainStep>,
    /// The open part, which every version lacks.
    pub open: &'a OpenPart,
    /// Offset behind the last event of the answer.
    pub next: i64,
}

impl Chain {
    /// Returns whether the chain goes on from this table, and counts by these parameters. If it does not, nothing of it
    /// may be added to the table, whatever the stands are.
    pub fn is_of(&self, table_id: &str, parameters: &Parameters) -> bool {
        self.table_id == table_id && self.parameters == *parameters
    }

    /// Returns the place of a version of the table that has this stand of the partition. Stands are compared whole: two
    /// that share the cut may differ in which windows below it are written.
    pub fn place(&self, stand: &Stand) -> Place<'_> {
        let step = self.steps.iter().position(|step| step.from == *stand);
        let first = step.or_else(|| (self.at == *stand).then_some(self.steps.len()));
        match first {
            Some(first) => Place::Here(Beyond { steps: self.steps.range(first..), open: &self.open, next: self.next }),
            None if self.at.is_behind(*stand) => Place::TableIsAhead,
            None => Place::TableIsBehind,
        }
    }

    /// Begins a chain, without steps. Refuses, with a predicate, what no job can have said.
    pub(super) fn begin(
        table_id: String,
        spec: String,
        at: Stand,
        next: i64,
        cells: &RecordBatch,
    ) -> Result<Self, &'static str> {
        let parameters = Parameters::parse(&spec).map_err(|_| "counts by a spec that this program does not know")?;
        let mut open = OpenPart::new(&parameters);
        open.take(cells)?;
        if at.cut > Some(next) {
            return Err("begins below the cut of its table");
        }
        Ok(Self { table_id, spec, parameters, steps: VecDeque::new(), at, open, next })
    }

    /// Moves on to an offset, with the cells that changed.
    pub(super) fn take(&mut self, next: i64, cells: &RecordBatch) -> Result<(), &'static str> {
        if next < self.next {
            return Err("goes back in the log");
        }
        self.open.take(cells)?;
        self.next = next;
        Ok(())
    }

    /// Adds a step, whose windows leave the open part.
    pub(super) fn hand_over(&mut self, from: Stand, to: Stand, rows: RecordBatch) -> Result<(), &'static str> {
        if from != self.at || !from.is_behind(to) {
            return Err("has a step that does not go on from the one before it");
        }
        if to.cut > Some(self.next) {
            return Err("has a step beyond what it has taken in");
        }
        self.open.leave(&rows)?;
        self.steps.push_back(ChainStep { from, to, rows: Arc::new(rows), is_committed: false });
        self.at = to;
        Ok(())
    }

    /// Notes that a step is in the table. A step that is not here was handed over before the chain began anew.
    pub(super) fn commit(&mut self, to: Stand) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.to == to) {
            step.is_committed = true;
        }
    }

    /// Forgets the committed steps up to the one that leads to a stand.
    pub(super) fn forget(&mut self, to: Stand) {
        let known = self.steps.iter().position(|step| step.to == to).map_or(0, |last| last + 1);
        let committed = self.steps.iter().take_while(|step| step.is_committed).count();
        self.steps.drain(..known.min(committed));
    }

    /// Returns the frames that make this chain of nothing.
    pub(super) fn frames(&self, key: &ChainKey) -> Vec<Frame> {
        let key = || key.clone();
        let at = self.steps.front().map_or(self.at, |step| step.from);
        let nothing = RecordBatch::new_empty(self.open.rows(0..0, None).schema());
        let (table_id, spec) = (self.table_id.clone(), self.spec.clone());
        let mut frames = vec![Frame::Begin { key: key(), table_id, spec, at, next: self.next, cells: nothing }];
        for step in &self.steps {
            let rows = step.rows.as_ref().clone();
            frames.push(Frame::Handed { key: key(), from: step.from, to: step.to, rows });
            frames.extend(step.is_committed.then(|| Frame::Committed { key: key(), to: step.to }));
        }
        let cells = self.open.rows(i64::MIN..i64::MAX, None);
        frames.push(Frame::Took { key: key(), next: self.next, cells });
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::cells;

    /// Makes a stand with this cut and this drained offset.
    fn at(cut: i64, drained: i64) -> Stand {
        Stand { cut: Some(cut), drained: Some(drained), ..Stand::default() }
    }

    fn nothing() -> RecordBatch {
        RecordBatch::new_empty(cells::schema(&Parameters::default()))
    }

    fn begun(at: Stand, next: i64) -> Result<Chain, &'static str> {
        Chain::begin("t".to_owned(), Parameters::default().to_json(), at, next, &nothing())
    }

    /// Makes a chain of three steps from 10, of which one is committed, with an open part up to 40.
    fn chain() -> Chain {
        let mut chain = begun(at(10, 0), 40).expect("a chain");
        for (from, to) in [(at(10, 0), at(20, 0)), (at(20, 0), at(20, 20)), (at(20, 20), at(30, 20))] {
            chain.hand_over(from, to, nothing()).expect("it goes on");
        }
        chain.commit(at(20, 0));
        chain
    }

    /// Returns how many steps a version with this stand lacks; `None` if none begins there.
    fn lacking(chain: &Chain, stand: Stand) -> Option<usize> {
        match chain.place(&stand) {
            Place::Here(beyond) => Some(beyond.steps.count()),
            Place::TableIsAhead | Place::TableIsBehind => None,
        }
    }

    #[test]
    fn a_version_lacks_what_begins_at_its_stand_and_all_behind_it() {
        let chain = chain();
        let stands = [at(10, 0), at(20, 0), at(20, 20), at(30, 20)];
        assert_eq!(stands.map(|stand| lacking(&chain, stand)), [Some(3), Some(2), Some(1), Some(0)]);
        let others = [
            at(20, 10),
            Stand { watermark_ms: Some(5), ..at(20, 0) },
            Stand { restore: Some(5), ..at(30, 20) },
            Stand::default(),
        ];
        assert_eq!(others.map(|stand| lacking(&chain, stand)), [None; 4], "the cut alone is not enough");
    }

    #[test]
    fn a_version_that_fits_nowhere_is_ahead_of_the_chain_or_behind_its_end() {
        let chain = chain();
        let is_ahead = |stand| matches!(chain.place(&stand), Place::TableIsAhead);
        assert!(is_ahead(at(31, 20)) && is_ahead(at(30, 30)));
        assert!(!is_ahead(at(9, 0)) && !is_ahead(at(25, 0)) && !is_ahead(at(30, 10)) && !is_ahead(Stand::default()));
    }

    #[test]
    fn a_chain_is_of_one_table_and_of_one_spec() {
        let (chain, ours) = (chain(), Parameters::default());
        let other = Parameters { out_of_orderness_ms: 1, ..ours.clone() };
        assert!(chain.is_of("t", &ours) && !chain.is_of("u", &ours) && !chain.is_of("t", &other));
    }

    #[test]
    fn what_is_committed_is_forgotten_from_the_front_and_nothing_else() {
        let mut chain = chain();
        chain.forget(at(7, 7));
        assert_eq!(chain.steps.len(), 3, "no such step is known");
        chain.forget(at(30, 20));
        assert_eq!(lacking(&chain, at(10, 0)), None);
        assert_eq!(lacking(&chain, at(20, 0)), Some(2), "these are not committed");
    }

    #[test]
    fn what_does_not_go_on_is_refused() {
        let mut chain = chain();
        assert!(chain.hand_over(at(20, 20), at(35, 20), nothing()).is_err(), "it starts elsewhere");
        assert!(chain.hand_over(at(30, 20), at(30, 20), nothing()).is_err(), "it leads nowhere");
        assert!(chain.hand_over(at(30, 20), at(41, 20), nothing()).is_err(), "it has more than was taken in");
        assert!(chain.take(39, &nothing()).is_err());
        assert!(begun(at(10, 0), 9).is_err());
        assert!(Chain::begin("t".to_owned(), "{}{}".to_owned(), at(0, 0), 0, &nothing()).is_err());
    }
}
