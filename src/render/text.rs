//! Words on a picture.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const SIZE: RasterHeight = RasterHeight::Size16;
const WEIGHT: FontWeight = FontWeight::Regular;
/// Stands for a letter that the font lacks: it has Latin ones only.
const UNKNOWN: char = '?';

/// Height of a line in pixels.
pub(super) const LINE: u32 = SIZE as u32 + 2;

/// Letters that fit into `width` pixels.
pub(super) fn fitting(width: u32) -> usize {
    width as usize / get_raster_width(WEIGHT, SIZE)
}

/// Pixels that a text takes along its line.
pub(super) fn width(text: &str) -> u32 {
    (text.chars().count() * get_raster_width(WEIGHT, SIZE)) as u32
}

/// Writes `text` in dark grey with its upper left corner at `(x, y)`; what does not fit into `width` pixels, or the picture, is
/// left out, with two dots in the place of the last letters that fit.
pub(super) fn write(picture: &mut RgbImage, (x, y): (u32, u32), width: u32, text: &str) {
    const INK: f32 = 34.0;
    let (room, length) = (fitting(width), text.chars().count());
    let kept = if length <= room { length } else { room.saturating_sub(2) };
    let dots = if length <= room { 0 } else { room.min(2) };
    for (at, letter) in text.chars().take(kept).chain(std::iter::repeat_n('.', dots)).enumerate() {
        let raster = get_raster(letter, WEIGHT, SIZE).or_else(|| get_raster(UNKNOWN, WEIGHT, SIZE));
        let Some(raster) = raster else { continue };
        let left = x as usize + at * raster.width();
        for (row, line) in raster.raster().iter().enumerate() {
            for (column, &ink) in line.iter().enumerate() {
                let Some(pixel) = picture.get_pixel_mut_checked((left + column) as u32, y + row as u32) else { continue };
                let share = f32::from(ink) / 255.0;
                *pixel = Rgb(pixel.0.map(|paper| (f32::from(paper) * (1.0 - share) + INK * share + 0.5) as u8));
            }
        }
    }
}
