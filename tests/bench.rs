//! What `bench` sets timings against, and the timings' form.

mod common;

use camshaft::bench::{LayerCost, costs, fma_rate, read_rate};
use camshaft::cam::Levels;
use camshaft::engine::{Device, Engine, Passes};
use camshaft::network::Model;
use camshaft::weights::WeightFile;
use common::seeded::{Dtype, Net};

fn resnet18_costs(n: usize) -> Vec<LayerCost> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet18.safetensors");
    common::safetensors_file::write(&path, &Net::resnet(18, 1000).tensors(), Dtype::F16);
    let model = Model::load(WeightFile::open(&path).unwrap()).unwrap();
    costs(model.network(), &model.network().shapes(n, 224, 224).unwrap(), 2)
}

/// Counted by hand from the shapes of ResNet-18.
#[test]
fn costs_of_resnet18() {
    let costs = resnet18_costs(1);
    let of = |name: &str| costs.iter().find(|cost| cost.layer == name).map(|cost| (cost.flops, cost.bytes)).unwrap();
    assert_eq!(of("conv1"), (236_027_904, 2 * (224 * 224 * 3 + 64 * 147 + 56 * 56 * 64)), "writes the pooled tensor");
    assert_eq!(of("maxpool"), (0, 0));
    assert_eq!(of("layer1.0.conv1"), (231_211_008, 2 * (2 * 56 * 56 * 64 + 64 * 576)));
    assert_eq!(of("layer1.0.conv2").1, 2 * (3 * 56 * 56 * 64 + 64 * 576), "reads a residual too");
    assert_eq!(of("layer2.0.downsample.0"), (12_845_056, 2 * (28 * 28 * 64 + 128 * 64)), "skips three of four");
    assert_eq!(of("layer2.0.conv2").1, 2 * (2 * 28 * 28 * 128 + 128 * 1152), "the shortcut is added where it is computed");
    assert_eq!(of("avgpool").1, 2 * (49 * 512 + 512));
    assert_eq!(of("fc"), (2 * 512_000, 2 * (512 + 512_000 + 1000)));
    let convolutions: u64 = costs.iter().filter(|cost| cost.layer != "fc").map(|cost| cost.flops).sum();
    assert!((3_627_000_000..3_628_000_000).contains(&convolutions), "{convolutions}");
    let (filter, eight) = (2 * 64 * 576, &resnet18_costs(8));
    assert_eq!(eight[2].bytes - filter, 8 * (costs[2].bytes - filter), "filters are read once a batch");
}

#[test]
fn passes_are_counted() {
    let engine = Engine::builder().device(Device::Cpu).threads(1).build().unwrap();
    let passes = Passes { images: [2, 40, 32], maps: 3, levels: Some(Levels::U8), warm_up: 1, passes: 4, layers: true };
    let timings = engine.measure(&passes).unwrap();
    assert_eq!((timings.whole.len(), timings.device.len()), (4, 0));
    let layers: Vec<_> = engine.model().network().layers().iter().map(|layer| layer.name.as_str()).collect();
    let steps: Vec<_> = timings.steps.iter().flat_map(|step| step.layer.split(", ")).collect();
    assert_eq!(steps, layers, "each layer once, those that are computed together in one step");
    assert_eq!(timings.steps[0].layer, "conv1, maxpool");
    assert!(timings.steps.iter().all(|step| step.seconds.len() == 4 && step.seconds.iter().all(|&seconds| seconds >= 0.0)));
    assert!(timings.whole.iter().all(|&seconds| seconds > 0.0));
    let quiet = engine.measure(&Passes { layers: false, ..passes }).unwrap();
    assert!(quiet.steps.is_empty());
    let error = engine.measure(&Passes { images: [1, 0, 32], ..passes }).unwrap_err().to_string();
    assert!(error.contains("0"), "{error}");
}

/// Any processor of this century does and reads more than this.
#[test]
fn rates_are_rates() {
    assert!((1e8..1e13).contains(&fma_rate(1)));
    assert!((1e8..1e13).contains(&read_rate(1)));
}
