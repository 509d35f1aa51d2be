//! Average drop and increase in confidence.

use super::probe::Trial;
use crate::cam::Map;

/// What masking an image by its map does to the score (Chattopadhyay et al., WACV 2018, section 5.1): the network sees the image, as
/// normalised for it, times the map in `0..=1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    /// The score of the image as it is, Y.
    pub intact: f64,
    /// The score of the masked image, O.
    pub masked: f64,
}

impl Confidence {
    /// The share of the score that is lost, `max(0, Y - O) / Y`; its mean over images is the paper's average drop. Lower is better.
    /// A score of 0 has nothing to lose: 0.
    pub fn drop(&self) -> f64 {
        if self.intact > 0.0 { (self.intact - self.masked).max(0.0) / self.intact } else { 0.0 }
    }

    /// Whether the score grew, `Y < O`; the share of images for which it did is the paper's increase in confidence. Higher is
    /// better.
    pub fn increased(&self) -> bool {
        self.intact < self.masked
    }
}

/// The image times a map of its size.
pub(super) struct Masked {
    pub mask: Map,
}

impl Trial for Masked {
    fn count(&self) -> usize {
        1
    }

    fn make(&self, _: usize, image: &[f32], out: &mut [f32]) {
        let pixels = out.as_chunks_mut::<3>().0.iter_mut().zip(image.as_chunks::<3>().0);
        for ((out, pixel), mask) in pixels.zip(self.mask.data()) {
            *out = pixel.map(|value| value * mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_score() {
        let of = |intact, masked| Confidence { intact, masked };
        assert_eq!((of(0.5, 0.125).drop(), of(0.5, 0.125).increased()), (0.75, false));
        assert_eq!((of(0.5, 0.6).drop(), of(0.5, 0.6).increased()), (0.0, true));
        assert_eq!((of(0.5, 0.5).drop(), of(0.5, 0.5).increased()), (0.0, false));
        assert_eq!((of(0.0, 0.0).drop(), of(0.0, 0.0).increased()), (0.0, false));
        assert_eq!((of(0.0, 0.1).drop(), of(0.0, 0.1).increased()), (0.0, true));
    }
}
