//! A picture that maps can be drawn on, and only where they belong.

use std::borrow::Cow;

use image::RgbImage;
use rayon::prelude::*;

use super::colormap::index;
use super::layout::Layout;
use super::{Colormap, Mark, RenderError, Style, View, jet, margin, mark, seed};
use crate::cam::{Map, PixelBox};
use crate::input::CropTransform;

/// The pixels of one view of a photograph, with the way from a map's cells to them.
///
/// A scene is made from the photograph, the crop that the network saw and the transform between the two, and refuses pictures
/// whose sizes the transform contradicts. So a map is drawn on the crop it belongs to, or on that crop's place in the
/// photograph; over a squashed photograph only in [`View::Seed`], which says so.
///
/// A scene can be drawn several times, once for each class. Drawing takes one picture of the view's size beside the scene, is
/// done row by row on rayon's threads, and does not depend on their number.
pub struct Scene<'a> {
    view: View,
    base: Cow<'a, RgbImage>,
    layout: Layout,
    transform: CropTransform,
    /// Size `(width, height)` at which the range for the normalisation is taken.
    reference: (u32, u32),
}

impl<'a> Scene<'a> {
    /// The `view` of `photo` (upright, full resolution), of which the network saw `seen` (before normalisation).
    ///
    /// # Errors
    /// If a picture is empty or its size is not the one in `transform`.
    pub fn new(view: View, photo: &'a RgbImage, seen: &'a RgbImage, transform: &CropTransform) -> Result<Self, RenderError> {
        check("photograph", photo, transform.original)?;
        let crop = Self::of_crop(seen, transform)?;
        let (base, layout, reference) = match view {
            View::Crop => return Ok(crop),
            View::Original => (Cow::Borrowed(photo), Layout::in_original(transform), transform.crop),
            View::Seed => {
                let size = (seed::SIDE, seed::SIDE);
                (Cow::Owned(seed::squash(photo)?), Layout::whole(size), size)
            }
        };
        Ok(Self { view, base, layout, transform: *transform, reference })
    }

    /// The view [`View::Crop`], which needs no photograph beside the pixels that the network has `seen`.
    ///
    /// # Errors
    /// If the crop is empty or its size is not the one in `transform`.
    pub fn of_crop(seen: &'a RgbImage, transform: &CropTransform) -> Result<Self, RenderError> {
        check("crop", seen, transform.crop)?;
        let layout = Layout::whole(transform.crop);
        Ok(Self { view: View::Crop, base: Cow::Borrowed(seen), layout, transform: *transform, reference: transform.crop })
    }

    /// Which view it is.
    pub fn view(&self) -> View {
        self.view
    }

    /// Width and height of the pictures, in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.base.dimensions()
    }

    /// The photograph under the coloured `map`. Each channel is `base * (1 - alpha) + colour * alpha` in f32, rounded to the
    /// nearest, halves up.
    ///
    /// The map is up-sampled to the size of the crop to find the range for the normalisation, in the original view as well, so
    /// that a place has one colour in both views. [`View::Seed`] ignores `style` (see [`Style::in_view`]) and mixes matplotlib's
    /// colours before they are cut to bytes; its bytes equal those of a float blend in numpy except where the last bit of the
    /// up-sampling moves a value to the next colour (3 of 255 at most).
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn overlay(&self, map: &Map, style: &Style) -> Result<RgbImage, RenderError> {
        let style = style.in_view(self.view);
        let alpha = style.alpha.get();
        let heat = levels(self.view, style.colormap, alpha);
        let blend = |base: [u8; 3], entry: usize| {
            let heat = heat[entry];
            [0, 1, 2].map(|c| (f32::from(base[c]) * (1.0 - alpha) + heat[c] + 0.5) as u8)
        };
        self.draw(map, &style, blend, |base, _, _| margin::fade(base))
    }

    /// The coloured `map` alone, in the same place and with the same colours as [`Scene::overlay`].
    ///
    /// # Errors
    /// If the map is empty or holds a value that is not finite.
    pub fn heatmap(&self, map: &Map, style: &Style) -> Result<RgbImage, RenderError> {
        let style = style.in_view(self.view);
        let table = style.colormap.table();
        let stripe = 4 * margin::line_width(self.base.width(), self.base.height());
        self.draw(map, &style, |_, entry| table[entry], |_, x, y| margin::hatch(x, y, stripe))
    }

    /// Draws boxes with labels on a finished `picture` of this scene, each where its part of the crop lies in this view.
    ///
    /// # Errors
    /// If `picture` has another size than the scene.
    pub fn mark(&self, picture: &mut RgbImage, marks: &[Mark]) -> Result<(), RenderError> {
        check("picture to be marked", picture, self.size())?;
        let here = |found: &Mark| Mark { bounds: self.place(&found.bounds), words: found.words.clone() };
        mark::draw(picture, &marks.iter().map(here).collect::<Vec<_>>())
    }

    /// A box of the crop in pixels of this view, as far as it lies in the photograph.
    fn place(&self, bounds: &PixelBox) -> PixelBox {
        match self.view {
            View::Crop => *bounds,
            View::Original => bounds.in_original(&self.transform),
            // The crop's map is stretched over all of it.
            View::Seed => {
                let (width, height) = self.size();
                let (x, y) =
                    (f64::from(width) / f64::from(self.transform.crop.0), f64::from(height) / f64::from(self.transform.crop.1));
                PixelBox { x0: bounds.x0 * x, y0: bounds.y0 * y, x1: bounds.x1 * x, y1: bounds.y1 * y }
            }
        }
    }

    /// Colours each covered pixel by `seen(base, table entry)` and each other by `unseen(base, x, y)`.
    fn draw(
        &self,
        map: &Map,
        style: &Style,
        seen: impl Fn([u8; 3], usize) -> [u8; 3] + Sync,
        unseen: impl Fn([u8; 3], usize, usize) -> [u8; 3] + Sync,
    ) -> Result<RgbImage, RenderError> {
        // The map itself is checked first, so that an error names the cell that is at fault.
        map.stats()?;
        let shown = map.upsample(self.reference.1 as usize, self.reference.0 as usize).stats()?;
        let scale = style.normalisation.scale(&shown);
        let Layout { columns, rows, .. } = &self.layout;
        let sampler = self.layout.sampler(map);

        let (width, height) = self.size();
        let mut picture = RgbImage::new(width, height);
        let bytes = width as usize * 3;
        let lines = picture.par_chunks_exact_mut(bytes).zip(self.base.par_chunks_exact(bytes)).enumerate();
        lines.for_each_init(
            || (Vec::new(), vec![0.0; columns.len()]),
            |(scratch, values), (y, (out, base))| {
                let row_seen = rows.contains(&y);
                if row_seen {
                    sampler.row(y - rows.start, scratch, values);
                }
                for (x, (out, base)) in out.as_chunks_mut::<3>().0.iter_mut().zip(base.as_chunks::<3>().0).enumerate() {
                    *out = if row_seen && columns.contains(&x) {
                        seen(*base, index(scale.apply(values[x - columns.start])))
                    } else {
                        unseen(*base, x, y)
                    };
                }
            },
        );
        margin::frame(&mut picture, columns, rows);
        Ok(picture)
    }
}

/// The colormap's part of a blend: colours from `0.0..=255.0`, times alpha.
fn levels(view: View, colormap: Colormap, alpha: f32) -> Vec<[f32; 3]> {
    match view {
        View::Seed => jet::MATPLOTLIB.iter().map(|color| color.map(|level| (level * 255.0) as f32 * alpha)).collect(),
        View::Crop | View::Original => colormap.table().iter().map(|color| color.map(|v| f32::from(v) * alpha)).collect(),
    }
}

fn check(what: &'static str, picture: &RgbImage, expected: (u32, u32)) -> Result<(), RenderError> {
    let found @ (width, height) = picture.dimensions();
    if found != expected {
        return Err(RenderError::Mismatch { what, found, expected });
    }
    if width == 0 || height == 0 {
        return Err(RenderError::Empty { what, width, height });
    }
    Ok(())
}
