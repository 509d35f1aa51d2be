//! What the network reads of a picture, computed when it is asked for.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use image::RgbImage;

use super::{CropPlan, CropTransform, InputError, Recipe};
use crate::tensor::Nhwc;

/// What the network reads, and where it came from. Made by [`Recipe::apply`], or from a tensor that was prepared elsewhere.
///
/// Nothing is resized before somebody asks for the crop or the tensor: a CUDA device has kernels for both and starts from the
/// picture. Cheap to clone; clones share the picture and what was computed of it, and keep both alive.
#[derive(Clone, Debug)]
pub struct Input {
    transform: CropTransform,
    origin: Arc<Origin>,
}

#[derive(Debug)]
enum Origin {
    Photograph {
        photograph: Photograph,
        crop: OnceLock<RgbImage>,
    },
    /// The picture is gone.
    Crop {
        crop: RgbImage,
        recipe: Recipe,
    },
    /// `values` `[H, W, 3]`.
    Tensor {
        values: Vec<f32>,
        crop: RgbImage,
    },
}

/// A decoded picture and what is to be done to it.
#[derive(Debug)]
pub(crate) struct Photograph {
    pub rgb: Arc<RgbImage>,
    pub recipe: Recipe,
    /// Of `recipe`, for the size of `rgb`.
    pub plan: CropPlan,
}

impl Input {
    pub(super) fn new(photograph: Photograph) -> Self {
        let transform = *photograph.plan.transform();
        Self { transform, origin: Arc::new(Origin::Photograph { photograph, crop: OnceLock::new() }) }
    }

    /// A tensor `[H, W, 3]` of red, green and blue, normalised elsewhere, with the `crop` that it was made from, to draw on, and
    /// that crop's place in the original picture.
    ///
    /// # Errors
    /// [`InputError::Argument`] if the sizes of `tensor`, `crop` and `transform` differ, or there are no pixels.
    pub fn from_tensor(tensor: Vec<f32>, crop: RgbImage, transform: CropTransform) -> Result<Self, InputError> {
        let (w, h) = crop.dimensions();
        let fault = |argument, found, expected| Err(InputError::Argument { argument, found, expected });
        if w == 0 || h == 0 || transform.crop != (w, h) {
            let (tw, th) = transform.crop;
            return fault("crop", format!("{w}x{h} pixels"), format!("the transform's {tw}x{th}, at least 1x1"));
        }
        if tensor.len() != crop.as_raw().len() {
            return fault("tensor", format!("{} values", tensor.len()), format!("3 for each of {w}x{h} pixels"));
        }
        Ok(Self { transform, origin: Arc::new(Origin::Tensor { values: tensor, crop }) })
    }

    /// The same with the crop computed now, and without the picture, which may be much larger.
    pub fn cut(self) -> Self {
        let Origin::Photograph { photograph: Photograph { recipe, .. }, .. } = *self.origin else { return self };
        let crop = match Arc::try_unwrap(self.origin) {
            Ok(Origin::Photograph { photograph, crop }) => {
                crop.into_inner().unwrap_or_else(|| photograph.plan.cut(&photograph.rgb))
            }
            Ok(Origin::Crop { crop, .. } | Origin::Tensor { crop, .. }) => crop,
            Err(shared) => Self { transform: self.transform, origin: shared }.crop().clone(),
        };
        Self { transform: self.transform, origin: Arc::new(Origin::Crop { crop, recipe }) }
    }

    /// Bytes that it keeps in memory; clones share them.
    pub fn bytes(&self) -> u64 {
        let (pixels, values) = match &*self.origin {
            Origin::Photograph { photograph, .. } => (photograph.rgb.as_raw().len(), 0),
            Origin::Crop { .. } => (0, 0),
            Origin::Tensor { values, .. } => (0, size_of_val(&values[..])),
        };
        (pixels + values + self.h() * self.w() * 3) as u64
    }

    /// Rows that the network reads.
    pub fn h(&self) -> usize {
        self.transform.crop.1 as usize
    }

    /// Columns that the network reads.
    pub fn w(&self) -> usize {
        self.transform.crop.0 as usize
    }

    /// The way back to the original picture.
    pub fn transform(&self) -> &CropTransform {
        &self.transform
    }

    /// The pixels before normalisation: what the network sees, to draw on. Computed once, by the first who asks.
    pub fn crop(&self) -> &RgbImage {
        match &*self.origin {
            Origin::Photograph { photograph, crop } => crop.get_or_init(|| photograph.plan.cut(&photograph.rgb)),
            Origin::Crop { crop, .. } | Origin::Tensor { crop, .. } => crop,
        }
    }

    /// `[H, W, 3]`, red, green, blue, normalised. Computed at each call, unless it was prepared elsewhere.
    pub fn tensor(&self) -> Cow<'_, [f32]> {
        match &*self.origin {
            Origin::Photograph { photograph: Photograph { recipe, .. }, .. } | Origin::Crop { recipe, .. } => {
                Cow::Owned(recipe.normalise(self.crop()))
            }
            Origin::Tensor { values, .. } => Cow::Borrowed(values),
        }
    }

    /// Whether the picture is there, and not only what the network reads of it.
    pub fn is_picture(&self) -> bool {
        matches!(*self.origin, Origin::Photograph { .. })
    }

    /// The picture, if it is still there.
    pub(crate) fn photograph(&self) -> Option<&Photograph> {
        match &*self.origin {
            Origin::Photograph { photograph, .. } => Some(photograph),
            Origin::Crop { .. } | Origin::Tensor { .. } => None,
        }
    }
}

/// Inputs of one size as a batch, `[N, H, W, 3]`.
pub(crate) fn batch(inputs: &[&Input]) -> Nhwc {
    let (h, w) = inputs.first().map_or((0, 0), |input| (input.h(), input.w()));
    let mut data = Vec::with_capacity(inputs.len() * h * w * 3);
    inputs.iter().for_each(|input| data.extend_from_slice(&input.tensor()));
    Nhwc::new([inputs.len(), h, w, 3], data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Picture;

    #[test]
    fn a_tensor_has_the_size_of_its_crop() {
        let transform = CropTransform { original: (9, 9), resized: (9, 9), offset: (3, 4), crop: (3, 2) };
        let made = |values, (w, h)| Input::from_tensor(vec![0.5; values], RgbImage::new(w, h), transform);
        let input = made(18, (3, 2)).unwrap();
        assert_eq!((input.h(), input.w(), &*input.tensor(), input.crop().dimensions()), (2, 3, &[0.5; 18][..], (3, 2)));
        assert_eq!(made(17, (3, 2)).unwrap_err().to_string(), "tensor is 17 values, expected 3 for each of 3x2 pixels");
        assert_eq!(made(18, (2, 3)).unwrap_err().to_string(), "crop is 2x3 pixels, expected the transform's 3x2, at least 1x1");
        let empty = CropTransform { crop: (0, 0), ..transform };
        assert!(Input::from_tensor(vec![], RgbImage::new(0, 0), empty).is_err());
    }

    #[test]
    fn what_is_cut_lets_go_of_its_picture() {
        let picture = Picture::from_rgb("ramp", RgbImage::from_fn(9, 7, |x, y| image::Rgb([(x * 20) as u8, (y * 30) as u8, 5])));
        let recipe = Recipe { resize: None, crop: Some(4), ..Recipe::default() };
        let input = recipe.apply(&picture).unwrap();
        assert_eq!(input.bytes(), 9 * 7 * 3 + 4 * 4 * 3);
        for cut in [input.clone().cut(), input.clone().cut().cut(), recipe.apply(&picture).unwrap().cut()] {
            assert!(cut.photograph().is_none());
            assert_eq!((cut.crop(), cut.tensor(), cut.bytes()), (input.crop(), input.tensor(), 4 * 4 * 3));
        }
        drop(input);
        assert_eq!(Arc::strong_count(&picture.rgb), 1);
    }

    #[test]
    fn clones_share_what_was_computed() {
        let picture = Picture::from_rgb("grey", RgbImage::from_pixel(4, 5, image::Rgb([90; 3])));
        let input = Recipe::default().apply(&picture).unwrap();
        let clone = input.clone();
        assert!(std::ptr::eq(input.crop(), clone.crop()));
        assert!(input.photograph().is_some_and(|photograph| Arc::ptr_eq(&photograph.rgb, &picture.rgb)));
    }
}
