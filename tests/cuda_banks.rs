//! The layouts of shared memory, enumerated: the software device looks at the address of every lane of every access, phase by phase, and
//! counts where two of them need one bank. The addresses of the convolution depend on neither data nor shape, so that blocks of each tile
//! of the table, deep enough to go round its stages, show all of them; that there were so many phases as the layout has says that none was
//! left out. They are two, as where a tile's columns begin in memory depends on its number: either stores whole sectors, and once. Those
//! of the stem and the classifier depend on where rows begin: on all places. Those of the maps and of the eigenvectors depend on sizes: on
//! common ones, and on those where rows are shared among warps in another way.

#![cfg(feature = "cuda")]

mod common;

use std::sync::Mutex;

use camshaft::cam::{Head, Method, Normalisation, Score, Targets};
use camshaft::cuda::variants::{Arithmetic, DIRECT, ImplicitGemm, Tile};
use camshaft::cuda::{
    CamClasses, CamEigen, CamOutput, CamShape, CamUpsample, CamUpsampleArgs, Conv2dArgs, Conv2dDirect, Conv2dImplicitGemm,
    Element, Epilogue, Linear, LinearArgs, LinearInput, LinearShape, Projection, RowsShape, Stem, StemArgs, StemShape,
};
use camshaft::network::{Conv2dShape, Window};
use camshaft::tensor::Nhwc;
use common::cuda::{Buffer, Device, Guarded, Room, install, software, with_settings};
use common::methods::{Batch, asked};
use half::{bf16, f16};
use serde_json::Value;

/// Passes over the banks of a launch's loads and stores, and how many there would be without conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phases {
    loads: u64,
    stores: u64,
}

impl Phases {
    /// Of the only launch since the last call.
    fn of_launch(kernel: &str) -> [Self; 2] {
        let launches = Self::of_launches();
        let [(name, phases)] = &launches[..] else { panic!("one launch: {launches:?}") };
        assert_eq!(name, kernel);
        *phases
    }

    /// Of all launches since the last call, with their kernels' names.
    fn of_launches() -> Vec<(String, [Self; 2])> {
        launches().iter().map(|launch| (launch["kernel"].as_str().expect("a name").to_owned(), Self::of(launch))).collect()
    }

    fn of(launch: &Value) -> [Self; 2] {
        ["wavefronts", "ideal_wavefronts"]
            .map(|field| Self { loads: count(launch, "shared_load", field), stores: count(launch, "shared_store", field) })
    }

    /// What two blocks of the convolution ask for in `tiles` tiles of depth, of which 128 bytes make a phase.
    fn of_tile(tile: &Tile, tiles: u32, projects: bool) -> Self {
        let &Tile { bm, bn, bk, wm, wn, stages } = tile;
        let (warps, across) = (tile.warps(), bn.div_ceil(wn));
        let (mma_m, mma_n, steps) = (wm / 16, wn / 8, bk / 16);
        // 16 bytes a lane, into every stage and once round again.
        let staged = (stages - 1 + tiles) * (bm + bn) * bk * 2 / 128;
        // ldmatrix: a phase for eight rows, four of 16 rows of A, two of eight columns; one step ahead.
        let fragments = warps * (1 + tiles * steps) * (mma_m * 4 + mma_n * 2);
        // The epilogue's rows of f32: written 8 bytes a lane, read 16. Rows that two warps have are the first one's, columns both's.
        let rows = bm * across * wn * 4 / 128;
        // The shortcut's pixels, by the threads that move a tile's rows.
        let pixels = if projects { warps * bm / (warps * 32 / (bk / 8)) } else { 0 };
        Self { loads: (2 * (fragments + rows + pixels)).into(), stores: (2 * (staged + rows + pixels)).into() }
    }
}

/// Since the last call, with their counters.
fn launches() -> Vec<Value> {
    install().take_report()["launches"].as_array().expect("a list of launches").clone()
}

fn count(launch: &Value, access: &str, field: &str) -> u64 {
    launch["counters"][access][field].as_u64().expect("a count")
}

fn shape(image: [usize; 4], k: usize) -> Conv2dShape {
    Conv2dShape::new(image, k, Window { size: (1, 1), stride: 1, pad: 0 }).unwrap()
}

/// Two blocks of `variant`, side by side, their phases and what they store.
fn convolve<T: Element + Guarded>(device: &Device, variant: &'static ImplicitGemm) {
    let tile = &variant.tile;
    let (bm, bn, bk) = (tile.bm as usize, tile.bn as usize, tile.bk as usize);
    let (tiles, shortcut_tiles) = (tile.stages + 1, if variant.projects { 2 } else { 0 });
    let k = 2 * bn;
    let main = shape([1, 1, bm, tiles as usize * bk], k);
    let shortcut = shape([1, 1, bm, 2 * bk], k);
    let zeros = |len: usize| Buffer::<T>::new(device, &vec![0.0; len], Room::Exact);
    let [(x, w), (x0, w0)] = [&main, &shortcut].map(|shape| (zeros(bm * shape.c()), zeros(k * shape.c())));
    let bias = Buffer::<f32>::new(device, &vec![0.0; k], Room::Exact);
    let mut y = Buffer::<T>::output(device, bm * k, Room::Exact);
    let bias = bias.span(device);
    let projection = Projection { shape: &shortcut, x: x0.span(device), w: w0.span(device) };
    let epilogue = if variant.projects { Epilogue::BiasProjectionRelu { bias, projection } } else { Epilogue::BiasRelu { bias } };
    let args = Conv2dArgs { shape: &main, x: x.span(device), w: w.span(device), epilogue, y: y.span_mut(device) };
    install().take_report();
    Conv2dImplicitGemm::new(&device.modules, variant).unwrap().launch(&device.stream, args).unwrap();
    device.stream.synchronize().unwrap();
    let (name, launches) = (variant.name(), launches());
    let [launch] = &launches[..] else { panic!("one launch: {launches:?}") };
    assert_eq!(launch["kernel"], name);
    let [found, without_conflicts] = Phases::of(launch);
    assert_eq!(found, without_conflicts, "bank conflicts of {name}");
    assert_eq!(found, Phases::of_tile(tile, tiles + shortcut_tiles, variant.projects), "phases of {name}");
    assert_eq!(count(launch, "global_store", "bytes"), (bm * k * 2) as u64, "bytes stored by {name}");
    // Of 16 elements. Where a row's chunks go to two instructions of a warp, one more is touched.
    let (sectors, fewest) = (count(launch, "global_store", "sectors"), (bm * 2 * bn.div_ceil(16)) as u64);
    assert!(20 * sectors <= 21 * fewest, "{name} stores to {sectors} sectors, {fewest} would do");
}

fn convolutions(device: &Device) {
    let capability = device.modules.capability();
    let mut seen = 0;
    for arithmetic in [Arithmetic::F16, Arithmetic::F16Sums, Arithmetic::Bf16] {
        for variant in Conv2dImplicitGemm::variants(capability, arithmetic) {
            match arithmetic {
                Arithmetic::Bf16 => convolve::<bf16>(device, variant),
                _ => convolve::<f16>(device, variant),
            }
            seen += 1;
        }
    }
    let table = camshaft::cuda::variants::IMPLICIT_GEMM.iter().filter(|variant| variant.suits(capability)).count();
    assert_eq!(seen, table, "every tile of the table for capability {capability}");
}

/// One block of the f32 convolution, three tiles deep.
fn direct(device: &Device) {
    let kernel = Conv2dDirect::new(&device.modules).unwrap();
    let Tile { bm, bn, bk, wm, wn, .. } = DIRECT;
    let (tiles, warps) = (3, (bm / wm) * (bn / wn));
    // Single words into rows of gemm_k, once more after the last tile; 16 bytes a lane out of them, two of either tile.
    let (stored, loaded) = ((tiles + 1) * (bm + bn) * bk / 32, tiles * warps * bk * 4 * 4);
    for k in [bn, bn - 4] {
        let shape = shape([1, 1, bm as usize, (tiles * bk) as usize], k as usize);
        let zeros = |len: usize| Buffer::<f32>::new(device, &vec![0.0; len], Room::Exact);
        let (x, w) = (zeros(shape.gemm_m() * shape.gemm_k()), zeros(shape.gemm_n() * shape.gemm_k()));
        let mut y = Buffer::<f32>::output(device, shape.gemm_m() * shape.gemm_n(), Room::Exact);
        let (x, w) = (x.span(device), w.span(device));
        install().take_report();
        let args = Conv2dArgs { shape: &shape, x, w, epilogue: Epilogue::None, y: y.span_mut(device) };
        kernel.launch(&device.stream, args).unwrap();
        device.stream.synchronize().unwrap();
        let [found, without_conflicts] = Phases::of_launch(&format!("{}_none", Conv2dDirect::name()));
        assert_eq!(found, without_conflicts, "{shape:?}");
        let expected = Phases { loads: loaded.into(), stores: stored.into() };
        assert_eq!(found, expected, "{shape:?}");
    }
}

/// Rows of images that begin at each of the 16 places in a sector that an f16 may have.
fn stem(device: &Device) {
    let kernel = Stem::<f16>::new(&device.modules).unwrap();
    for w in 121..137 {
        let shape = StemShape { n: 1, h: 9, w, k: 64 };
        let (p, q) = kernel.can_run(&shape).unwrap();
        let zeros = |len: usize| Buffer::<f16>::new(device, &vec![0.0; len], Room::Exact);
        let (x, filter) = (zeros(9 * w * 3), zeros(shape.filter_len()));
        let bias = Buffer::<f32>::new(device, &[0.0; 64], Room::Exact);
        let mut y = Buffer::<f16>::output(device, p * q * 64, Room::Exact);
        let (x, filter, bias) = (x.span(device), filter.span(device), bias.span(device));
        install().take_report();
        kernel.launch(&device.stream, StemArgs { shape: &shape, x, w: filter, bias, y: y.span_mut(device) }).unwrap();
        device.stream.synchronize().unwrap();
        let [found, without_conflicts] = Phases::of_launch("stem_f16_nhwc");
        assert_eq!(found, without_conflicts, "{shape:?}");
        assert!(found.loads > 0 && found.stores > 0);
    }
}

/// Channels that make planes of all lengths modulo the banks, images below and at the tile's.
fn classifier(device: &Device) {
    let kernel = Linear::<f16>::new(&device.modules).unwrap();
    for (n, positions, c) in
        (1..=33).map(|chunks| (1, 49, 8 * chunks)).chain([(1, 49, 512), (1, 4, 2048), (20, 49, 512), (19, 5, 72)])
    {
        let shape = LinearShape { n, positions, c, k: 40 };
        let zeros = |len: usize| Buffer::<f16>::new(device, &vec![0.0; len], Room::Exact);
        let (x, w) = (zeros(n * positions * c), zeros(40 * c));
        let bias = Buffer::<f32>::new(device, &[0.0; 40], Room::Exact);
        let mut y = Buffer::<f32>::output(device, n * 40, Room::Exact);
        let mut mean = Buffer::<f32>::output(device, n * c, Room::Exact);
        let input = LinearInput::Features { x: x.span(device), mean: mean.span_mut(device) };
        install().take_report();
        kernel
            .launch(
                &device.stream,
                LinearArgs { shape, input, w: w.span(device), bias: bias.span(device), y: y.span_mut(device) },
            )
            .unwrap();
        device.stream.synchronize().unwrap();
        let [found, without_conflicts] = Phases::of_launch("linear_f16");
        assert_eq!(found, without_conflicts, "{shape:?}");
        assert!(found.loads > 0 && found.stores > 0);
    }
}

/// Maps of which a warp has one row at a time, of which it has several, and those whose pixels lie apart; in one slice and in several, as
/// values and as overlays.
fn maps(device: &Device) {
    let sizes = [
        (7, 224),
        (14, 224),
        (8, 256),
        (13, 416),
        (14, 448),
        (9, 288),
        (18, 288),
        (36, 288),
        (10, 304),
        (10, 320),
        (20, 320),
        (9, 272),
        (11, 176),
        (5, 160),
        (5, 144),
        (20, 80),
        (6, 60),
        (3, 20),
        (13, 97),
        (6, 33),
        (10, 10),
        (2, 3),
    ];
    for (cells, pixels) in sizes {
        for (maps, has_overlay) in [(1, false), (1, true), (18, false)] {
            enlarge(
                device,
                CamShape { n: 1, h: cells, w: cells, c: 8, classes: 1, maps, out_h: pixels, out_w: pixels },
                has_overlay,
            );
        }
    }
    // Bands of rows of one row of cells, wider than there are banks.
    for maps in [1, 18] {
        enlarge(device, CamShape { n: 1, h: 1, w: 36, c: 8, classes: 1, maps, out_h: 8, out_w: 288 }, false);
    }
}

fn enlarge(device: &Device, shape: CamShape, has_overlay: bool) {
    let zeros = |len: usize| Buffer::<f32>::new(device, &vec![0.0; len], Room::Exact);
    let (features, weights) = (zeros(shape.h * shape.w * shape.c), zeros(shape.c));
    let classes = Buffer::<i32>::new(device, &vec![0.0; shape.maps], Room::Exact);
    let [mut raw, mut range, mut shown] =
        [shape.cells(), 2 * shape.maps, shape.pixels()].map(|len| Buffer::<f32>::output(device, len, Room::Exact));
    let bytes = |len: usize| Buffer::<u8>::new(device, &vec![0.0; len], Room::Exact);
    let (crop, colormap) = (bytes(shape.out_h * shape.out_w * 3), bytes(256 * 3));
    let mut picture = Buffer::<u8>::output(device, shape.pixels() * 3, Room::Exact);
    let output = if has_overlay {
        let (crop, colormap) = (crop.span(device), colormap.span(device));
        CamOutput::Overlay { crop, colormap, alpha: 0.5, picture: picture.span_mut(device) }
    } else {
        CamOutput::F32(shown.span_mut(device))
    };
    install().take_report();
    let args = CamUpsampleArgs {
        shape,
        features: features.span(device),
        weights: weights.span(device),
        classes: CamClasses::Given { classes: classes.span(device), stride: shape.maps },
        normalisation: Normalisation::MinMax,
        raw: raw.span_mut(device),
        range: range.span_mut(device),
        output,
    };
    CamUpsample::<f32>::new(&device.modules).unwrap().launch(&device.stream, args).unwrap();
    device.stream.synchronize().unwrap();
    let found = Phases::of_launches();
    let [(_, [found, without_conflicts])] = &found[..] else { panic!("one launch: {found:?}") };
    assert_eq!(found, without_conflicts, "{shape:?}, overlay: {has_overlay}");
    assert!(found.loads > 0 && found.stores > 0);
}

/// Eigenvectors of few positions, of the largest matrices that have room, whose rows lie close, and of some between: features of one
/// direction, so that one squaring does.
fn eigenvectors(device: &Device) {
    const C: usize = 72;
    let kernel = CamEigen::<f32>::new(&device.modules).unwrap();
    let asked = asked(Targets::Top(1, Score::Logit), &[Method::EigenCam], None);
    let batch = |cells: usize| {
        let values = (0..cells * C).map(|at| ((at / C % 5 + 1) * (at % C % 3)) as f32).collect();
        Batch::new(Nhwc::new([1, 1, cells, C], values), Head::new(vec![1.0; C], vec![0.0]), Room::Exact)
    };
    let has_room = |cells: &usize| kernel.can_run(&RowsShape { cells: *cells, ..batch(1).shape(&asked) }).is_ok();
    let largest = (1..200).rev().find(has_room).expect("room for a matrix");
    for cells in [2, 3, 9, 33, 49, 64, 80].into_iter().chain(largest - 5..=largest) {
        install().take_report();
        batch(cells).run::<f32>(device, &asked, None, (1, 1));
        let launches = Phases::of_launches();
        assert!(launches.iter().any(|(kernel, _)| kernel == "cam_eigen_f32"), "{launches:?}");
        for (kernel, [found, without_conflicts]) in launches {
            assert_eq!(found, without_conflicts, "{kernel}, {cells} positions of at most {largest}");
        }
    }
}

/// A report is of all launches since the last one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn no_two_lanes_of_a_phase_meet_in_a_bank() {
    if !software() {
        return; // the counters are the software device's
    }
    let _turn = ONE_AT_A_TIME.lock();
    let device = Device::open();
    convolutions(&device);
    direct(&device);
    stem(&device);
    classifier(&device);
    maps(&device);
}

#[test]
fn nor_in_the_largest_matrices() {
    if !software() {
        return; // as above
    }
    let _turn = ONE_AT_A_TIME.lock();
    eigenvectors(&Device::open());
}

/// The tiles for 7.5, and what has more or less shared memory, in processes of their own: a software device is settled when it is first
/// used.
#[test]
fn on_other_devices() {
    if !software() {
        return; // a GPU is what it is
    }
    with_settings(&[("CUDA_EMU_DEVICE", "T4")], &["no_two_lanes", "nor_in_the_largest"], 2);
    for device in ["RTX4090", "H100"] {
        with_settings(&[("CUDA_EMU_DEVICE", device)], &["nor_in_the_largest"], 1);
    }
}
