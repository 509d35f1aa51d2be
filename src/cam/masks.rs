//! What Score-CAM and its kin let the network see, and what its scores mean.
//!
//! Channel `k` of the features, enlarged to the image and scaled to `0..=1`, is a mask `M_k`; the image times the mask, in the
//! network's normalised space, has a score `s_k`; the channel's weight is the softmax of the scores over all channels.

use super::noise;
use super::upsample::Tap;
use super::{Library, Method};

/// Choices of the methods that score masked images.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Masking {
    /// Masked images of each channel for SS-CAM and IS-CAM; `None` for torchcam's numbers, 35 and 10.
    pub samples: Option<usize>,
    /// Standard deviation of SS-CAM's noise.
    pub deviation: f32,
    /// Which noise.
    pub seed: u64,
}

impl Default for Masking {
    /// torchcam's numbers and the papers'.
    fn default() -> Self {
        Self { samples: None, deviation: 2.0, seed: 0 }
    }
}

/// One mask: a channel, enlarged, less `low`, times `scale`, and noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    /// Whose features are enlarged.
    pub channel: usize,
    /// What is taken off them first.
    pub low: f32,
    /// What they are multiplied by then.
    pub scale: f32,
    /// Standard deviation of the noise that is added; 0 for none.
    pub deviation: f32,
    /// Which noise.
    pub stream: u64,
}

/// Where pixels lie among cells, along both axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Enlargement {
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    cells: (usize, usize),
}

impl Enlargement {
    /// From `cells` `(h, w)` to `pixels` `(H, W)`: bilinear with half-pixel centres, but for pytorch-grad-cam, whose corner pixels
    /// are the centres of the corner cells.
    ///
    /// # Panics
    /// If there are pixels and no cells.
    pub fn new(cells: (usize, usize), pixels: (usize, usize), library: Option<Library>) -> Self {
        let axis = |cells: usize, pixels: usize| {
            (0..pixels).map(move |at| match library {
                Some(Library::GradCam) => Tap::aligned(at, pixels, cells),
                None | Some(Library::TorchCam) => Tap::centred(at, pixels, cells),
            })
        };
        Self { rows: axis(cells.0, pixels.0).collect(), columns: axis(cells.1, pixels.1).collect(), cells }
    }

    /// Rows and columns of the cells.
    pub fn cells(&self) -> (usize, usize) {
        self.cells
    }

    /// Rows and columns of the pixels.
    pub fn pixels(&self) -> (usize, usize) {
        (self.rows.len(), self.columns.len())
    }

    /// For every row of pixels the two rows of cells that it lies between, then the same for columns.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the device is told"))]
    pub(crate) fn taps(&self) -> [&[Tap]; 2] {
        [&self.rows, &self.columns]
    }

    /// `image` `[H, W, 3]` times `mask`, into `out`. `cells`: the mask's channel, row after row.
    ///
    /// # Panics
    /// If a slice is shorter than that.
    pub fn paint(&self, mask: &Mask, cells: &[f32], image: &[f32], out: &mut [f32]) {
        let (h, w) = self.cells;
        let scaled: Vec<f32> = cells[..h * w].iter().map(|&cell| (cell - mask.low) * mask.scale).collect();
        let (mut blended, mut row) = (vec![0.0; w], vec![0.0; self.columns.len()]);
        let pixels = row.len() * 3;
        let lines = out.chunks_exact_mut(pixels.max(1)).zip(image.chunks_exact(pixels.max(1)));
        for (y, ((out, image), tap)) in lines.zip(&self.rows).enumerate() {
            self.row(&scaled, *tap, &mut blended, &mut row);
            if mask.deviation != 0.0 {
                noise::add(mask.stream, mask.deviation, y * row.len(), &mut row);
            }
            for ((out, image), &m) in out.as_chunks_mut::<3>().0.iter_mut().zip(image.as_chunks::<3>().0).zip(&row) {
                *out = [image[0] * m, image[1] * m, image[2] * m];
            }
        }
    }

    /// One row of pixels: down first, once for each cell, then across.
    fn row(&self, cells: &[f32], tap: Tap, blended: &mut [f32], row: &mut [f32]) {
        let w = self.cells.1;
        let (low, high) = (&cells[tap.low * w..][..w], &cells[tap.high * w..][..w]);
        blended.iter_mut().zip(low.iter().zip(high)).for_each(|(out, (&low, &high))| *out = tap.mix(low, high));
        row.iter_mut().zip(&self.columns).for_each(|(out, tap)| *out = tap.mix(blended[tap.low], blended[tap.high]));
    }

    /// Least and greatest pixel of a channel. Between two cells pixels lie on a plane bent along one axis at a time, so that the
    /// first and the last of them on each axis are enough.
    fn range(&self, cells: &[f32]) -> (f32, f32) {
        let ends = |taps: &[Tap]| {
            let last = taps.len().saturating_sub(1);
            let at = (0..taps.len())
                .filter(|&at| at == 0 || at == last || taps[at - 1].low != taps[at].low || taps[at + 1].low != taps[at].low);
            at.map(|at| taps[at]).collect::<Vec<_>>()
        };
        let corners = Self { rows: ends(&self.rows), columns: ends(&self.columns), cells: self.cells };
        let (mut blended, mut row) = (vec![0.0; self.cells.1], vec![0.0; corners.columns.len()]);
        let mut range = (f32::INFINITY, f32::NEG_INFINITY);
        for &tap in &corners.rows {
            corners.row(cells, tap, &mut blended, &mut row);
            range = row.iter().fold(range, |(low, high), &v| (low.min(v), high.max(v)));
        }
        range
    }
}

/// The masks of one image for one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Masks {
    masks: Vec<Mask>,
    /// For each channel which run of `samples` masks is its own.
    runs: Vec<usize>,
    samples: usize,
}

impl Masks {
    /// Those that `method` makes of `features` `[h, w, C]`. Channels that are constant, as those that are off, have nothing to
    /// show: their masks are all 0, so that one of them is scored for all of them.
    pub fn new(method: Method, library: Option<Library>, masking: &Masking, enlargement: &Enlargement, features: &[f32]) -> Self {
        let count = enlargement.cells.0 * enlargement.cells.1;
        let channels = features.len() / count.max(1);
        let samples = match method {
            Method::SsCam => masking.samples.unwrap_or(35).max(1),
            Method::IsCam => masking.samples.unwrap_or(10).max(1),
            _ => 1,
        };
        let mut of = Self { masks: Vec::new(), runs: Vec::with_capacity(channels), samples };
        let mut constant = None;
        for channel in 0..channels {
            let cells: Vec<f32> = features.iter().skip(channel).step_by(channels).copied().collect();
            let (low, scale) = scale(&cells, enlargement, library);
            let next = of.masks.len() / samples;
            let run = if scale > 0.0 { next } else { *constant.get_or_insert(next) };
            of.runs.push(run);
            if run == next {
                of.masks.extend((0..samples).map(|sample| {
                    let mask = Mask { channel, low, scale, deviation: 0.0, stream: 0 };
                    match method {
                        Method::SsCam => {
                            let stream = noise::stream(masking.seed, channel as u64, sample as u64);
                            Mask { deviation: masking.deviation, stream, ..mask }
                        }
                        Method::IsCam => Mask { scale: scale * share(sample, samples, library), ..mask },
                        _ => mask,
                    }
                }));
            }
        }
        of
    }

    /// What is to be scored, in the order in which [`Masks::weights`] wants the scores.
    pub fn masks(&self) -> &[Mask] {
        &self.masks
    }

    /// Weights of the channels `[C]`: the softmax, over all of them, of the scores' means over the samples.
    ///
    /// # Panics
    /// If there is not one score for each mask.
    pub fn weights(&self, scores: &[f64]) -> Vec<f32> {
        assert_eq!(scores.len(), self.masks.len(), "a score for each mask");
        let mean = |run: &[f64]| run.iter().sum::<f64>() / self.samples as f64;
        let means: Vec<f64> = scores.chunks_exact(self.samples).map(mean).collect();
        let largest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp: Vec<f64> = means.iter().map(|mean| (mean - largest).exp()).collect();
        let total: f64 = self.runs.iter().map(|&run| exp[run]).sum();
        self.runs.iter().map(|&run| (exp[run] / total) as f32).collect()
    }
}

/// What makes a channel's mask reach from 0 to 1: what is taken off, and what the rest is multiplied by; 0 for a constant one.
fn scale(cells: &[f32], enlargement: &Enlargement, library: Option<Library>) -> (f32, f32) {
    let of_cells = cells.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    // Rounding may give the enlargement of a constant a range of its own.
    if of_cells.0 >= of_cells.1 {
        return (0.0, 0.0);
    }
    let (low, high) = match library {
        Some(Library::TorchCam) => of_cells,
        None | Some(Library::GradCam) => enlargement.range(cells),
    };
    let guard = if library.is_some() { 1e-8 } else { 0.0 };
    let scale = (high - low + guard).recip();
    // A range of less than 3e-39 has no reciprocal in f32, and says nothing.
    if high > low && scale.is_finite() { (low, scale) } else { (0.0, 0.0) }
}

/// How much of its mask sample `at` of `of` has: IS-CAM integrates from nothing to all of it. torchcam adds the shares up as it
/// goes, so that they reach `(samples + 1) / 2`.
fn share(at: usize, of: usize, library: Option<Library>) -> f32 {
    let (at, of) = (at as f64 + 1.0, of as f64);
    let share = match library {
        Some(Library::TorchCam) => at * (at + 1.0) / 2.0 / of,
        None | Some(Library::GradCam) => at / of,
    };
    share as f32
}
