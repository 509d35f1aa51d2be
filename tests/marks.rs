//! Boxes drawn on pictures of maps: where they lie in each view, and what their labels hide.

use camshaft::cam::PixelBox;
use camshaft::input::CropTransform;
use camshaft::render::{Mark, RenderError, Scene, View};
use image::{Rgb, RgbImage};

const GREY: Rgb<u8> = Rgb([120; 3]);
const LINE: Rgb<u8> = Rgb([255; 3]);
const EDGE: Rgb<u8> = Rgb([0; 3]);
const PAPER: Rgb<u8> = Rgb([250; 3]);

fn mark((x0, y0): (f64, f64), (x1, y1): (f64, f64), words: &str) -> Mark {
    Mark { bounds: PixelBox { x0, y0, x1, y1 }, words: words.to_owned() }
}

/// A grey photograph of this size and the crop of 224 x 224 that is cut from it at 256 pixels.
fn scene_parts(w: u32, h: u32) -> (RgbImage, RgbImage, CropTransform) {
    let short = w.min(h);
    let resized = (256 * w / short, 256 * h / short);
    let offset = (((resized.0 - 224) / 2) as i32, ((resized.1 - 224) / 2) as i32);
    let transform = CropTransform { original: (w, h), resized, offset, crop: (224, 224) };
    (RgbImage::from_pixel(w, h, GREY), RgbImage::from_pixel(224, 224, GREY), transform)
}

/// The grey picture of a view with marks.
fn marked(view: View, size: (u32, u32), marks: &[Mark]) -> RgbImage {
    let (photo, crop, transform) = scene_parts(size.0, size.1);
    let scene = Scene::new(view, &photo, &crop, &transform).unwrap();
    let mut picture = RgbImage::from_pixel(scene.size().0, scene.size().1, GREY);
    scene.mark(&mut picture, marks).unwrap();
    picture
}

/// Columns of a row that have a colour, the first and the last.
fn columns(picture: &RgbImage, y: u32, colour: Rgb<u8>) -> Option<(u32, u32)> {
    let mut found = (0..picture.width()).filter(|&x| *picture.get_pixel(x, y) == colour);
    let first = found.next()?;
    Some((first, found.next_back().unwrap_or(first)))
}

#[test]
fn lines_lie_inside_the_box_and_hide_no_more() {
    let picture = marked(View::Crop, (256, 256), &[mark((20.0, 30.0), (120.0, 90.0), "")]);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let depth = |low: i64, high: i64, at: u32| (i64::from(at) - low).min(high - 1 - i64::from(at));
        // Pixels from the box's edge: below zero outside.
        let want = match depth(20, 120, x).min(depth(30, 90, y)) {
            -1 | 2 => EDGE,
            0 | 1 => LINE,
            _ => GREY,
        };
        assert_eq!(*pixel, want, "column {x}, row {y}");
    }
}

#[test]
fn each_view_has_the_box_in_its_place() {
    let corners = [(56.0, 28.0), (112.0, 168.0)];
    // 512 x 768: half as large as resized to 256 x 384, of which the crop begins at (16, 80).
    let picture = marked(View::Original, (512, 768), &[mark(corners[0], corners[1], "")]);
    assert_eq!(columns(&picture, 300, LINE), Some((2 * 72, 2 * 128 - 1)));
    assert_eq!(columns(&picture, 2 * 108, LINE), Some((2 * 72, 2 * 128 - 1)), "the upper line");
    assert_eq!(columns(&picture, 2 * 108 - 1, LINE), None);
    assert_eq!(columns(&picture, 2 * 248 - 1, LINE), Some((2 * 72, 2 * 128 - 1)), "the lower line");
    assert_eq!(columns(&picture, 2 * 248, LINE), None);
    // The seed view stretches the crop over everything.
    let picture = marked(View::Seed, (512, 768), &[mark(corners[0], corners[1], "")]);
    assert_eq!(columns(&picture, 100, LINE), Some((56, 111)));
}

#[test]
fn what_lies_beyond_the_photograph_is_cut_or_left_out() {
    // A photograph that is padded on the left and right to 224 columns.
    let transform = CropTransform { original: (100, 224), resized: (100, 224), offset: (-62, 0), crop: (224, 224) };
    let (photo, crop) = (RgbImage::from_pixel(100, 224, GREY), RgbImage::from_pixel(224, 224, GREY));
    let scene = Scene::new(View::Original, &photo, &crop, &transform).unwrap();
    let mut picture = photo.clone();
    scene.mark(&mut picture, &[mark((0.0, 10.0), (50.0, 60.0), "nothing")]).unwrap();
    assert_eq!(picture, photo, "a box in the padding");
    scene.mark(&mut picture, &[mark((0.0, 10.0), (100.0, 60.0), "")]).unwrap();
    assert_eq!(columns(&picture, 30, LINE), Some((0, 37)));
    // A box of the whole crop, with a label that finds no room above it.
    let picture = marked(View::Crop, (256, 256), &[mark((0.0, 0.0), (224.0, 224.0), "dog")]);
    assert_eq!(columns(&picture, 0, LINE), Some((0, 223)));
    assert!(columns(&picture, 20, PAPER).is_some());
}

#[test]
fn a_box_without_end_has_the_lines_that_are_in_the_picture() {
    let far = f64::INFINITY;
    let picture = marked(View::Crop, (256, 256), &[mark((20.0, -far), (far, 90.0), "all")]);
    let like = marked(View::Crop, (256, 256), &[mark((20.0, -1e4), (1e4, 90.0), "all")]);
    assert!(picture == like);
    assert_eq!(columns(&picture, 89, LINE), Some((20, 223)));
    marked(View::Original, (256, 256), &[mark((-far, -far), (far, far), "all"), mark((f64::NAN, 0.0), (9.0, 9.0), "none")]);
}

#[test]
fn labels_are_read_on_small_pictures_and_large() {
    for (view, size) in
        [(View::Crop, (256, 256)), (View::Original, (60, 80)), (View::Original, (3000, 2000)), (View::Seed, (90, 70))]
    {
        let picture = marked(view, size, &[mark((100.0, 100.0), (180.0, 180.0), "ladybug")]);
        let paper: Vec<(u32, u32)> =
            picture.enumerate_pixels().filter(|(_, _, pixel)| **pixel == PAPER).map(|(x, y, _)| (x, y)).collect();
        let (top, bottom) = (paper.iter().map(|at| at.1).min().unwrap(), paper.iter().map(|at| at.1).max().unwrap());
        let short = picture.width().min(picture.height());
        // As high as a line of text, or a twenty-eighth of the shorter side.
        let height = (18.0 * f64::from(short) / 448.0).max(18.0) as u32;
        assert!((bottom - top + 1).abs_diff(height) <= 2, "{view} {size:?}: rows {top} to {bottom}, expected {height}");
        let ink = picture.pixels().filter(|pixel| pixel.0[0] < 80 && pixel.0[0] >= 30).count();
        assert!(ink > 30, "{view} {size:?}: {ink} dark pixels of letters");
    }
}

#[test]
fn labels_do_not_cover_each_other() {
    let corner = (40.0, 60.0);
    let marks = [("20 %", 200.0), ("40 %", 180.0), ("60 %", 160.0)].map(|(words, far)| mark(corner, (far, far), words));
    let alone: usize = marks.iter().map(|mark| paper(&marked(View::Crop, (256, 256), std::slice::from_ref(mark)))).sum();
    assert_eq!(paper(&marked(View::Crop, (256, 256), &marks)), alone);
}

fn paper(picture: &RgbImage) -> usize {
    picture.pixels().filter(|pixel| **pixel == PAPER).count()
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let (photo, crop, transform) = scene_parts(300, 256);
    let scene = Scene::new(View::Original, &photo, &crop, &transform).unwrap();
    let error = scene.mark(&mut RgbImage::new(224, 224), &[]).unwrap_err();
    assert!(matches!(error, RenderError::Mismatch { found: (224, 224), expected: (300, 256), .. }), "{error}");
}
