//! A convolution's output divided over the threads: bands of rows or of images, and parts of the channels of each.

use std::ops::Range;

use rayon::prelude::*;

use crate::network::Conv2dShape;

/// How an output is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Output rows in a band. More than an image has, in whole images, for a band of several of them.
    pub rows: usize,
    /// Channels in a part.
    pub channels: usize,
}

/// Rows of a band, `most` at most, such that of `images` with `rows` each, in bands, no thread of `threads` gets more than it must;
/// as many as that allows.
pub(super) fn even(images: usize, rows: usize, threads: usize, most: usize) -> usize {
    let busiest = |band: &usize| (images * rows.div_ceil(*band)).div_ceil(threads) * band;
    (1..=most.clamp(1, rows)).rev().min_by_key(busiest).unwrap_or(1)
}

/// Some channels of some output pixels that follow each other.
pub(super) struct Piece<'a> {
    /// First pixel, counted over all images.
    pub first: usize,
    /// Its channels.
    pub channels: Range<usize>,
    /// `channels` of each pixel.
    pub pixels: Vec<&'a mut [f32]>,
}

impl Piece<'_> {
    /// Its rows by image: the image and the range of rows.
    pub(super) fn rows(&self, shape: &Conv2dShape) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (p, q) = (shape.p(), shape.q());
        let (first, end) = (self.first / q, (self.first + self.pixels.len()) / q);
        (first / p..end.div_ceil(p)).map(move |n| (n, first.max(n * p) - n * p..end.min((n + 1) * p) - n * p))
    }
}

/// Calls `work` for all pieces of `y`, NPQK, on the current rayon pool.
pub(super) fn share(shape: &Conv2dShape, share: Share, y: &mut [f32], work: impl Fn(Piece) + Sync) {
    let (k, image) = (shape.k(), shape.p() * shape.q());
    let whole = share.rows.div_ceil(shape.p()) * image;
    y.par_chunks_mut(whole * k).enumerate().for_each(|(images, y)| {
        y.par_chunks_mut(share.rows * shape.q() * k).enumerate().for_each(|(band, y)| {
            let first = images * whole + band * share.rows * shape.q();
            let starts = (0..k).step_by(share.channels);
            let mut parts: Vec<Vec<&mut [f32]>> = starts.clone().map(|_| Vec::with_capacity(y.len() / k)).collect();
            for pixel in y.chunks_exact_mut(k) {
                pixel.chunks_mut(share.channels).zip(&mut parts).for_each(|(channels, part)| part.push(channels));
            }
            parts.into_par_iter().zip(starts.collect::<Vec<_>>()).for_each(|(pixels, start)| {
                work(Piece { first, channels: start..(start + share.channels).min(k), pixels });
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_get_as_many_rows_as_each_other() {
        assert_eq!(even(1, 14, 2, 6), 1); // 2 would be four bands of two rows for one of them
        assert_eq!(even(1, 14, 2, 9), 7);
        assert_eq!(even(8, 14, 2, 6), 2);
        assert_eq!(even(1, 7, 1, 9), 7);
        assert_eq!(even(1, 28, 2, 4), 2);
        assert_eq!(even(1, 112, 2, 14), 14);
        assert_eq!(even(3, 1, 4, 0), 1);
    }
}
