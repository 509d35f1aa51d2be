//! Overlays with the bytes of torchcam's `overlay_mask` and pytorch-grad-cam's `show_cam_on_image`.

use image::RgbImage;

use super::colormap::index;
use super::{Alpha, Colormap, RenderError};
use crate::cam::{Library, Map};

/// How a library draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LibraryStyle {
    /// Whose way.
    pub library: Library,
    /// Colours.
    pub colormap: Colormap,
    /// Opacity of the heat map. Both libraries count it the other way round: torchcam's `alpha` and pytorch-grad-cam's
    /// `image_weight` are the photograph's share.
    pub alpha: Alpha,
}

impl LibraryStyle {
    /// The library's own choices: matplotlib's jet at 0.3 (`alpha=0.7`), OpenCV's at 0.5.
    pub fn of(library: Library) -> Self {
        match library {
            Library::TorchCam => Self { library, colormap: Colormap::Jet, alpha: Alpha::TORCHCAM },
            Library::GradCam => Self { library, colormap: Colormap::JetOpencv, alpha: Alpha::default() },
        }
    }

    /// The crop under the colours of `shown`, a map of [`Library::enlarge`] at the crop's size.
    ///
    /// torchcam squares the values before it colours them, and cuts off the blend's fraction. pytorch-grad-cam takes the entry
    /// `trunc(255 v)` and divides the whole picture by its brightest sample, so that two pictures cannot be compared.
    ///
    /// # Errors
    /// If the sizes differ or the map is not finite.
    pub fn overlay(&self, crop: &RgbImage, shown: &Map) -> Result<RgbImage, RenderError> {
        let heat = self.heatmap(shown)?;
        if heat.dimensions() != crop.dimensions() {
            return Err(RenderError::Mismatch { what: "crop", found: crop.dimensions(), expected: heat.dimensions() });
        }
        let share = 1.0 - self.alpha.get();
        let pairs = heat.as_raw().iter().zip(crop.as_raw());
        let bytes = match self.library {
            Library::TorchCam => {
                pairs.map(|(&heat, &base)| (f32::from(heat) + share * (f32::from(base) - f32::from(heat))) as u8).collect()
            }
            Library::GradCam => {
                let blend =
                    pairs.map(|(&heat, &base)| (1.0 - share) * (f32::from(heat) / 255.0) + share * (f32::from(base) / 255.0));
                let blend: Vec<f32> = blend.collect();
                let brightest = blend.iter().copied().fold(0.0, f32::max);
                // A black picture under black colours is black, not 0/0.
                let divisor = if brightest == 0.0 { 1.0 } else { brightest };
                blend.into_iter().map(|value| (255.0 * (value / divisor)) as u8).collect()
            }
        };
        picture(shown, bytes)
    }

    /// The colours of `shown` alone, as in [`LibraryStyle::overlay`].
    ///
    /// # Errors
    /// If the map is empty or not finite.
    pub fn heatmap(&self, shown: &Map) -> Result<RgbImage, RenderError> {
        shown.stats()?;
        let table = self.colormap.table();
        let entry = |value: f32| match self.library {
            Library::TorchCam => index(value * value),
            Library::GradCam => usize::from((255.0 * value) as u8),
        };
        picture(shown, shown.data().iter().flat_map(|&value| table[entry(value)]).collect())
    }
}

/// A picture of a map's size.
fn picture(map: &Map, bytes: Vec<u8>) -> Result<RgbImage, RenderError> {
    let (width, height) = (map.w() as u32, map.h() as u32);
    RgbImage::from_raw(width, height, bytes).ok_or(RenderError::Empty { what: "map", width, height })
}
