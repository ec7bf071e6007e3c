//! Random numbers that are the same on every machine.

/// A generator (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// A generator that depends on a text.
    pub(crate) fn new(seed: &str) -> Self {
        let mix = |state: u64, byte: u8| state.wrapping_mul(1_099_511_628_211) ^ u64::from(byte);
        let mut random = Self(seed.bytes().fold(0x9e37_79b9_7f4a_7c15, mix) | 1);
        for _ in 0..16 {
            random.unit();
        }
        random
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in [lo, hi).
    pub(crate) fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
}
