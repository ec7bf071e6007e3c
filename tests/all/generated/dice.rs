//! Random choices that are the same on every machine.

/// SplitMix64 [Steele 2014]: the whole state is a counter.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `count`, which is small.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next() >> 33) as usize % count
    }

    /// Whether something happens that has this chance out of a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several, all equally likely.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// The place of one of several weights, each as likely as it is heavy.
    pub(super) fn weighed(&mut self, weights: &[usize]) -> usize {
        let mut mark = self.below(weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if mark < *weight {
                return place;
            }
            mark -= weight;
        }
        unreachable!("the mark lies below the sum of the weights")
    }

    /// Brings a list into another order.
    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}
