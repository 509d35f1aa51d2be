//! ResNet-18 takes nineteen launches from the prepared image to the map, step by step and as a graph. A process of its own, because
//! the software device counts the launches of all.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Found, Selection};
use camshaft::cpu::Cpu;
use camshaft::cuda::{Cuda, Norm, Options};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::seeded::{Dtype, Net, network_input};
use common::{safetensors_file, software};

/// The stem, sixteen 3x3 convolutions, three of which add their block's shortcut, the classifier, the maps.
const LAUNCHES: usize = 1 + 16 + 1 + 1;

#[test]
fn resnet18_is_one_graph_of_nineteen_kernels() {
    let Some(device) = software::device(&[]) else {
        return println!("launches are counted by the software device");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &Net::resnet(18, 10).tensors(), Dtype::F16);
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    let cpu = Cpu::new(&model, Some(2)).unwrap();
    for (precision, batches) in [(Precision::F16, &[1, 8][..]), (Precision::Bf16, &[1]), (Precision::F16Fast, &[1])] {
        let cuda = Cuda::new(&model, 0, Options { precision: Some(precision), ..Options::default() }).unwrap();
        for n in [1, 8] {
            let plan = cuda.plan([n, 224, 224], 1).unwrap();
            let names: Vec<&str> = plan.steps.iter().map(|step| step.layer.as_str()).collect();
            assert_eq!(names.len(), LAUNCHES, "{precision}, batch {n}: {names:?}");
            for stage in 2..=4 {
                let joined = format!("layer{stage}.0.conv2, layer{stage}.0.downsample.0");
                let step = plan.steps.iter().find(|step| step.layer == joined);
                let kernel = step.map(|step| step.kernel.as_str()).unwrap_or_default();
                assert!(kernel.starts_with("conv2d_implicit_gemm_projection"), "{precision}, batch {n}: {names:?}");
            }
        }
        // Two tensors of layer1's size and one of layer2's live at once, beside the image and what is small: told from batches at which
        // no depth is shared, which would take memory.
        let plans = (1..=16).map(|n| (128 * n, cuda.plan([128 * n, 224, 224], 1).unwrap()));
        let whole: Vec<_> = plans.filter(|(_, plan)| plan.steps.iter().all(|step| !step.kernel.contains(" parts"))).collect();
        let [(few, least), .., (many, most)] = &whole[..] else { panic!("{precision}: a depth is shared at every batch") };
        let image = (most.activations - least.activations) as usize / (many - few);
        let room = 224 * 224 * 3 * 2 + 56 * 56 * 64 * 2 * 5 / 2;
        assert!((room..room + 8192).contains(&image), "{precision}: {image} bytes an image, expected {room} and little more");
        for &n in batches {
            let images = Nhwc::new([n, 32, 32, 3], network_input(n, 32, 32, 5));
            let want = cpu.forward(&images).unwrap();
            let mut found: Vec<Found> = Vec::new();
            for how in ["step by step", "recorded", "replayed"] {
                device.take_report();
                found.push(cuda.run(&images, Selection::Top(1)).unwrap());
                let report = device.take_report();
                let launches = report["launches"].as_array().expect("a list of launches");
                let kernels: Vec<&str> = launches.iter().filter_map(|launch| launch["kernel"].as_str()).collect();
                assert_eq!(kernels.len(), LAUNCHES, "{precision}, batch {n}, {how}: {kernels:?}");
                assert_eq!(kernels.iter().filter(|name| name.contains("projection")).count(), 3, "{kernels:?}");
                assert_eq!(report["findings"].as_array().map_or(0, Vec::len), 0, "{:#}", report["findings"]);
            }
            assert!(found.iter().all(|other| *other == found[0]), "{precision}, batch {n}");
            let largest = want.logits.data().iter().fold(0f32, |largest, v| largest.max(v.abs()));
            for image in 0..n {
                let what = format!("{precision}, image {image} of {n}");
                assert_close(&what, found[0].logits(image), want.logits.image(image), Allowance::of_largest(2e-2, largest));
            }
        }
    }
    // What cannot be joined runs by itself, and the plan says so.
    let steps = |precision, norm| {
        let cuda = Cuda::new(&model, 0, Options { precision: Some(precision), norm, serial: false }).unwrap();
        cuda.plan([1, 224, 224], 1).unwrap().steps
    };
    for (precision, norm) in [(Precision::F32, Norm::Folded), (Precision::F16, Norm::Unfolded)] {
        let steps = steps(precision, norm);
        assert!(steps.iter().any(|step| step.layer == "layer2.0.downsample.0"), "{steps:?}");
        assert!(steps.iter().any(|step| step.layer == "layer2.0.conv2"), "{steps:?}");
    }
}
