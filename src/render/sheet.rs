//! A contact sheet: pictures side by side, with words above each.

use std::borrow::Cow;

use image::{Rgb, RgbImage, imageops};

use super::{RenderError, text};
use crate::input::{Interpolation, resize};

/// Longest side of a picture on a sheet; larger ones are reduced.
const SIDE: u32 = 320;
const GAP: u32 = 8;
const PAPER: Rgb<u8> = Rgb([250; 3]);

/// A picture of a sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    /// What is shown.
    pub picture: RgbImage,
    /// What stands above it, line by line; what is longer than the picture is wide is cut off.
    pub lines: Vec<String>,
}

/// Lays out rows of tiles, `None` leaving a place empty. Every place is as large as the largest picture; pictures whose longer
/// side has more than 320 pixels are reduced to that first.
///
/// # Errors
/// If there is no picture, one is empty, or the sheet would have more than 2^28 pixels.
pub fn sheet(rows: &[Vec<Option<Tile>>]) -> Result<RgbImage, RenderError> {
    const MOST: u64 = 1 << 28;
    let tiles = || rows.iter().flatten().flatten();
    let reduced = tiles().map(|tile| reduced(&tile.picture)).collect::<Result<Vec<_>, _>>()?;
    let width = reduced.iter().map(|picture| picture.width()).max().unwrap_or(0);
    let height = reduced.iter().map(|picture| picture.height()).max().unwrap_or(0);
    let lines = tiles().map(|tile| tile.lines.len()).max().unwrap_or(0) as u32;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u64;
    let (across, down) = (width + GAP, height + lines * text::LINE + GAP);
    let size = [columns * u64::from(across) + u64::from(GAP), rows.len() as u64 * u64::from(down) + u64::from(GAP)];
    let [w, h] = size.map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    if reduced.is_empty() || size[0].saturating_mul(size[1]) > MOST {
        return Err(RenderError::Sheet { tiles: reduced.len(), width: size[0], height: size[1] });
    }
    let mut sheet = RgbImage::from_pixel(w, h, PAPER);
    let mut pictures = reduced.iter();
    for (row, tiles) in rows.iter().enumerate() {
        for (column, tile) in tiles.iter().enumerate() {
            let (Some(tile), at) = (tile, (GAP + column as u32 * across, GAP + row as u32 * down)) else { continue };
            let Some(picture) = pictures.next() else { continue };
            for (line, words) in tile.lines.iter().enumerate() {
                text::write(&mut sheet, (at.0, at.1 + line as u32 * text::LINE), width, words);
            }
            imageops::replace(&mut sheet, &**picture, i64::from(at.0), i64::from(at.1 + lines * text::LINE));
        }
    }
    Ok(sheet)
}

fn reduced(picture: &RgbImage) -> Result<Cow<'_, RgbImage>, RenderError> {
    let (w, h) = picture.dimensions();
    if w == 0 || h == 0 {
        return Err(RenderError::Empty { what: "tile", width: w, height: h });
    }
    let longest = w.max(h);
    if longest <= SIDE {
        return Ok(Cow::Borrowed(picture));
    }
    let side = |side: u32| (u64::from(side) * u64::from(SIDE)).div_ceil(u64::from(longest)) as u32;
    Ok(Cow::Owned(resize("a tile of the sheet", picture, (side(w), side(h)), Interpolation::Bilinear)?))
}
