//! A device of capability 7.5, with its own form of the convolutions and little shared memory. A process of its own, because a
//! software device is settled when it is first used.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Selection, class_activation_map};
use camshaft::cpu::Cpu;
use camshaft::cuda::{Cuda, Options};
use camshaft::network::Model;
use camshaft::tensor::{Nhwc, Precision};
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::goldens::Golden;
use common::{safetensors_file, seeded, software};

#[test]
fn turing_agrees_with_the_cpu() {
    let Some(device) = software::device(&[("CUDA_EMU_DEVICE", "T4")]) else {
        return println!("hardware is what it is");
    };
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    let (cpu, rows) = (Cpu::new(&model, None).unwrap(), model.classifier().unwrap().0);
    let cuda = Cuda::new(&model, 0, Options { precision: Some(Precision::F16), ..Options::default() }).unwrap();
    assert_eq!(cuda.capability(), 75);

    // The map of the second image is too large for a block's shared memory, so that the host sums it.
    for (n, h, w, on_device) in [(2, 97, 161, true), (1, 1, 540_000, false)] {
        let images = Nhwc::new([n, h, w, 3], seeded::network_input(n, h, w, 3));
        let plan = cuda.plan([n, h, w], 2).unwrap();
        assert_eq!(plan.steps[0].kernel, "stem_f16_nhwc", "{plan:?}");
        assert!(plan.steps[1].kernel.starts_with("conv2d_implicit_gemm_sm75"), "{plan:?}");
        let maps = plan.steps.iter().find(|step| step.layer == "cam").unwrap();
        assert_eq!(!maps.kernel.starts_with("the processor: "), on_device, "{plan:?}");
        let want = cpu.forward(&images).unwrap();
        let classes = [3, 0];
        let runs: &[&str] = if on_device { &["step by step", "as a graph"] } else { &["step by step"] };
        for _ in runs {
            let found = cuda.run(&images, Selection::Classes(&classes)).unwrap();
            let largest = |values: &[f32]| values.iter().fold(0f32, |largest, v| largest.max(v.abs()));
            for image in 0..n {
                let logits = want.logits.image(image);
                assert_close("logits", found.logits(image), logits, Allowance::of_largest(2e-2, largest(logits)));
                for (&class, (found_class, map)) in classes.iter().zip(found.maps(image)) {
                    assert_eq!(class, *found_class);
                    let channels = want.features.shape()[3];
                    let want = class_activation_map(&want.features, image, &rows[class * channels..][..channels]);
                    assert_eq!((map.h(), map.w()), (want.h(), want.w()));
                    assert_close("map", map.data(), want.data(), Allowance::of_largest(2e-2, largest(want.data())));
                }
            }
        }
    }
    drop(cuda);
    software::assert_no_findings(Some(device));
}
