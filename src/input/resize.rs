//! Antialiased resampling with the same bytes as Pillow's `Image.resize`.
//!
//! The scheme is the one Pillow uses for 8-bit channels: two passes with 22-bit fixed-point weights, each rounded to bytes. The
//! horizontal pass comes first, unless the height loses more than twice as many pixels as the width: that is Pillow 13's rule,
//! older ones differ by a level in very tall pictures. Every output pixel depends on its own row and column of weights only, so
//! any window of the result can be computed alone with the same bytes: the preprocessing asks for no more than the network will
//! see, which bounds the memory of a 1x5000 picture and spares work on all others.

use std::{fmt, ops::Range, str::FromStr};

use image::RgbImage;
use pulp::{Simd, WithSimd};
use serde::Serialize;

use super::InputError;

/// Fraction bits of a weight: 32 less 8 for the sample and 2 for the sum's head room (bicubic overshoots).
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Samples that a resize may hold between its two passes, and in its result.
const MAX_SAMPLES: u64 = 1 << 30;

/// The resampling filter. Both are widened when a picture shrinks, so that they never alias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The triangle, 1 pixel to each side: torchvision's default.
    #[default]
    Bilinear,
    /// Keys' cubic with a = -0.5, 2 pixels to each side: timm's usual choice.
    Bicubic,
}

impl Interpolation {
    /// Every filter, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::Bilinear, Self::Bicubic];

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }

    /// Reach to each side in pixels of the coarser grid.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// Weight at distance `x`.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = InputError;

    fn from_str(s: &str) -> Result<Self, InputError> {
        match s {
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            _ => Err(InputError::Argument {
                argument: "interpolation",
                found: format!("`{s}`"),
                expected: "`bilinear` or `bicubic`".into(),
            }),
        }
    }
}

/// The whole of `rgb` at `w` x `h` pixels, with the bytes of Pillow's `Image.resize((w, h), filter)`; the aspect may change.
///
/// # Errors
/// [`InputError::NoPixels`] for an empty picture, [`InputError::Argument`] for an empty target, [`InputError::Resized`] when the
/// result, or the step between the two passes, would hold more than 2^30 bytes. `name` is for the message.
pub fn resize(name: &str, rgb: &RgbImage, (w, h): (u32, u32), filter: Interpolation) -> Result<RgbImage, InputError> {
    if w == 0 || h == 0 {
        return Err(InputError::Argument { argument: "size", found: format!("{w}x{h}"), expected: "at least 1x1".into() });
    }
    if rgb.width() == 0 || rgb.height() == 0 {
        return Err(InputError::NoPixels { name: name.into(), w: rgb.width(), h: rgb.height() });
    }
    let rows = if vertical_first(rgb.dimensions(), (w, h)) { h } else { h.max(rgb.height()) };
    if u64::from(rows) * u64::from(w) * 3 > MAX_SAMPLES {
        let to = (w.into(), h.into());
        return Err(InputError::Resized { name: name.into(), from: rgb.dimensions(), to, way_out: "" });
    }
    let mut out = RgbImage::new(w, h);
    resize_window(rgb, (w, h), (0..w, 0..h), filter, &mut out, (0, 0));
    Ok(out)
}

/// Whether Pillow 13 resizes the height first: when it loses more than twice as many pixels as the width.
pub(crate) fn vertical_first((from_w, from_h): (u32, u32), (w, h): (u32, u32)) -> bool {
    u64::from(from_h.saturating_sub(h)) > 2 * u64::from(from_w.saturating_sub(w))
}

/// Computes the `columns` and `rows` of `rgb` resized to `(w, h)` and puts them into `out` at `at`.
///
/// The caller has seen to it that no extent is zero, that the window lies in `(w, h)` and that it fits into `out` at `at`.
pub(super) fn resize_window(
    rgb: &RgbImage,
    size: (u32, u32),
    window: (Range<u32>, Range<u32>),
    filter: Interpolation,
    out: &mut RgbImage,
    at: (u32, u32),
) {
    pulp::Arch::new().dispatch(Resize { rgb, size, window, filter, out, at });
}

/// The arguments of [`resize_window`], for the vectors that this machine has.
struct Resize<'a> {
    rgb: &'a RgbImage,
    size: (u32, u32),
    window: (Range<u32>, Range<u32>),
    filter: Interpolation,
    out: &'a mut RgbImage,
    at: (u32, u32),
}

impl WithSimd for Resize<'_> {
    type Output = ();

    /// Plain loops: the compiler makes vectors of them, in all that is inlined here.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rgb, size: (w, h), window: (columns, rows), filter, out, at } = self;
        let width = 3 * columns.len();
        let out_stride = 3 * out.width() as usize;
        let out_start = at.1 as usize * out_stride + 3 * at.0 as usize;
        let out_rows = out.as_mut()[out_start..].chunks_mut(out_stride).take(rows.len()).map(|row| &mut row[..width]);

        let horizontal = Taps::new(rgb.width(), w, columns, filter);
        let vertical = Taps::new(rgb.height(), h, rows, filter);
        // Of the source, only what the window's weights touch.
        let (needed_columns, needed_rows) = (horizontal.reach(), vertical.reach());
        let stride = 3 * rgb.width() as usize;
        let part = 3 * needed_columns.start..3 * needed_columns.end;
        let lines = |first: usize| rgb.as_raw()[first * stride..].chunks_exact(stride).map(|line| &line[part.clone()]);
        let mut samples = vec![0; part.len() + 1];
        if vertical_first(rgb.dimensions(), (w, h)) {
            let mut line = vec![0; part.len()];
            let mut sums = vec![0; part.len()];
            for (out, (first, weights)) in out_rows.zip(vertical.iter()) {
                across(lines(first), weights, &mut sums, &mut line);
                horizontal.along(&line, needed_columns.start, &mut samples, out);
            }
        } else {
            let mut between = vec![0; needed_rows.len() * width];
            for (line, out) in lines(needed_rows.start).zip(between.chunks_exact_mut(width)) {
                horizontal.along(line, needed_columns.start, &mut samples, out);
            }
            let mut sums = vec![0; width];
            for (out, (first, weights)) in out_rows.zip(vertical.iter()) {
                across(between[(first - needed_rows.start) * width..].chunks_exact(width), weights, &mut sums, out);
            }
        }
    }
}

/// The first of the input positions that output `position` of an axis mixes, which goes from `from` to `to` samples, and their
/// weights, which add up to 1.
pub(crate) fn mixed(from: u32, to: u32, position: u32, filter: Interpolation) -> (usize, impl Iterator<Item = f64>) {
    let scale = f64::from(from) / f64::from(to);
    let widen = scale.max(1.0);
    let support = filter.support() * widen;
    let narrow = 1.0 / widen;
    let centre = (f64::from(position) + 0.5) * scale;
    // `as` truncates towards zero and stops at it, as the C code does by a cast and a comparison.
    let first = (centre - support + 0.5) as u32;
    let end = ((centre + support + 0.5) as u32).min(from);
    let weight = move |x: u32| filter.weight((f64::from(x) - centre + 0.5) * narrow);
    // Summed in the same order as Pillow sums, since the last bit can decide a rounding.
    let total: f64 = (first..end).map(weight).sum();
    let total = if total == 0.0 { 1.0 } else { total };
    (first as usize, (first..end).map(move |x| weight(x) / total))
}

/// Weights of one axis: for each output position of a window, the run of input positions it mixes.
pub(crate) struct Taps {
    /// First input position of each run, and the run's end in `weights`.
    runs: Vec<(usize, usize)>,
    /// All runs' fixed-point weights, end to end.
    weights: Vec<i32>,
}

impl Taps {
    /// Taps for the output positions `window` of an axis that goes from `from` to `to` samples.
    pub(crate) fn new(from: u32, to: u32, window: Range<u32>, filter: Interpolation) -> Self {
        let mut taps = Self { runs: Vec::with_capacity(window.len()), weights: Vec::new() };
        for position in window {
            let (first, weights) = mixed(from, to, position, filter);
            taps.weights.extend(weights.map(|weight| {
                let fixed = weight * f64::from(1u32 << PRECISION_BITS);
                // Half away from zero.
                (fixed + 0.5f64.copysign(fixed)) as i32
            }));
            taps.runs.push((first, taps.weights.len()));
        }
        taps
    }

    /// Each output position's first input position and weights.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut start = 0;
        self.runs.iter().map(move |&(first, end)| {
            let weights = &self.weights[start..end];
            start = end;
            (first, weights)
        })
    }

    /// The input positions that any output position of the window touches.
    pub(crate) fn reach(&self) -> Range<usize> {
        let start = self.runs.first().map_or(0, |run| run.0);
        let end = self.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0);
        start..end
    }

    /// Filters a line of RGB pixels, which begins at input position `origin`, into the window's pixels. `samples` is room for one
    /// more than the line has.
    #[inline(always)]
    fn along(&self, line: &[u8], origin: usize, samples: &mut [i32], out: &mut [u8]) {
        for (sample, byte) in samples.iter_mut().zip(line) {
            *sample = i32::from(*byte);
        }
        for (out, (first, weights)) in out.as_chunks_mut::<3>().0.iter_mut().zip(self.iter()) {
            // A pixel and whatever follows it make one vector of four; the fourth sum is not used.
            let mut sums = [HALF; 4];
            for (pixel, weight) in samples[3 * (first - origin)..].windows(4).step_by(3).zip(weights) {
                for (sum, sample) in sums.iter_mut().zip(pixel) {
                    *sum += sample * weight;
                }
            }
            let [r, g, b, _] = sums;
            *out = [r, g, b].map(to_byte);
        }
    }
}

/// One half in fixed point: sums start here, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Mixes whole lines, one weight each.
#[inline(always)]
fn across<'a>(lines: impl Iterator<Item = &'a [u8]>, weights: &[i32], sums: &mut [i32], out: &mut [u8]) {
    sums.fill(HALF);
    for (line, weight) in lines.zip(weights) {
        for (sum, sample) in sums.iter_mut().zip(line) {
            *sum += i32::from(*sample) * weight;
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = to_byte(*sum);
    }
}

/// A fixed-point sum as a byte, clipped.
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
