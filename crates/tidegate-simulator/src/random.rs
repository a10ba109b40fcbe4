//! Chance that repeats: the same seed gives the same numbers on every machine.

/// A generator (SplitMix64). It decides what happens in a simulation and nothing else, so it needs
/// to be fast and repeatable, and not unpredictable.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x7469_6465_6761_7465);
        // Neighbouring seeds start far apart.
        random.0 = random.next();
        random
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // it never ends, and is no iterator
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// A place in a list of that length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A number within both ends.
    pub fn within(&mut self, from: i64, to: i64) -> i64 {
        let span = to.saturating_sub(from).saturating_add(1).unsigned_abs();
        from.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// Whether something that happens `per_mille` times in a thousand happens now.
    pub fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.place(list.len()))
    }

    /// One of a list that is written out, and so is never empty.
    pub fn one_of<T: Copy, const N: usize>(&mut self, list: [T; N]) -> T {
        list[self.place(N)]
    }
}
