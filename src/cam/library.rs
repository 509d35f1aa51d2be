//! What torchcam and pytorch-grad-cam make of the same maps, defects included, for those who have to match them.

use super::choice::impl_choice;
use super::{Map, MapError, Method};

/// A library whose numbers are reproduced. What it does otherwise than the papers is listed in `docs/methods.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Library {
    /// torchcam 0.5.0.
    TorchCam,
    /// grad-cam (pytorch-grad-cam) 1.5.7.
    GradCam,
}

impl_choice!(Library, "library");

impl Library {
    /// Every library, in the order shown to users.
    pub const ALL: &'static [Self] = &[Self::TorchCam, Self::GradCam];

    /// The spelling on the command line and in manifests: the package's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchCam => "torchcam",
            Self::GradCam => "grad-cam",
        }
    }

    /// The methods that it has.
    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::TorchCam => {
                const METHODS: [Method; 9] = [
                    Method::Cam,
                    Method::GradCam,
                    Method::XGradCam,
                    Method::GradCamPlusPlus,
                    Method::LayerCam,
                    Method::FinerCam,
                    Method::ScoreCam,
                    Method::SsCam,
                    Method::IsCam,
                ];
                &METHODS
            }
            // All but the first and the last two: cam, sscam, iscam.
            Self::GradCam => &Method::ALL[1..Method::ALL.len() - 2],
        }
    }

    /// What it adds to XGrad-CAM's divisor.
    pub(crate) fn xgrad_guard(self) -> f64 {
        match self {
            Self::TorchCam => 1e-8,
            Self::GradCam => 1e-7,
        }
    }

    /// A map by this library's formulas (see [`super::Evidence::map`]) as the library shows it, at the size of the features: ReLU
    /// except for torchcam's CAM, then `(v - min) / (max + eps)`, in f32. torchcam returns this; pytorch-grad-cam enlarges it.
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn normalise(self, method: Method, map: &Map) -> Result<Map, MapError> {
        map.stats()?;
        let relu = !(self == Self::TorchCam && method == Method::Cam);
        let clipped: Vec<f32> = map.data().iter().map(|&v| if relu { v.max(0.0) } else { v }).collect();
        Ok(Map::new(map.h(), map.w(), self.scale(clipped)))
    }

    /// `(v - min) / (max + eps)`, where the maximum is taken after the subtraction.
    fn scale(self, mut values: Vec<f32>) -> Vec<f32> {
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        values.iter_mut().for_each(|v| *v -= least);
        let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let divisor = match self {
            Self::TorchCam => greatest + 1e-8,
            Self::GradCam => 1e-7 + greatest,
        };
        values.iter_mut().for_each(|v| *v /= divisor);
        values
    }

    /// A map of [`Library::normalise`] at the size of the crop. pytorch-grad-cam: bilinear, then normalised once more, which is
    /// what it returns. torchcam: what its `overlay_mask` draws from, Pillow's bicubic enlargement, which may leave `0..=1`.
    pub fn enlarge(self, map: &Map, h: usize, w: usize) -> Map {
        match self {
            Self::TorchCam => map.resize_bicubic(h, w),
            Self::GradCam => Map::new(h, w, self.scale(map.upsample(h, w).data().to_vec())),
        }
    }
}
