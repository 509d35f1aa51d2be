//! How pixels that the network never saw are marked.

use std::ops::Range;

use image::{Rgb, RgbImage};

/// The photograph in a margin: nearly without colour, and dark.
pub(super) fn fade(pixel: [u8; 3]) -> [u8; 3] {
    // Rec. 601 luma in integers. A little of the colour stays, so that the margin still reads as the same photograph.
    let [r, g, b] = pixel.map(u32::from);
    let luma = (299 * r + 587 * g + 114 * b) / 1000;
    pixel.map(|v| ((u32::from(v) + 5 * luma) / 12) as u8)
}

/// A heat map's margin, where there is no photograph to fade: diagonal stripes in two dark greys, which no colormap contains
/// as a pattern. `stripe` is their width in pixels, measured along a row.
pub(super) fn hatch(x: usize, y: usize, stripe: usize) -> [u8; 3] {
    if ((x + y) / stripe).is_multiple_of(2) { [44; 3] } else { [58; 3] }
}

/// Width of the frame's lines for a picture of this size: visible when the picture is shown scaled to a screen.
pub(super) fn line_width(width: u32, height: u32) -> usize {
    (width.min(height) as usize).div_ceil(256)
}

/// Draws a frame round the seen window. It lies in the margin, so that it hides nothing that was seen; a side without a margin
/// has no line.
pub(super) fn frame(picture: &mut RgbImage, columns: &Range<usize>, rows: &Range<usize>) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let line = line_width(picture.width(), picture.height());
    let grow = |seen: &Range<usize>, end: usize| seen.start.saturating_sub(line)..(seen.end + line).min(end);
    let (outer_columns, outer_rows) = (grow(columns, width), grow(rows, height));
    for y in outer_rows {
        let mut paint = |xs: Range<usize>| xs.for_each(|x| picture.put_pixel(x as u32, y as u32, Rgb([236; 3])));
        if rows.contains(&y) {
            paint(outer_columns.start..columns.start);
            paint(columns.end..outer_columns.end);
        } else {
            paint(outer_columns.clone());
        }
    }
}
