//! That the channels which are filled up are 0 in every activation: nothing that a network shows depends on it, as the filters that read
//! them are 0 as well.

use half::{bf16, f16};

use super::*;
use crate::cuda::device;
use crate::weights::WeightFile;

#[path = "../../../tests/common/safetensors_file.rs"]
mod safetensors_file;
#[path = "../../../tests/common/seeded.rs"]
#[allow(dead_code, reason = "tests elsewhere use the rest")]
mod seeded;

const N: usize = 2;
const SIZE: (usize, usize) = (37, 29);

fn model(depth: u32, width: usize) -> Model {
    let net = seeded::Net { depth, width, classes: 3, seed: 31 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &net.tensors(), seeded::Dtype::F32);
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

/// How many layers have such channels.
fn check<T: Real>(model: &Model, precision: Precision, norm: Norm) -> usize {
    let modules = Modules::new(device::open(0).unwrap()).unwrap();
    let mut pipeline = Pipeline::<T>::new(model, &modules, precision, norm, true).unwrap();
    let (h, w) = SIZE;
    let shapes = model.network().shapes(N, h, w).unwrap();
    let images = seeded::network_input(N, h, w, 32);
    let key = Key { image: [N, h, w], pixels: false, maps: Maps::Top(0), show: None, joined: false };
    let mut plan = pipeline.take_first(key).unwrap();
    let mut filled = 0;
    plan.visit(&pipeline.body(), &images, |layer, [n, h, w, all], values| {
        let (name, [.., c]) = (&model.network().layers()[layer].name, shapes[layer].output);
        assert_eq!(values.len(), n * h * w * all, "{name}");
        assert!(all - c < 2 * T::CHANNELS, "{name}: {c} channels became {all}");
        assert!(values.chunks_exact(all).any(|pixel| pixel[..c].iter().any(|&v| v != 0.0)), "{name} is all 0");
        for pixel in values.chunks_exact(all) {
            assert_eq!(pixel[c..].iter().find(|&&v| v != 0.0), None, "{name}, {}, {norm:?}", T::NAME);
        }
        filled += usize::from(all > c);
    })
    .unwrap();
    filled
}

#[test]
fn channels_that_are_filled_up_stay_zero() {
    let _one = device::for_one_test();
    cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "A100")]).unwrap();
    for norm in [Norm::Folded, Norm::Unfolded] {
        // The stem and the pooling, the two blocks of layer1 with two convolutions each, then five of each layer. Channels of 5, 10 and 20
        // are filled up, the features' 40 are not.
        let narrow = model(18, 5);
        assert_eq!(check::<f32>(&narrow, Precision::F32, norm), 2 + 4 + 5 + 5);
        assert_eq!(check::<f16>(&narrow, Precision::F16, norm), 2 + 4 + 5 + 5);
        assert_eq!(check::<bf16>(&narrow, Precision::Bf16, norm), 2 + 4 + 5 + 5);
        // Channels that are whole sectors, and that are not in layer1, and in layer1 and layer2.
        assert_eq!(check::<f16>(&model(18, 16), Precision::F16, norm), 0);
        assert_eq!(check::<f32>(&model(18, 8), Precision::F32, norm), 0);
        assert_eq!(check::<f32>(&model(18, 4), Precision::F32, norm), 2 + 4);
        assert_eq!(check::<f16>(&model(18, 4), Precision::F16, norm), 2 + 4 + 5);
    }
}
