//! Pictures of maps: values from torch, matplotlib, Pillow and OpenCV (`tests/goldens/make_render.py`), and properties.

use camshaft::cam::{Map, MapError, Normalisation};
use camshaft::input::CropTransform;
use camshaft::render::{Alpha, Colormap, RenderError, Scene, Style, View};
use image::{Rgb, RgbImage};
use serde_json::Value;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/goldens/render/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn info() -> Value {
    serde_json::from_slice(&golden("goldens.json")).unwrap()
}

fn floats() -> Vec<f32> {
    golden("goldens.f32").as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn number(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}")) as usize
}

/// Fails on NaN; names the worst element.
fn assert_close(got: &[f32], want: &[f32], allowed: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let close = |g: f32, w: f32| g == w || (w.is_finite() && (g - w).abs() <= allowed);
    let wrong = got.iter().zip(want).enumerate().filter(|(_, (g, w))| !close(**g, **w));
    let worst = wrong.max_by(|a, b| (a.1.0 - a.1.1).abs().total_cmp(&(b.1.0 - b.1.1).abs()));
    assert!(worst.is_none(), "{what}: index, (got, want) {worst:?}, allowed {allowed:e}");
}

/// Bilinear enlargement from its definition, each pixel alone, all in f64.
fn upsample_by_definition(map: &Map, h: usize, w: usize) -> Vec<f32> {
    let axis = |i: usize, from: usize, to: usize| {
        let position = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (position.floor() as usize).min(from - 1);
        (low, (low + 1).min(from - 1), position - low as f64)
    };
    let at = |y: usize, x: usize| f64::from(map.data()[y * map.w() + x]);
    let mut out = Vec::new();
    for y in 0..h {
        let (y0, y1, v) = axis(y, map.h(), h);
        for x in 0..w {
            let (x0, x1, u) = axis(x, map.w(), w);
            let (top, bottom) = (at(y0, x0) * (1.0 - u) + at(y0, x1) * u, at(y1, x0) * (1.0 - u) + at(y1, x1) * u);
            out.push((top * (1.0 - v) + bottom * v) as f32);
        }
    }
    out
}

/// A map with one high corner region and some negative values; not symmetric in any way.
fn bump(h: usize, w: usize) -> Map {
    let value = |i: usize| ((i * i * 7 + i * 3) % 23) as f32 - 6.0 + (i % w) as f32 / 8.0;
    Map::new(h, w, (0..h * w).map(value).collect())
}

fn gradient(w: u32, h: u32) -> RgbImage {
    RgbImage::from_fn(w, h, |x, y| Rgb([(x * 255 / w) as u8, (y * 255 / h) as u8, ((x * 3 + y * 5) % 256) as u8]))
}

/// torchvision's transform for a photograph of this size.
fn standard(w: u32, h: u32) -> CropTransform {
    let short = w.min(h);
    let resized = (256 * w / short, 256 * h / short);
    let offset = (((resized.0 - 224) / 2) as i32, ((resized.1 - 224) / 2) as i32);
    CropTransform { original: (w, h), resized, offset, crop: (224, 224) }
}

fn style(colormap: Colormap, alpha: f32) -> Style {
    Style { colormap, alpha: Alpha::new(alpha).unwrap(), normalisation: Normalisation::MinMax }
}

#[test]
fn upsampling_agrees_with_torch_and_the_definition() {
    let (info, floats) = (info(), floats());
    let cases = info["upsample"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let [h, w, to_h, to_w, step] = ["h", "w", "to_h", "to_w", "step"].map(|key| number(case, key));
        let map = Map::new(h, w, floats[number(case, "in")..][..h * w].to_vec());
        let big = map.upsample(to_h, to_w);
        assert_eq!((big.h(), big.w()), (to_h, to_w));
        // Values reach 16 and their differences 24. Ours: a weight rounded to f32 and three roundings of a mix, twice over. torch
        // in addition rounds the position (up to 13, so 2^-21 of a cell) before it takes the weight from it.
        let largest = map.data().iter().fold(0.0, |m: f32, v| m.max(v.abs()));
        let exact = upsample_by_definition(&map, to_h, to_w);
        assert_close(big.data(), &exact, largest * 4.0 * f32::EPSILON, &format!("definition {case}"));
        let kept: Vec<f32> = big.data().chunks(to_w).step_by(step).flatten().copied().collect();
        let torch = &floats[number(case, "out")..][..kept.len()];
        assert_close(&kept, torch, largest * 24.0 * f32::EPSILON, &format!("torch {case}"));
    }
}

#[test]
fn upsampling_keeps_what_it_must() {
    let map = bump(5, 3);
    assert_eq!(map.upsample(5, 3), map);
    assert_eq!(Map::new(1, 1, vec![-2.5]).upsample(3, 4).data(), [-2.5; 12]);
    assert_eq!(map.upsample(0, 4).data().len(), 0);
    assert_eq!(map.upsample(4, 0).data().len(), 0);
    let (small, range) = (map.stats().unwrap(), map.upsample(64, 64).stats().unwrap());
    assert!(small.min <= range.min && range.max <= small.max);
    // A NaN stays visible, and an empty map gives no numbers that look like data.
    let holed = Map::new(2, 2, vec![0.0, f32::NAN, 1.0, 2.0]);
    assert!(holed.upsample(8, 8).data().iter().any(|v| v.is_nan()));
    assert!(Map::new(0, 0, vec![]).upsample(2, 2).data().iter().all(|v| v.is_nan()));
}

#[test]
fn normalisations_by_hand() {
    let map = Map::new(2, 2, vec![-2.0, 0.0, 2.0, 6.0]);
    let by = |map: &Map, n: Normalisation| map.normalise(n).unwrap().data().to_vec();
    assert_eq!(by(&map, Normalisation::MinMax), [0.0, 0.25, 0.5, 1.0]);
    assert_eq!(by(&map, Normalisation::ReluMinMax), [0.0, 0.0, 2.0 / 6.0, 1.0]);
    assert_eq!(by(&map, Normalisation::None), map.data());
    // After the ReLU the least value still becomes 0, as min-max says.
    assert_eq!(by(&Map::new(1, 3, vec![1.0, 2.0, 3.0]), Normalisation::ReluMinMax), [0.0, 0.5, 1.0]);
    for constant in [-3.0, 0.0, 3.0, f32::MAX, 1e-45] {
        let flat = Map::new(2, 1, vec![constant; 2]);
        assert_eq!(by(&flat, Normalisation::MinMax), [0.0; 2], "{constant}");
        assert_eq!(by(&flat, Normalisation::ReluMinMax), [0.0; 2], "{constant}");
        assert_eq!(by(&flat, Normalisation::None), [constant; 2]);
    }
    assert_eq!(by(&Map::new(1, 2, vec![-5.0, -1.0]), Normalisation::ReluMinMax), [0.0; 2]);
    // Ranges that overflow f32, and that are smaller than its least normal number.
    assert_eq!(by(&Map::new(1, 3, vec![f32::MIN, 0.0, f32::MAX]), Normalisation::MinMax), [0.0, 0.5, 1.0]);
    assert_eq!(by(&Map::new(1, 2, vec![0.0, 1e-45]), Normalisation::MinMax), [0.0, 1.0]);
}

#[test]
fn values_that_are_not_finite_are_errors() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let map = Map::new(2, 3, vec![0.0, 1.0, 2.0, 3.0, bad, 5.0]);
        for n in Normalisation::ALL {
            assert!(matches!(map.normalise(*n), Err(MapError::NotFinite { x: 1, y: 1, .. })), "{n} {bad}");
        }
        assert!(matches!(map.stats(), Err(MapError::NotFinite { x: 1, y: 1, .. })));
        let (photo, seen, transform) = (gradient(300, 256), gradient(224, 224), standard(300, 256));
        for view in View::ALL {
            let scene = Scene::new(*view, &photo, &seen, &transform).unwrap();
            for drawn in [scene.overlay(&map, &Style::default()), scene.heatmap(&map, &Style::default())] {
                let message = drawn.unwrap_err().to_string();
                assert!(message.contains("column 1, row 1") && message.contains(&bad.to_string()), "{message}");
            }
        }
    }
    let empty = Map::new(0, 4, vec![]);
    assert!(matches!(empty.stats(), Err(MapError::Empty { h: 0, w: 4 })));
    assert!(matches!(empty.normalise(Normalisation::None), Err(MapError::Empty { .. })));
}

#[test]
fn statistics_by_hand() {
    let stats = Map::new(2, 3, vec![1.0, -4.0, 7.0, 7.0, 0.0, 1.0]).stats().unwrap();
    assert_eq!((stats.min, stats.max, stats.mean, stats.argmax), (-4.0, 7.0, 2.0, (2, 0)));
    // Squares of the distances from 2: 1, 36, 25, 25, 4, 1.
    assert_close(&[stats.std], &[(92.0f64 / 6.0).sqrt() as f32], 1e-6, "std");
    let json = serde_json::to_value(stats).unwrap();
    assert_eq!(json["argmax"], serde_json::json!([2, 0]));
}

#[test]
fn tables_equal_those_of_matplotlib_and_opencv() {
    let (info, bytes) = (info(), golden("tables.bin"));
    let names: Vec<&str> = info["tables"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(names.len(), Colormap::ALL.len());
    for (name, want) in names.iter().zip(bytes.as_chunks::<768>().0) {
        let colormap: Colormap = name.parse().unwrap();
        let got = colormap.table().as_flattened();
        if colormap == Colormap::Gray {
            // matplotlib cuts fractions off and so loses some greys, such as 33; ours has all 256.
            assert!(got.iter().zip(want).all(|(g, w)| g - w <= 1) && got.is_sorted() && got[255] == 85, "{name}");
        } else {
            assert!(got == want, "{name}");
        }
    }
    // Ends as published, so that a wrong golden does not go unseen.
    let ends = |c: Colormap| (c.table()[0], c.table()[255]);
    assert_eq!(ends(Colormap::Jet), ([0, 0, 127], [127, 0, 0]));
    assert_eq!(ends(Colormap::JetOpencv), ([0, 0, 128], [128, 0, 0]));
    assert_eq!(ends(Colormap::Viridis), ([68, 1, 84], [253, 231, 36]));
    assert_eq!(ends(Colormap::Gray), ([0; 3], [255; 3]));
}

#[test]
fn values_take_the_entry_that_matplotlib_gives_them() {
    let (info, floats, want) = (info(), floats(), golden("lookup.bin"));
    let values = &floats[number(&info["lookup"], "at")..][..number(&info["lookup"], "count")];
    assert_eq!(values.len(), want.len() / 3);
    for (value, want) in values.iter().zip(want.as_chunks::<3>().0) {
        assert_eq!(Colormap::Viridis.color(*value), Some(*want), "{value:e}");
    }
    assert_eq!(Colormap::Jet.color(f32::NAN), None);
    assert_eq!(Colormap::Gray.color(f32::INFINITY), Some([255; 3]));
}

/// `photo` of `make_render.py`.
fn photo(w: u32, h: u32) -> RgbImage {
    RgbImage::from_fn(w, h, |x, y| Rgb([0, 1, 2].map(|c| ((x * 7 + y * 13 + c * 29) ^ (x * y / 16)) as u8)))
}

#[test]
fn the_seed_view_reproduces_the_seed_article() {
    let (info, floats) = (info(), floats());
    for (i, case) in info["seed"].as_array().unwrap().iter().enumerate() {
        let [w, h, step, at] = ["w", "h", "step", "map"].map(|key| number(case, key));
        let map = Map::new(7, 7, floats[at..][..49].to_vec());
        let (photo, seen) = (photo(w as u32, h as u32), gradient(224, 224));
        let scene = Scene::new(View::Seed, &photo, &seen, &standard(w as u32, h as u32)).unwrap();
        // Another style must make no difference in this view.
        let overlay = scene.overlay(&map, &style(Colormap::Gray, 1.0)).unwrap();
        let bytes = golden(&format!("seed{i}.bin"));
        let (_, want) = bytes.split_at(bytes.len() / 2);
        let got: Vec<u8> = overlay.as_raw().chunks(224 * 3).step_by(step).flatten().copied().collect();
        assert_eq!(got.len(), want.len());
        // Neighbours in the table are at most 0.5 / 0.11 / 255 = 0.0178 apart in a channel (the slope of blue at the low end and of
        // red at the high one): half of that is 2.3 of 255, 3 after rounding. Few values lie so close to a boundary between
        // entries that f32 can move them across.
        let differ: Vec<u8> = got.iter().zip(want).map(|(g, w)| g.abs_diff(*w)).filter(|d| *d > 0).collect();
        assert!(differ.iter().all(|d| *d <= 3), "{case}: {differ:?}");
        assert!(differ.len() * 1000 <= got.len(), "{case}: {} of {} differ", differ.len(), got.len());
    }
}

#[test]
fn the_seed_views_base_has_pillows_bytes() {
    let info = info();
    for (i, case) in info["seed"].as_array().unwrap().iter().enumerate() {
        let [w, h, step] = ["w", "h", "step"].map(|key| number(case, key));
        let bytes = golden(&format!("seed{i}.bin"));
        let (want, _) = bytes.split_at(bytes.len() / 2);
        let (photo, seen) = (photo(w as u32, h as u32), gradient(224, 224));
        let scene = Scene::new(View::Seed, &photo, &seen, &standard(w as u32, h as u32)).unwrap();
        // A constant map is jet's lowest colour everywhere, (0, 0, 0.5), at half opacity.
        let overlay = scene.overlay(&Map::new(1, 1, vec![0.0]), &Style::default()).unwrap();
        let got: Vec<u8> = overlay.as_raw().chunks(224 * 3).step_by(step).flatten().copied().collect();
        let level = |c: usize| if c == 2 { 127.5 } else { 0.0 };
        let want: Vec<u8> =
            want.iter().enumerate().map(|(i, v)| (f64::from(*v) * 0.5 + level(i % 3) * 0.5 + 0.5).floor() as u8).collect();
        assert!(got == want, "{case}");
    }
}

#[test]
fn crop_view_blends_the_seen_pixels() {
    let (photo, transform) = (gradient(320, 256), CropTransform { crop: (24, 16), ..standard(320, 256) });
    let seen = gradient(24, 16);
    let map = bump(3, 5);
    let scene = Scene::new(View::Crop, &photo, &seen, &transform).unwrap();
    assert_eq!((scene.view(), scene.size()), (View::Crop, (24, 16)));
    let big = upsample_by_definition(&map, 16, 24);
    let (low, high) = big.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    let table = Colormap::Magma.table();
    let heat = scene.heatmap(&map, &style(Colormap::Magma, 0.3)).unwrap();
    let overlay = scene.overlay(&map, &style(Colormap::Magma, 0.3)).unwrap();
    let mut used = std::collections::HashSet::new();
    for (i, (pixel, mixed)) in heat.pixels().zip(overlay.pixels()).enumerate() {
        let exact = f64::from(big[i] - low) / f64::from(high - low) * 256.0;
        // Rounding may move a value that lies on a boundary to the entry beside it.
        let entries = [exact - 1e-3, exact + 1e-3].map(|v| (v.max(0.0) as usize).min(255));
        let entry = *entries.iter().find(|e| table[**e] == pixel.0).unwrap_or_else(|| panic!("pixel {i}: {pixel:?}, {exact}"));
        used.insert(entry);
        let base = seen.as_raw();
        for c in 0..3 {
            let want = f64::from(base[3 * i + c]) * 0.7 + f64::from(table[entry][c]) * 0.3;
            assert!((f64::from(mixed.0[c]) - want).abs() <= 0.501, "pixel {i} channel {c}: {} for {want}", mixed.0[c]);
        }
    }
    assert!(used.contains(&0) && used.contains(&255) && used.len() > 40, "the whole range is used: {used:?}");
}

#[test]
fn alpha_is_the_opacity_of_the_heat_map() {
    let (photo, seen, transform) = (gradient(300, 256), gradient(224, 224), standard(300, 256));
    let scene = Scene::new(View::Crop, &photo, &seen, &transform).unwrap();
    let map = bump(7, 7);
    assert!(scene.overlay(&map, &style(Colormap::Jet, 0.0)).unwrap() == seen);
    let heat = scene.heatmap(&map, &style(Colormap::Jet, 0.2)).unwrap();
    assert!(scene.overlay(&map, &style(Colormap::Jet, 1.0)).unwrap() == heat);
    for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(Alpha::new(bad).is_err(), "{bad}");
    }
    assert!("half".parse::<Alpha>().unwrap_err().to_string().contains("half"));
    assert_eq!("0.25".parse::<Alpha>().unwrap().get(), 0.25);
}

/// In the original view, at each pixel that the crop covers, the colour is that of the map at the pixel's place in the crop.
#[test]
fn original_view_puts_the_map_back_where_it_was_seen() {
    let map = bump(7, 7);
    let style = style(Colormap::Gray, 1.0);
    for (w, h) in [(640, 480), (300, 700), (256, 256), (91, 60), (1500, 400), (224, 230)] {
        let (photo, seen, transform) = (gradient(w, h), gradient(224, 224), standard(w, h));
        let scene = Scene::new(View::Original, &photo, &seen, &transform).unwrap();
        assert_eq!(scene.size(), (w, h));
        let overlay = scene.overlay(&map, &style).unwrap();
        let shown = upsample_by_definition(&map, 224, 224);
        let (low, high) = shown.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let cell = |position: f64| (position / 32.0 - 0.5).clamp(0.0, 6.0);
        let (mut inside, mut outside) = (0, 0);
        for (x, y, pixel) in overlay.enumerate_pixels() {
            // The resize and the crop, written out anew.
            let sx = (f64::from(x) + 0.5) * f64::from(transform.resized.0) / f64::from(w) - f64::from(transform.offset.0);
            let sy = (f64::from(y) + 0.5) * f64::from(transform.resized.1) / f64::from(h) - f64::from(transform.offset.1);
            let covered = |s: f64| (0.0..224.0).contains(&s);
            if !(covered(sx) && covered(sy)) {
                outside += 1;
                continue;
            }
            inside += 1;
            let (u, v) = (cell(sx), cell(sy));
            let mut value = 0.0;
            for (cy, wy) in [(v.floor(), 1.0 - v.fract()), (v.floor() + 1.0, v.fract())] {
                for (cx, wx) in [(u.floor(), 1.0 - u.fract()), (u.floor() + 1.0, u.fract())] {
                    value += wy * wx * f64::from(map.data()[(cy.min(6.0) * 7.0 + cx.min(6.0)) as usize]);
                }
            }
            let want = ((value - f64::from(low)) / f64::from(high - low) * 256.0).clamp(0.0, 255.0);
            let got = f64::from(pixel.0[0]);
            assert!(
                (got - want.floor()).abs() <= 1.0 && (got + 0.5 - want).abs() <= 0.51,
                "{w}x{h} at {x},{y}: {got} for {want}"
            );
        }
        // The crop's share of the photograph: (224/256)^2 of the central square. A pixel more or less along each side.
        let side = f64::from(w.min(h)) * 0.875;
        assert!((f64::from(inside).sqrt() - side).abs() <= 1.0, "{w}x{h}: {inside} pixels for a square of {side}");
        assert!(outside > 0);
    }
}

#[test]
fn the_margin_of_the_original_view_is_marked() {
    let (photo, seen, transform) = (gradient(640, 480), gradient(224, 224), standard(640, 480));
    let scene = Scene::new(View::Original, &photo, &seen, &transform).unwrap();
    // Alpha 0: what was seen is the photograph itself, and only that.
    let overlay = scene.overlay(&bump(7, 7), &style(Colormap::Jet, 0.0)).unwrap();
    // 640x480 -> 341x256 -> offset (58, 16): the crop is 108.86..529.3 by 30..450.
    let (columns, rows) = (109..529, 30..450);
    for (x, y, pixel) in overlay.enumerate_pixels() {
        let original = photo.get_pixel(x, y);
        if columns.contains(&x) && rows.contains(&y) {
            assert_eq!(pixel, original, "seen, at {x},{y}");
        } else if (107..531).contains(&x) && (28..452).contains(&y) {
            assert_eq!(pixel.0, [236; 3], "frame, at {x},{y}");
        } else {
            let spread = |p: &Rgb<u8>| p.0.iter().max().unwrap() - p.0.iter().min().unwrap();
            let light = |p: &Rgb<u8>| 0.299 * f64::from(p.0[0]) + 0.587 * f64::from(p.0[1]) + 0.114 * f64::from(p.0[2]);
            assert!(spread(pixel) <= spread(original) / 10 + 1, "grey, at {x},{y}: {original:?} -> {pixel:?}");
            assert!((light(pixel) - light(original) / 2.0).abs() <= 2.0, "dark, at {x},{y}: {original:?} -> {pixel:?}");
        }
    }
    let heat = scene.heatmap(&bump(7, 7), &Style::default()).unwrap();
    assert!([44, 58].contains(&heat.get_pixel(0, 0).0[0]));
    assert_eq!(heat.get_pixel(108, 200).0, [236; 3]);
}

#[test]
fn a_crop_larger_than_the_picture_covers_all_of_it() {
    // 100x60, not resized, padded to 224x224: the map's middle lies on the picture.
    let transform = CropTransform { original: (100, 60), resized: (100, 60), offset: (-62, -82), crop: (224, 224) };
    let (photo, seen) = (gradient(100, 60), gradient(224, 224));
    let scene = Scene::new(View::Original, &photo, &seen, &transform).unwrap();
    assert!(scene.overlay(&bump(7, 7), &style(Colormap::Jet, 0.0)).unwrap() == photo);
    // Values that grow by one per crop pixel show where it was cut: column x of the picture is column x + 62 of the crop.
    let ramp = Map::new(1, 224, (0..224).map(|x| x as f32).collect());
    let heat = scene.heatmap(&ramp, &style(Colormap::Gray, 1.0)).unwrap();
    for x in 0..100 {
        assert_eq!(u32::from(heat.get_pixel(x, 30).0[0]), (x + 62) * 256 / 223, "{x}");
    }
}

#[test]
fn pictures_that_do_not_belong_together_are_refused() {
    let (photo, seen, transform) = (gradient(300, 256), gradient(224, 224), standard(300, 256));
    let squashed = gradient(224, 224);
    for view in View::ALL {
        let error = Scene::new(*view, &squashed, &seen, &transform).err().unwrap();
        assert!(matches!(error, RenderError::Mismatch { found: (224, 224), expected: (300, 256), .. }), "{error}");
        let error = Scene::new(*view, &photo, &photo, &transform).err().unwrap();
        assert!(matches!(error, RenderError::Mismatch { found: (300, 256), expected: (224, 224), .. }), "{error}");
        let nothing = RgbImage::new(0, 4);
        let error = Scene::new(*view, &nothing, &seen, &CropTransform { original: (0, 4), ..transform }).err().unwrap();
        assert!(matches!(error, RenderError::Empty { width: 0, height: 4, .. }), "{error}");
    }
}

#[test]
fn extreme_shapes_are_drawn() {
    for (w, h) in [(1, 1), (1, 5000), (5000, 1), (2, 3)] {
        let (photo, seen, transform) = (gradient(w, h), gradient(224, 224), standard(w, h));
        for view in View::ALL {
            let scene = Scene::new(*view, &photo, &seen, &transform).unwrap();
            for map in [bump(7, 7), bump(1, 1), bump(1, 9)] {
                assert_eq!(scene.overlay(&map, &Style::default()).unwrap().dimensions(), scene.size(), "{w}x{h} {view}");
                assert_eq!(scene.heatmap(&map, &Style::default()).unwrap().dimensions(), scene.size(), "{w}x{h} {view}");
            }
        }
    }
    // An impossible transform (a crop of nothing that is in the picture) gives a picture that is all margin.
    let transform = CropTransform { offset: (9000, 0), ..standard(300, 256) };
    let (photo, seen) = (gradient(300, 256), gradient(224, 224));
    let scene = Scene::new(View::Original, &photo, &seen, &transform).unwrap();
    scene.overlay(&bump(7, 7), &Style::default()).unwrap();
}

#[test]
fn names_are_read_and_misspellings_helped() {
    for c in Colormap::ALL {
        assert_eq!(c.to_string().parse::<Colormap>().unwrap(), *c);
    }
    for v in View::ALL {
        assert_eq!(v.to_string().parse::<View>().unwrap(), *v);
    }
    for n in Normalisation::ALL {
        assert_eq!(n.to_string().parse::<Normalisation>().unwrap(), *n);
    }
    let message = |name: &str| name.parse::<Colormap>().unwrap_err().to_string();
    assert_eq!(
        message("virdis"),
        "unknown colormap `virdis`, did you mean `viridis`? known: jet, jet-opencv, turbo, viridis, inferno, magma, gray"
    );
    assert!(message("Jet").contains("did you mean `jet`"));
    assert!(!message("zzz").contains("did you mean") && message("zzz").contains("turbo"));
    assert!("max-min".parse::<Normalisation>().unwrap_err().to_string().starts_with("unknown normalisation `max-min`"));
}
