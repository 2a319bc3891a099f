//! The feed: the chains of one process, as its frames say them.

use std::collections::BTreeMap;

use super::frame::{ChainKey, Frame, FrameSet};
use super::gap::Gap;
use super::steps::Chain;

/// One process as those who listen to it know it. The process has one of itself, too, from which it tells whoever
/// begins to listen.
#[derive(Clone, Debug)]
pub struct Feed {
    pub(super) incarnation: u128,
    /// Number of the set that follows.
    pub(super) next_number: u64,
    pub(super) chains: BTreeMap<ChainKey, Chain>,
}

impl Feed {
    /// Creates the feed of an incarnation that has said nothing yet.
    pub fn new(incarnation: u128) -> Self {
        Self { incarnation, next_number: 1, chains: BTreeMap::new() }
    }

    /// Creates the feed that a [state](Feed::state) describes. The sets with the numbers behind it follow.
    pub fn of_state(state: FrameSet) -> Result<Self, Gap> {
        let mut feed = Self { next_number: state.number, ..Self::new(state.incarnation) };
        feed.apply(state)?;
        Ok(feed)
    }

    /// Returns the chain of a table and a partition, if the process has one.
    pub fn chain(&self, key: &ChainKey) -> Option<&Chain> {
        self.chains.get(key)
    }

    /// Applies the set that follows. After a gap the feed has no chains, so that no answer rests on a part of a set; a
    /// listener drops it and connects anew.
    pub fn apply(&mut self, set: FrameSet) -> Result<(), Gap> {
        let applied = self.apply_all(set);
        if applied.is_err() {
            self.chains.clear();
        }
        applied
    }

    fn apply_all(&mut self, FrameSet { incarnation, number, frames }: FrameSet) -> Result<(), Gap> {
        if incarnation != self.incarnation {
            return Err(Gap::Incarnation);
        }
        if number != self.next_number {
            return Err(Gap::Number { expected: self.next_number, found: number });
        }
        for frame in frames {
            let key = frame.key().clone();
            self.apply_one(frame).map_err(|why| Gap::Frame { key, why })?;
        }
        self.next_number += 1;
        Ok(())
    }

    fn apply_one(&mut self, frame: Frame) -> Result<(), &'static str> {
        let frame = match frame {
            // A chain that begins has no steps of before: what the operator holds now may be in one of them.
            Frame::Begin { key, table_id, spec, at, next, cells } => {
                self.chains.insert(key, Chain::begin(table_id, spec, at, next, &cells)?);
                return Ok(());
            }
            // Whoever releases all that it may have need not know what it has.
            Frame::Release { key } => {
                self.chains.remove(&key);
                return Ok(());
            }
            frame => frame,
        };
        let chain = self.chains.get_mut(frame.key()).ok_or("goes on and has not begun")?;
        match frame {
            Frame::Took { next, cells, .. } => chain.take(next, &cells),
            Frame::Handed { from, to, rows, .. } => chain.hand_over(from, to, rows),
            Frame::Committed { to, .. } => {
                chain.commit(to);
                Ok(())
            }
            Frame::Forget { to, .. } => {
                chain.forget(to);
                Ok(())
            }
            Frame::Begin { .. } | Frame::Release { .. } => Ok(()),
        }
    }

    /// Returns all chains as one set, which whoever begins to listen gets first. It has the number of the last set that
    /// is in it.
    pub fn state(&self) -> FrameSet {
        let frames = self.chains.iter().flat_map(|(key, chain)| chain.frames(key)).collect();
        FrameSet { incarnation: self.incarnation, number: self.next_number - 1, frames }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;

    use super::*;
    use crate::chain::cells;
    use crate::minute::Parameters;
    use crate::{Stand, Table, TopicPartition};

    fn key() -> ChainKey {
        ChainKey { table: Table::ClicksMinute, partition: TopicPartition::new("clicks", 3) }
    }

    fn nothing() -> RecordBatch {
        RecordBatch::new_empty(cells::schema(&Parameters::default()))
    }

    fn begin() -> Frame {
        let (table_id, spec) = ("t".to_owned(), Parameters::default().to_json());
        Frame::Begin { key: key(), table_id, spec, at: Stand::default(), next: 5, cells: nothing() }
    }

    fn took(next: i64) -> Frame {
        Frame::Took { key: key(), next, cells: nothing() }
    }

    fn set(number: u64, frames: Vec<Frame>) -> FrameSet {
        FrameSet { incarnation: 7, number, frames }
    }

    #[test]
    fn sets_are_applied_in_the_order_of_their_numbers() {
        let mut feed = Feed::new(7);
        feed.apply(set(1, vec![begin()])).expect("the first");
        feed.apply(set(2, Vec::new())).expect("a sign of life");
        assert_eq!(feed.apply(set(4, vec![took(9)])), Err(Gap::Number { expected: 3, found: 4 }));
        assert!(feed.chain(&key()).is_none(), "nothing is answered from it any more");
        let mut feed = Feed::new(7);
        feed.apply(set(1, vec![begin()])).expect("the first");
        assert_eq!(feed.apply(set(1, vec![took(9)])), Err(Gap::Number { expected: 2, found: 1 }));
    }

    #[test]
    fn a_set_of_another_incarnation_is_not_applied() {
        let mut feed = Feed::new(8);
        assert_eq!(feed.apply(set(1, vec![begin()])), Err(Gap::Incarnation));
    }

    #[test]
    fn a_frame_that_does_not_fit_voids_the_whole_set() {
        let mut feed = Feed::new(7);
        let gap = feed.apply(set(1, vec![begin(), took(9), took(8)])).expect_err("it goes back");
        let said = "the live feed of clicks_minute of clicks/3 goes back in the log; connect to it anew";
        assert_eq!(gap.to_string(), said);
        assert!(feed.chain(&key()).is_none());
        assert!(feed.apply(set(1, vec![took(9)])).is_err(), "no chain has begun");
    }

    #[test]
    fn a_chain_ends_with_its_release_and_is_told_to_whoever_comes_later() {
        let mut feed = Feed::new(7);
        feed.apply(set(1, vec![Frame::Release { key: key() }, begin(), took(9)])).expect("they follow");
        let heard = Feed::of_state(feed.state()).expect("a state");
        assert_eq!(heard.state(), feed.state());
        assert_eq!(heard.chain(&key()).map(|chain| chain.next), Some(9));
        feed.apply(set(2, vec![Frame::Release { key: key() }])).expect("it follows");
        assert!(feed.chain(&key()).is_none() && feed.state() == set(2, Vec::new()));
    }
}
