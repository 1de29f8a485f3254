//! A small seeded generator, so that a run can be asked for again by its seed.
//!
//! Each task of a test gets a generator of its own (`fork`): what one task does must not depend on how the scheduler
//! mixes them. Not for secrets.

/// The `SplitMix64` generator.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another generator, of its own for each `label`.
    pub fn fork(&self, label: u64) -> Self {
        let mut mixed = Self::new(self.state ^ label.wrapping_mul(0xA24B_AED4_963E_E407));
        Self::new(mixed.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A size in bytes: mostly small, some of kilobytes, a few of hundreds of them.
    pub fn size(&mut self) -> u32 {
        let (low, high) = match self.below(1000) {
            0..3 => (60_000, 160_000),
            3..60 => (1_500, 9_000),
            60..120 => (0, 12),
            _ => (12, 220),
        };
        u32::try_from(self.between(low, high)).unwrap_or(u32::MAX)
    }
}

/// Seeds to run: the one in `STREAMKEEPER_SEED`, else fixed ones and a fresh one.
pub fn seeds(fixed: &[u64]) -> Vec<u64> {
    if let Ok(seed) = std::env::var("STREAMKEEPER_SEED") {
        return vec![seed.parse().expect("STREAMKEEPER_SEED is a number")];
    }
    let fresh = streamkeeper::types::Clock::System.now().0;
    fixed.iter().copied().chain([fresh]).collect()
}
