//! `camshaft cam`: what the pictures show.

use super::program::{Bench, png, results};

/// The first class's picture of a kind.
fn artifact(bench: &Bench, out: &str, kind: &str) -> image::RgbImage {
    let manifest = bench.manifest(out);
    let file = results(&manifest["images"][0])[0]["artifacts"][kind].as_str().unwrap().to_owned();
    bench.png(&format!("{out}/{file}"))
}

#[test]
fn each_view_has_its_pixels() {
    let bench = Bench::new();
    bench.file("wide.png", png(3, 640, 320));
    for (view, size) in [("crop", (224, 224)), ("original", (640, 320)), ("seed", (224, 224))] {
        bench.run(["cam", "wide.png", "--top=1", "--view", view, "-o", view]).code(0);
        assert_eq!(artifact(&bench, view, "overlay").dimensions(), size, "{view}");
        assert_eq!(artifact(&bench, view, "heatmap").dimensions(), size, "{view}");
        assert_eq!(bench.manifest(view)["display"]["view"], view);
    }
    // The seed view squashes the picture, so it differs from the crop although it has its size.
    assert_ne!(artifact(&bench, "crop", "overlay"), artifact(&bench, "seed", "overlay"));
}

/// The mistake that must be impossible: the crop's map over the whole photograph.
#[test]
fn the_original_view_marks_what_the_network_did_not_see() {
    let bench = Bench::new();
    bench.file("wide.png", png(3, 640, 320));
    let run = |view: &str, out: &str| {
        bench.run(["cam", "wide.png", "--class=0", "--alpha=1", "--view", view, "-o", out]).code(0);
        artifact(&bench, out, "overlay")
    };
    let (original, crop) = (run("original", "original"), run("crop", "crop"));
    let photo = bench.png("wide.png");
    // 640x320 becomes 512x256; the crop starts at (144, 16) and is 224 wide: 180 to 460 and 20 to 300 of the photograph.
    let inside = |x: u32, y: u32| (183..457).contains(&x) && (23..297).contains(&y);
    let outside = |x: u32, y: u32| !(177..463).contains(&x) || !(17..303).contains(&y);
    let (mut unlike, mut checked) = (0, 0);
    for (x, y, pixel) in original.enumerate_pixels() {
        if inside(x, y) {
            // Opaque: the crop's colours at the same place. Nearest pixel here, hence the allowance.
            let (u, v) = ((x as f32 + 0.5) * 0.8 - 144.0, (y as f32 + 0.5) * 0.8 - 16.0);
            let want = crop.get_pixel(u as u32, v as u32);
            let distance = (0..3).map(|c| pixel[c].abs_diff(want[c])).max().unwrap();
            unlike += u32::from(distance > 16);
            checked += 1;
        } else if outside(x, y) {
            // Faded, without colour of the map.
            let light = |pixel: &image::Rgb<u8>| pixel.0.iter().map(|&v| u32::from(v)).sum::<u32>();
            assert!(light(pixel) <= light(photo.get_pixel(x, y)).max(3 * 80), "({x}, {y}) is not faded: {pixel:?}");
        }
    }
    assert!(unlike * 100 < checked, "{unlike} of {checked} pixels are not the crop's");
}

#[test]
fn every_colormap_is_its_own() {
    let bench = Bench::new();
    bench.file("a.png", png(3, 64, 64));
    let maps = ["jet", "jet-opencv", "turbo", "viridis", "inferno", "magma", "gray"];
    let pictures = maps.map(|map| {
        bench.run(["cam", "a.png", "--top=1", "--save=heatmap", "--colormap", map, "-o", map]).code(0);
        artifact(&bench, map, "heatmap")
    });
    for (i, picture) in pictures.iter().enumerate() {
        assert!(pictures[..i].iter().all(|other| other != picture), "{}", maps[i]);
    }
    let gray = &pictures[6];
    assert!(gray.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    assert!(gray.pixels().any(|pixel| pixel[0] == 0) && gray.pixels().any(|pixel| pixel[0] > 250), "the whole range is used");
}

#[test]
fn alpha_goes_from_the_photograph_to_the_heat_map() {
    let bench = Bench::new();
    bench.file("a.png", png(3, 224, 224));
    let run = |alpha: &str, out: &str| {
        bench.run(["cam", "a.png", "--top=1", "--resize=none", "--alpha", alpha, "-o", out]).code(0);
        artifact(&bench, out, "overlay")
    };
    assert_eq!(run("0", "clear"), bench.png("a.png"));
    assert_eq!(run("1", "opaque"), artifact(&bench, "opaque", "heatmap"));
}
