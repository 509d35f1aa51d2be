//! Masked images on the device against the CPU's: the same bits, before the one rounding to what the network stores. Then whole
//! Score-CAM runs on either device.

#![cfg(feature = "cuda")]

mod common;

use camshaft::Device;
use camshaft::cam::{Enlargement, Library, Mask, Masking, Masks, Method, Score, Selection, Targets};
use camshaft::cuda::{Cuda, CudaError, DeviceMask, DeviceTap, Element, MaskImage, MaskImageArgs, MaskImageShape, Options, Span};
use camshaft::engine::{Engine, Request};
use camshaft::input::{CropTransform, Input};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::cuda::{Buffer, Device as TestDevice, Guarded, Room, equal, integers};
use common::methods::asked;
use common::seeded::{Dtype, Net};
use common::{safetensors_file, seeded, software};
use half::{bf16, f16};

/// Images, features and masks over them.
struct Problem {
    shape: MaskImageShape,
    library: Option<Library>,
    image: Vec<f32>,
    features: Vec<f32>,
    masks: Vec<(usize, Mask)>,
}

impl Problem {
    /// `masks` of the problem's channels, from the last image backwards, with what `method` makes of them.
    fn new([n, h, w]: [usize; 3], [cells_h, cells_w, channels]: [usize; 3], method: Method, library: Option<Library>) -> Self {
        // Eighths, so that f16 and bf16 hold them; a constant channel among them.
        let features: Vec<f32> = integers(1, n * cells_h * cells_w * channels, 60)
            .iter()
            .enumerate()
            .map(|(i, v)| if i % channels == 1 { 2.0 } else { v.abs() / 8.0 })
            .collect();
        let enlargement = Enlargement::new((cells_h, cells_w), (h, w), library);
        let masking = Masking { samples: Some(2), deviation: 0.75, seed: 11 };
        let size = cells_h * cells_w * channels;
        let of_image = |image: usize| {
            let masks = Masks::new(method, library, &masking, &enlargement, &features[image * size..][..size]);
            masks.masks().iter().map(|&mask| (image, mask)).collect::<Vec<_>>()
        };
        let masks: Vec<(usize, Mask)> = (0..n).rev().flat_map(of_image).collect();
        let shape = MaskImageShape { n, h, w, cells_h, cells_w, channels, masks: masks.len() };
        let image = seeded::network_input(n, h, w, 5);
        Self { shape, library, image, features, masks }
    }

    fn enlargement(&self) -> Enlargement {
        let MaskImageShape { h, w, cells_h, cells_w, .. } = self.shape;
        Enlargement::new((cells_h, cells_w), (h, w), self.library)
    }

    /// By the CPU, `[M, H, W, channels]`, rounded to `T`.
    fn want<T: Guarded>(&self, channels: usize) -> Vec<f32> {
        let MaskImageShape { h, w, cells_h, cells_w, channels: c, .. } = self.shape;
        let (enlargement, cells) = (self.enlargement(), cells_h * cells_w);
        let mut want = Vec::new();
        for (image, mask) in &self.masks {
            let features = &self.features[image * cells * c..][..cells * c];
            let channel: Vec<f32> = features.iter().skip(mask.channel).step_by(c).copied().collect();
            let mut out = vec![f32::NAN; h * w * 3];
            enlargement.paint(mask, &channel, &self.image[image * h * w * 3..][..h * w * 3], &mut out);
            for pixel in out.as_chunks::<3>().0 {
                want.extend(pixel.iter().map(|&v| T::from_f32(v).to_f32()));
                want.resize(want.len() + channels - 3, 0.0);
            }
        }
        want
    }

    fn check<T: Element + Guarded>(&self, device: &TestDevice, channels: usize, room: Room) {
        let MaskImageShape { h, w, .. } = self.shape;
        let image = Buffer::<f32>::new(device, &self.image, room);
        let features = Buffer::<T>::new(device, &self.features, room);
        let segments = Buffer::<f32>::new(device, camshaft::cam::noise_segments(), room);
        let taps = device.stream.clone_htod(&DeviceTap::all(&self.enlargement())).unwrap();
        let masks: Vec<DeviceMask> = self.masks.iter().map(|(image, mask)| DeviceMask::new(*image, mask)).collect();
        let masks = device.stream.clone_htod(&masks).unwrap();
        let mut y = Buffer::<T>::output(device, self.masks.len() * h * w * channels, room);
        let args = MaskImageArgs {
            shape: self.shape,
            image: image.span(device),
            features: features.span(device),
            taps: Span::of(&taps, &device.stream),
            masks: Span::of(&masks, &device.stream),
            noise: self.masks.iter().any(|(_, mask)| mask.deviation != 0.0),
            segments: segments.span(device),
            y: y.span_mut(device),
        };
        MaskImage::<T>::new(&device.modules, channels).unwrap().launch(&device.stream, args).unwrap();
        let what = format!("{} c{channels}, {:?}, {:?}", T::NAME, self.shape, self.library);
        equal(&what, &y.values(device), &self.want::<T>(channels));
    }
}

/// ResNet's size, several images, rows that are not whole quads, images that are not, one cell, one pixel, more cells than pixels.
const SHAPES: [([usize; 3], [usize; 3]); 8] = [
    ([1, 224, 224], [7, 7, 3]),
    ([3, 20, 24], [2, 3, 4]),
    ([2, 10, 14], [3, 4, 3]),
    ([2, 9, 15], [2, 3, 5]),
    ([1, 33, 7], [1, 1, 2]),
    ([2, 1, 1], [1, 1, 3]),
    ([1, 4, 8], [6, 11, 2]),
    ([1, 1, 300], [1, 9, 2]),
];

#[test]
fn masked_images_are_the_cpus() {
    let device = TestDevice::open();
    for (index, (image, cells)) in SHAPES.into_iter().enumerate() {
        for (method, library) in [
            (Method::ScoreCam, None),
            (Method::SsCam, None),
            (Method::IsCam, Some(Library::TorchCam)),
            (Method::ScoreCam, Some(Library::GradCam)),
        ] {
            let problem = Problem::new(image, cells, method, library);
            let room = if index % 2 == 0 { Room::Guarded } else { Room::Exact };
            problem.check::<f32>(&device, 4, room);
            problem.check::<f16>(&device, 3, room);
            problem.check::<f16>(&device, 8, room);
            problem.check::<bf16>(&device, 3, room);
            problem.check::<bf16>(&device, 8, room);
        }
    }
}

#[test]
fn mistakes_are_refused() {
    let device = TestDevice::open();
    let error = MaskImage::<f16>::new(&device.modules, 4).err().unwrap();
    assert!(error.to_string().contains("expected [3, 8]"), "{error}");
    let kernel = MaskImage::<f32>::new(&device.modules, 4).unwrap();
    let good = MaskImageShape { n: 1, h: 4, w: 6, cells_h: 2, cells_w: 2, channels: 3, masks: 2 };
    kernel.can_run(&good).unwrap();
    let reason = |shape: MaskImageShape| kernel.can_run(&shape).unwrap_err().to_string();
    assert!(reason(MaskImageShape { w: 0, ..good }).contains("empty"));
    assert!(reason(MaskImageShape { masks: 70_000, ..good }).contains("at most 65535"));
    assert!(reason(MaskImageShape { cells_h: 113, cells_w: 113, ..good }).contains("shared memory"));
    assert!(reason(MaskImageShape { n: 1 << 20, h: 1 << 10, ..good }).contains("2^31"));

    let room = Room::Guarded;
    let (image, features) = (Buffer::<f32>::new(&device, &[1.0; 72], room), Buffer::<f32>::new(&device, &[1.0; 12], room));
    let segments = Buffer::<f32>::new(&device, camshaft::cam::noise_segments(), room);
    let taps = device.stream.clone_htod(&DeviceTap::all(&Enlargement::new((2, 2), (4, 6), None))).unwrap();
    let mask = Mask { channel: 0, low: 0.0, scale: 1.0, deviation: 0.0, stream: 0 };
    let masks = device.stream.clone_htod(&[DeviceMask::new(0, &mask)]).unwrap();
    let mut y = Buffer::<f32>::output(&device, 2 * 4 * 6 * 4, room);
    let args = MaskImageArgs {
        shape: good,
        image: image.span(&device),
        features: features.span(&device),
        taps: Span::of(&taps, &device.stream),
        masks: Span::of(&masks, &device.stream),
        noise: false,
        segments: segments.span(&device),
        y: y.span_mut(&device),
    };
    let error = kernel.launch(&device.stream, args).unwrap_err();
    assert!(matches!(error, CudaError::Length { buffer: "masks", expected: 2, found: 1, .. }), "{error}");
    assert!(y.values(&device).iter().all(|v| v.is_nan()), "nothing ran");
}

fn weights(net: &Net) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &net.tensors(), Dtype::F32);
    (folder, path)
}

const NET: Net = Net { depth: 18, width: 8, classes: 6, seed: 2 };

#[test]
fn a_pass_is_not_planned_for_what_takes_several() {
    software::device(&[]);
    let (_folder, path) = weights(&NET);
    let cuda = Cuda::new(&Model::load(WeightFile::open(&path).unwrap()).unwrap(), 0, Options::default()).unwrap();
    let several = asked(Targets::Top(1, Score::Logit), &[Method::ScoreCam], None);
    let error = cuda.plan_pictures([1, 64, 64], Selection::Asked(&several)).unwrap_err();
    assert!(matches!(&error, CudaError::Unsupported(unsupported) if unsupported.reason.contains("masked images")), "{error}");
    let one = asked(Targets::Top(1, Score::Logit), &[Method::GradCam], None);
    cuda.plan_pictures([1, 64, 64], Selection::Asked(&one)).unwrap();
    let image = Nhwc::new([1, 64, 64, 3], seeded::network_input(1, 64, 64, 1));
    cuda.run(&image, Selection::Top(1)).expect("the device still serves");
}

fn input(seed: u64) -> Input {
    let (h, w) = (48, 64);
    let size = (w as u32, h as u32);
    let transform = CropTransform { original: size, resized: size, offset: (0, 0), crop: size };
    Input::from_tensor(seeded::network_input(1, h, w, seed), image::RgbImage::new(size.0, size.1), transform).unwrap()
}

/// The whole way, in every precision, with a last pass that is not full.
#[test]
fn either_device_scores_the_same() {
    let device = software::device(&[]);
    let (_folder, path) = weights(&NET);
    let engine = |device, precision| {
        let weights = path.display().to_string().parse().unwrap();
        let engine = Engine::builder().weights(weights).device(device).precision(precision).batch(20).build();
        engine.unwrap_or_else(|error| panic!("{error}"))
    };
    let request = Request::classes(["1", "4 - 0"]).methods([Method::ScoreCam, Method::GradCam]);
    let (first, second) = (input(1), input(2));
    let want = engine(Device::Cpu, Precision::F32).explain_inputs(&[&first, &second], &request).unwrap();
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::F16, 3e-2), (Precision::Bf16, 2e-1)] {
        let found = engine(Device::Cuda(0), precision).explain_inputs(&[&first, &second], &request).unwrap();
        for (found, want) in found.iter().zip(&want) {
            assert_eq!((found.maps.len(), want.maps.len()), (4, 4));
            assert!(found.forwards > 30 && want.forwards > 30, "{} {}", found.forwards, want.forwards);
            for (found, want) in found.maps.iter().zip(&want.maps) {
                let most = want.map.data().iter().fold(0f32, |most, v| most.max(v.abs()));
                for (v, w) in found.map.data().iter().zip(want.map.data()) {
                    assert!((v - w).abs() <= tolerance * most, "{precision} {} {}: {v}, not {w}", want.method, want.label);
                }
            }
        }
    }
    software::assert_no_findings(device);
}

/// What the host is told is what it asked about, however the masks are cut into passes; what is not there is refused.
#[test]
fn masks_are_scored_in_order_and_checked() {
    let device = software::device(&[]);
    let (_folder, path) = weights(&NET);
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    let cuda = Cuda::new(&model, 0, Options { precision: Some(Precision::F32), ..Options::default() }).unwrap();
    let images = Nhwc::new([3, 32, 64, 3], seeded::network_input(3, 32, 64, 8));
    let (forward, kept) = cuda.keep(&images, 2).unwrap();
    assert_eq!((forward.features.shape(), forward.logits.shape()), ([3, 1, 2, 64], [3, 1, 1, 6]));
    assert_eq!(cuda.keep(&images, 0).unwrap().0, cuda.keep(&images, 1).unwrap().0);
    let enlargement = Enlargement::new((1, 2), (32, 64), None);
    // A mask of 1 throughout is the image: each score is that of its own image.
    let mask = Mask { channel: 0, low: -1e30, scale: 1e-30, deviation: 0.0, stream: 0 };
    let masks: Vec<(usize, Mask)> = [2, 0, 1, 1, 0, 2, 2].map(|image| (image, mask)).into();
    for batch in [1, 2, 3, 7, 50] {
        let mut seen = 0;
        let mut each = |at: usize, logits: &[f32]| {
            assert_eq!(at, seen);
            seen += 1;
            for (got, want) in logits.iter().zip(forward.logits.image(masks[at].0)) {
                assert!((got - want).abs() < 1e-4, "mask {at}, batch {batch}: {got}, not {want}");
            }
        };
        cuda.score_masks(&kept, &enlargement, &masks, batch, &mut each).unwrap();
        assert_eq!(seen, masks.len());
    }
    cuda.score_masks(&kept, &enlargement, &[], 4, &mut |_, _| panic!("no masks")).unwrap();
    let refused = |enlargement: &Enlargement, masks: &[(usize, Mask)]| {
        cuda.score_masks(&kept, enlargement, masks, 4, &mut |_, _| panic!("scored")).unwrap_err().to_string()
    };
    assert!(refused(&enlargement, &[(3, mask)]).contains("over image 3, there are 64 and 3"));
    assert!(refused(&enlargement, &[(0, Mask { channel: 64, ..mask })]).contains("channel 64"));
    assert!(refused(&Enlargement::new((1, 2), (32, 32), None), &masks).contains("expected (1, 2) to (32, 64)"));
    drop(kept);
    drop(cuda);
    software::assert_no_findings(device);
}
