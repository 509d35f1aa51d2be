//! Class activation maps against PyTorch, and the identity that ties them to the logits.

mod common;

use camshaft::cam::{Map, class_activation_map};
use camshaft::cpu::{Cpu, Forward};
use camshaft::network::Model;
use camshaft::tensor::Nhwc;
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::goldens::Golden;
use common::safetensors_file;

/// Of the largest magnitude; see `tests/resnet18.rs`.
const TOLERANCE: f32 = 2e-5;

struct Run {
    golden: Golden,
    forward: Forward,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

fn run(name: &str) -> Run {
    let golden = Golden::load(name);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    let input = Nhwc::new([golden.meta.n, golden.meta.h, golden.meta.w, 3], golden.input());
    let forward = Cpu::new(&model, None).unwrap().forward(&input).unwrap();
    let (weights, bias) = model.classifier().unwrap();
    Run { golden, forward, weights, bias }
}

impl Run {
    fn map(&self, image: usize, class: usize) -> Map {
        let c = self.forward.features.shape()[3];
        class_activation_map(&self.forward.features, image, &self.weights[class * c..][..c])
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |largest, v| largest.max(v.abs()))
}

#[test]
fn raw_and_upsampled_maps_agree_with_pytorch() {
    let mut whole = 0;
    for name in Golden::names() {
        let run = run(&name);
        let (cam, meta) = (&run.golden.cam, &run.golden.meta);
        let (mut raw, mut up, mut range) = (Vec::new(), Vec::new(), Vec::new());
        for image in 0..meta.n {
            for &class in &cam.class {
                let map = run.map(image, class);
                assert_eq!((map.h(), map.w()), cam.size, "{name}");
                raw.extend_from_slice(map.data());
                let full = map.upsample(meta.h, meta.w);
                let stats = full.stats().unwrap();
                range.extend([stats.min, stats.max]);
                up.extend_from_slice(full.data());
            }
        }
        let allowance = Allowance::of_largest(TOLERANCE, largest(&cam.raw));
        assert_close(&format!("{name}: raw"), &raw, &cam.raw, allowance);
        let sampled: Vec<f32> = cam.up_index.iter().map(|&i| up[i]).collect();
        assert_close(&format!("{name}: up-sampled"), &sampled, &cam.up_value, allowance);
        assert_close(&format!("{name}: range"), &range, &cam.up_range, allowance);
        if let Some(want) = &cam.up {
            assert_close(&format!("{name}: up-sampled, whole"), &up, want, allowance);
            whole += 1;
        }
    }
    assert!(whole > 0, "no golden has whole up-sampled maps");
}

#[test]
fn mean_of_the_map_plus_bias_is_the_logit() {
    for name in ["resnet18_w8_c10_97x161_n2_f32", "resnet50_w16_c10_65x96_n2_f32", "resnet18_w64_c1000_224x224_n1_f32"] {
        let run = run(name);
        let classes = run.bias.len();
        for image in 0..run.golden.meta.n {
            let logits = run.forward.logits.image(image);
            let sums: Vec<f32> = (0..classes).map(|k| run.map(image, k).stats().unwrap().mean + run.bias[k]).collect();
            assert_close(name, &sums, logits, Allowance::of_largest(2e-6, largest(logits)));
        }
    }
}
