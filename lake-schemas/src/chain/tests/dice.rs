//! Pseudo-random numbers of a seed, the same in each run.

pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 up to, but without, `many`.
    pub fn below(&mut self, many: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 1).cast_signed() % many
    }

    /// Returns whether something happens that happens so often in a hundred times.
    pub fn happens(&mut self, times: i64) -> bool {
        self.below(100) < times
    }

    /// Returns one of these numbers.
    pub fn one_of(&mut self, numbers: &[i64]) -> i64 {
        numbers[self.below(numbers.len() as i64) as usize]
    }
}
