//! Channels that are filled up with zeros on the device, so that kernels move 16 bytes at a time and whole sectors of memory, whatever a
//! network's width.
//!
//! The filters, biases, factors and summands of the channels that are added are zero, and with them every activation: nothing is
//! convolved to nothing, stays nothing with the residual and the ReLU, and is the largest of a window of nothing. What reads them has
//! zeros in its filters there. Only where an activation is infinite already do they become NaN, and with them all that follows.

use std::borrow::Cow;

use super::real::Real;
use crate::network::{Layer, Op, Value};

/// Channels on the device of a layer that has so many: whole sectors of 32 bytes. Those of the features are told by whoever counts them,
/// the classifier and the maps; they are whole packs of 16 bytes by themselves, as a multiple of 8 are.
pub(super) fn filled<T: Real>(channels: usize, features: usize) -> usize {
    channels.next_multiple_of(if channels == features { T::CHANNELS } else { 2 * T::CHANNELS })
}

/// Channels of a convolution as the file has them and as the device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Padding {
    c: (usize, usize),
    k: (usize, usize),
}

impl Padding {
    /// Of a row of the table of a network with so many features, if it is a convolution.
    pub(super) fn of<T: Real>(layer: &Layer, features: usize) -> Option<Self> {
        let Op::Conv2d { c, k, .. } = layer.op else { return None };
        let stored = match layer.input {
            Value::Image => c.next_multiple_of(T::CHANNELS),
            Value::Layer(_) => filled::<T>(c, features),
        };
        Some(Self { c: (c, stored), k: (k, filled::<T>(k, features)) })
    }

    /// Numbers of a filter of so many taps on the device.
    pub(super) fn filter_len(&self, taps: usize) -> usize {
        self.k.1 * taps * self.c.1
    }

    /// Numbers for each output channel on the device.
    pub(super) fn outputs(&self) -> usize {
        self.k.1
    }

    /// A filter `[K, R, S, C]` with zeros after the channels of each tap, and filters of zeros after the last one.
    pub(super) fn filter(&self, filter: Vec<f32>) -> Vec<f32> {
        let (c, filled) = self.c;
        if self.is_none() {
            return filter;
        }
        let taps = filter.len() / self.k.0 / c;
        let mut padded = vec![0.0; self.filter_len(taps)];
        for (from, to) in filter.chunks_exact(c).zip(padded.chunks_exact_mut(filled)) {
            to[..c].copy_from_slice(from);
        }
        padded
    }

    /// Numbers for each output channel, `[K]`, with zeros after the last one.
    pub(super) fn per_output(&self, mut values: Vec<f32>) -> Vec<f32> {
        values.resize(self.k.1, 0.0);
        values
    }

    fn is_none(&self) -> bool {
        self.c.0 == self.c.1 && self.k.0 == self.k.1
    }
}

/// The first `c` channels of each pixel of `values`, which has `filled` of them.
pub(super) fn strip(values: &[f32], filled: usize, c: usize) -> Cow<'_, [f32]> {
    if c == filled {
        return values.into();
    }
    values.chunks_exact(filled).flat_map(|pixel| &pixel[..c]).copied().collect()
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::network::Window;

    const FEATURES: usize = 24;

    fn padding<T: Real>(input: Value, c: usize, k: usize) -> Padding {
        let window = Window { size: (1, 2), stride: 1, pad: 0 };
        let op = Op::Conv2d { c, k, window, batch_norm: String::new(), residual: None, relu: true };
        Padding::of::<T>(&Layer { name: String::new(), op, input }, FEATURES).unwrap()
    }

    #[test]
    fn zeros_come_after_each_taps_channels_and_after_the_filters() {
        let padding = padding::<f32>(Value::Image, 3, 2);
        let filter = (1..=12).map(|v| v as f32).collect();
        let mut want = vec![1., 2., 3., 0., 4., 5., 6., 0., 7., 8., 9., 0., 10., 11., 12., 0.];
        want.resize(8 * 2 * 4, 0.0);
        assert_eq!(padding.filter(filter), want);
        assert_eq!(padding.filter_len(2), want.len());
        assert_eq!(padding.per_output(vec![5.0, 6.0]), [5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn layers_are_whole_sectors_and_features_stay() {
        let layer = Value::Layer(0);
        assert_eq!(padding::<f32>(layer, 5, 20), Padding { c: (5, 8), k: (20, 24) });
        assert_eq!(padding::<f16>(layer, 8, 20), Padding { c: (8, 16), k: (20, 32) });
        assert_eq!(padding::<f16>(layer, 20, FEATURES), Padding { c: (20, 32), k: (FEATURES, FEATURES) });
        assert_eq!(padding::<f16>(Value::Image, 3, 17), Padding { c: (3, 8), k: (17, 32) });
    }

    #[test]
    fn what_fits_stays() {
        let fits = padding::<f16>(Value::Layer(0), 16, 32);
        assert!(fits.is_none() && fits == Padding { c: (16, 16), k: (32, 32) });
        assert!(!padding::<f16>(Value::Layer(0), 16, 12).is_none() && !padding::<f16>(Value::Layer(0), 8, 16).is_none());
        assert!(matches!(strip(&[1.0, 2.0], 2, 2), Cow::Borrowed(_)));
    }

    #[test]
    fn stripping_keeps_each_pixels_first_channels() {
        assert_eq!(*strip(&[1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0], 4, 3), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
