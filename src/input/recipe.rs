//! The steps from a picture to the network's input.

use std::ops::Range;

use image::RgbImage;
use serde::Serialize;

use super::prepared::{Input, Photograph};
use super::{CropTransform, InputError, Interpolation, Picture, resize::resize_window};

/// Largest short side that a recipe may ask for.
pub const MAX_RESIZE: u32 = 8192;
/// Largest crop that a recipe may ask for.
pub const MAX_CROP: u32 = 4096;
/// Most pixels that the network is given: one crop of [`MAX_CROP`] squared. Bounds a recipe without a crop.
pub const MAX_INPUT_PIXELS: u64 = MAX_CROP as u64 * MAX_CROP as u64;

/// How a picture becomes the network's input: resize, cut, normalise, each as torchvision does it to a PIL image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recipe {
    /// Resize so that the short side has this many pixels; the long side keeps the aspect, its fraction cut off. `None`: no resize.
    pub resize: Option<u32>,
    /// Cut a centred square of this side. A smaller picture is padded with black, before normalisation. `None`: no cut.
    pub crop: Option<u32>,
    /// The filter of the resize.
    pub interpolation: Interpolation,
    /// Subtracted from each channel's value in `0..=1`; red, green, blue.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
}

impl Default for Recipe {
    /// torchvision's `IMAGENET1K_V1` transforms: 256, 224, bilinear, ImageNet's mean and deviation.
    fn default() -> Self {
        Self {
            resize: Some(256),
            crop: Some(224),
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Recipe {
    /// The default recipe for another input size: the short side becomes `size / 0.875`, rounded down, the crop `size`.
    ///
    /// # Errors
    /// [`InputError::Argument`] unless `size` is 1 to [`MAX_CROP`].
    pub fn for_size(size: u32) -> Result<Self, InputError> {
        Self::timm(size, 0.875, Interpolation::Bilinear).map_err(|e| match e {
            InputError::Argument { found, expected, .. } => InputError::Argument { argument: "size", found, expected },
            e => e,
        })
    }

    /// timm's evaluation transforms: the short side becomes `crop / crop_pct`, rounded down, then a crop. Its `resnet18.a1_in1k`,
    /// for one, was published with `(224, 0.95, Bicubic)`, a short side of 235.
    ///
    /// # Errors
    /// [`InputError::Argument`] unless `crop` is 1 to [`MAX_CROP`] and the short side 1 to [`MAX_RESIZE`].
    pub fn timm(crop: u32, crop_pct: f64, interpolation: Interpolation) -> Result<Self, InputError> {
        within("crop", crop, MAX_CROP)?;
        if !(crop_pct > 0.0 && crop_pct <= 1.0) {
            let expected = "more than 0 and at most 1".into();
            return Err(InputError::Argument { argument: "crop_pct", found: crop_pct.to_string(), expected });
        }
        // A float too large for u32 becomes the largest one, which the check refuses.
        let short = (f64::from(crop) / crop_pct) as u32;
        let recipe = Self { resize: Some(short), crop: Some(crop), interpolation, ..Self::default() };
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether every value makes sense; [`Recipe::apply`] asks, too.
    ///
    /// # Errors
    /// [`InputError::Argument`], which names the field.
    pub fn check(&self) -> Result<(), InputError> {
        if let Some(side) = self.resize {
            within("resize", side, MAX_RESIZE)?;
        }
        if let Some(side) = self.crop {
            within("crop", side, MAX_CROP)?;
        }
        let bad = |argument, found: [f32; 3], expected: &str| {
            Err(InputError::Argument { argument, found: format!("{found:?}"), expected: expected.into() })
        };
        if !self.mean.iter().all(|v| v.is_finite()) {
            return bad("mean", self.mean, "finite numbers");
        }
        if !self.std.iter().all(|v| v.is_finite() && *v > 0.0) {
            return bad("std", self.std, "finite numbers above 0");
        }
        Ok(())
    }

    /// Where the crop of a picture of `original` pixels `(width, height)` lies; `name` is for messages.
    ///
    /// # Errors
    /// As [`Recipe::apply`].
    pub fn plan(&self, name: &str, original @ (w, h): (u32, u32)) -> Result<CropPlan, InputError> {
        self.check()?;
        if w == 0 || h == 0 {
            return Err(InputError::NoPixels { name: name.into(), w, h });
        }
        let to = match self.resize {
            Some(short) => resized(original, short),
            None => (w.into(), h.into()),
        };
        let too_large = |way_out| InputError::Resized { name: name.into(), from: original, to, way_out };
        // Offsets are i32.
        let side = |v: u64| u32::try_from(v).ok().filter(|v| *v <= i32::MAX as u32);
        let (Some(rw), Some(rh)) = (side(to.0), side(to.1)) else {
            return Err(too_large(": it is too long and thin; cut it first"));
        };
        let (cw, ch) = match self.crop {
            Some(side) => (side, side),
            None if to.0 * to.1 > MAX_INPUT_PIXELS => return Err(too_large(" for the network; use a crop or a smaller resize")),
            None => (rw, rh),
        };
        let (x, y) = (Axis::new(rw, cw), Axis::new(rh, ch));
        let transform = CropTransform { original, resized: (rw, rh), offset: (x.offset, y.offset), crop: (cw, ch) };
        Ok(CropPlan { transform, interpolation: self.interpolation, x, y })
    }

    /// What the network is to read of `picture`: resized, cut and normalised once that is asked for, with the bytes that Pillow 13
    /// and torchvision give; the tensor equals torchvision's bit for bit.
    ///
    /// # Errors
    /// [`InputError::Argument`] for a recipe that makes no sense, [`InputError::NoPixels`] for an empty picture,
    /// [`InputError::Resized`] for a picture so long and thin that its resized form is out of bounds, or, without a crop, one that
    /// would give the network more than [`MAX_INPUT_PIXELS`].
    pub fn apply(&self, picture: &Picture) -> Result<Input, InputError> {
        let plan = self.plan(&picture.name, picture.rgb.dimensions())?;
        Ok(Input::new(Photograph { rgb: picture.rgb.clone(), recipe: *self, plan }))
    }

    /// The values of every byte in each channel: `(v / 255 - mean) / std`, each step rounded to f32 as torchvision rounds.
    fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c]))
    }

    /// [`Recipe::table`] of every sample.
    pub(super) fn normalise(&self, crop: &RgbImage) -> Vec<f32> {
        let table = self.table();
        let mut out = vec![0.0; crop.as_raw().len()];
        for (out, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(crop.pixels()) {
            *out = std::array::from_fn(|c| table[c][usize::from(pixel.0[c])]);
        }
        out
    }
}

/// Which part of a resized picture becomes the crop. Made by [`Recipe::plan`].
#[derive(Clone, Debug, PartialEq)]
pub struct CropPlan {
    pub(crate) transform: CropTransform,
    pub(crate) interpolation: Interpolation,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
}

impl CropPlan {
    /// Sizes, and where the crop lies.
    pub fn transform(&self) -> &CropTransform {
        &self.transform
    }

    /// The crop of `rgb`, a picture of the size that was planned for; of the resized picture no more is computed than it shows.
    pub(super) fn cut(&self, rgb: &RgbImage) -> RgbImage {
        let Self { transform, interpolation, x, y } = self;
        let mut crop = RgbImage::new(transform.crop.0, transform.crop.1);
        let window = (x.seen.clone(), y.seen.clone());
        resize_window(rgb, transform.resized, window, *interpolation, &mut crop, (x.at, y.at));
        crop
    }
}

/// `Ok` if `found` is 1 to `most`.
fn within(argument: &'static str, found: u32, most: u32) -> Result<(), InputError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(InputError::Argument { argument, found: found.to_string(), expected: format!("1 to {most}") })
}

/// Size after a resize of the short side to `short`. Whole-number division rounds down as torchvision's `int(short * long / short)`.
fn resized((w, h): (u32, u32), short: u32) -> (u64, u64) {
    let scaled = |long: u32, by: u32| u64::from(short) * u64::from(long) / u64::from(by);
    if w <= h { (short.into(), scaled(h, w)) } else { (scaled(w, h), short.into()) }
}

/// A centred crop along one axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// Of the crop in the resized picture; negative where it is padded.
    pub(crate) offset: i32,
    /// Resized positions that the crop shows.
    pub(crate) seen: Range<u32>,
    /// Where in the crop they go.
    pub(crate) at: u32,
}

impl Axis {
    /// `size` and `crop` are at most `i32::MAX`.
    fn new(size: u32, crop: u32) -> Self {
        if crop > size {
            // The odd pixel of padding goes to the right and below.
            let at = (crop - size) / 2;
            return Self { offset: -(at as i32), seen: 0..size, at };
        }
        // Half of the rest; a half rounds to even, as Python rounds.
        let rest = size - crop;
        let offset = rest / 2 + u32::from(rest % 4 == 3);
        Self { offset: offset as i32, seen: offset..offset + crop, at: 0 }
    }
}
