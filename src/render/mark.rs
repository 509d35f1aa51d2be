//! Boxes with words on a finished picture.

use image::{Rgb, RgbImage, imageops};

use super::{RenderError, margin, text};
use crate::cam::PixelBox;
use crate::input::{Interpolation, resize};

/// A bright line between dark ones can be told from every colour of every colormap, and from a photograph.
const LINE: Rgb<u8> = Rgb([255; 3]);
const EDGE: Rgb<u8> = Rgb([0; 3]);
const PAPER: Rgb<u8> = Rgb([250; 3]);
/// Blank columns on both sides of a label's words.
const SIDE: u32 = 3;
/// Shorter side of a picture, in pixels, that letters are drawn for as they are; on larger ones they grow.
const SMALL: f64 = 448.0;
/// A coordinate that no picture has, small enough to reckon with.
const FAR: f64 = (1u64 << 40) as f64;

/// A box to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where, in pixels of the crop.
    pub bounds: PixelBox,
    /// What its label says; without words it has none.
    pub words: String,
}

/// Pixels from a corner (inclusive) to another (exclusive); they may lie beyond the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rect {
    x0: i64,
    y0: i64,
    x1: i64,
    y1: i64,
}

/// Draws marks whose bounds are pixels of `picture`. The bright line lies inside the bounds. Labels stand above their box where
/// there is room, else inside or below it, and not on one another while there is another place.
pub(super) fn draw(picture: &mut RgbImage, marks: &[Mark]) -> Result<(), RenderError> {
    let (width, height) = picture.dimensions();
    let whole = Rect { x0: 0, y0: 0, x1: width.into(), y1: height.into() };
    let line = margin::line_width(width, height) as i64;
    // A box without area, such as one that lies outside what is shown, has no lines.
    let shown: Vec<(Rect, &str)> =
        marks.iter().filter(|mark| mark.bounds.area() > 0.0).map(|mark| (Rect::of(&mark.bounds), &*mark.words)).collect();
    for (rect, _) in &shown {
        ring(picture, rect.grown(line), rect.grown(-3 * line), EDGE);
        ring(picture, *rect, rect.grown(-2 * line), LINE);
    }
    let mut taken = Vec::new();
    for (rect, words) in shown.iter().filter(|(_, words)| !words.is_empty()) {
        let label = label(words, (width, height))?;
        let size = (i64::from(label.width()), i64::from(label.height()));
        let places = rect.places(size, 4 * line);
        let moved = |place: &Rect| place.moved_into(whole);
        let good = |place: &&Rect| moved(place).y0 == place.y0 && !taken.iter().any(|other| moved(place).meets(other));
        let place = moved(places.iter().find(good).unwrap_or(&places[1]));
        imageops::replace(picture, &label, place.x0, place.y0);
        taken.push(place);
    }
    Ok(())
}

/// Words on paper, as large as a picture of this size needs them and no wider than it.
fn label(words: &str, (width, height): (u32, u32)) -> Result<RgbImage, RenderError> {
    let scale = (f64::from(width.min(height)) / SMALL).max(1.0);
    let scaled = |pixels: u32| (f64::from(pixels) * scale).round() as u32;
    let most = (f64::from(width) / scale) as u32;
    let room = text::width(words).min(most.saturating_sub(2 * SIDE));
    let mut label = RgbImage::from_pixel((room + 2 * SIDE).min(most.max(1)), text::LINE, PAPER);
    text::write(&mut label, (SIDE, 1), room, words);
    if scale > 1.0 {
        label = resize("a label", &label, (scaled(label.width()), scaled(label.height())), Interpolation::Bicubic)?;
    }
    Ok(label)
}

/// Paints what is in `outer` and not in `inner`.
fn ring(picture: &mut RgbImage, outer: Rect, inner: Rect, colour: Rgb<u8>) {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    for y in outer.y0.max(0)..outer.y1.min(height) {
        let hole = if (inner.y0..inner.y1).contains(&y) { inner.x0..inner.x1 } else { 0..0 };
        for x in outer.x0.max(0)..outer.x1.min(width) {
            if !hole.contains(&x) {
                picture.put_pixel(x as u32, y as u32, colour);
            }
        }
    }
}

impl Rect {
    /// The pixels that a box touches; one that goes on without end ends far away from any picture.
    fn of(bounds: &PixelBox) -> Self {
        let [x0, y0] = [bounds.x0, bounds.y0].map(|low| low.floor().clamp(-FAR, FAR) as i64);
        let [x1, y1] = [bounds.x1, bounds.y1].map(|high| high.ceil().clamp(-FAR, FAR) as i64);
        Self { x0, y0, x1, y1 }
    }

    /// With so many pixels more on every side.
    fn grown(self, by: i64) -> Self {
        Self { x0: self.x0 - by, y0: self.y0 - by, x1: self.x1 + by, y1: self.y1 + by }
    }

    fn meets(&self, other: &Self) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }

    /// Where a label of this size may stand, the best place first; `inset` keeps it off the lines.
    fn places(&self, (w, h): (i64, i64), inset: i64) -> [Self; 5] {
        let at = |x0, y0| Self { x0, y0, x1: x0 + w, y1: y0 + h };
        let (left, right) = (self.x0 + inset, self.x1 - inset - w);
        let (top, bottom) = (self.y0 + inset, self.y1 - inset - h);
        [at(self.x0, self.y0 - h), at(left, top), at(self.x0, self.y1), at(right, top), at(left, bottom)]
    }

    /// Moved by as much as it takes to lie within `whole`, from the upper left.
    fn moved_into(self, whole: Self) -> Self {
        let (w, h) = (self.x1 - self.x0, self.y1 - self.y0);
        let x0 = self.x0.min(whole.x1 - w).max(whole.x0);
        let y0 = self.y0.min(whole.y1 - h).max(whole.y0);
        Self { x0, y0, x1: x0 + w, y1: y0 + h }
    }
}
