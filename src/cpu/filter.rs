//! Filters as the weight file has them.

/// Filters `[K, C, R, S]`, in place in a weight file, and a factor for each of them.
pub(super) struct Kcrs<'a> {
    /// The taps.
    pub filter: &'a [f32],
    /// Factors `[K]`.
    pub scale: &'a [f32],
    /// Input channels.
    pub c: usize,
    /// `R * S`.
    pub taps: usize,
}

impl Kcrs<'_> {
    /// Output channels.
    pub(super) fn k(&self) -> usize {
        self.scale.len()
    }

    /// Taps of one input channel, and their factor.
    pub(super) fn plane(&self, k: usize, c: usize) -> (&[f32], f32) {
        (&self.filter[(k * self.c + c) * self.taps..][..self.taps], self.scale[k])
    }

    /// `[K, R, S, C]`, multiplied.
    pub(super) fn krsc(&self, krsc: &mut [f32]) {
        for (k, krsc) in krsc.chunks_exact_mut(self.c * self.taps).enumerate() {
            for c in 0..self.c {
                let (taps, scale) = self.plane(k, c);
                taps.iter().enumerate().for_each(|(tap, value)| krsc[tap * self.c + c] = value * scale);
            }
        }
    }
}
