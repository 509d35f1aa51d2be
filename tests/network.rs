//! Weights as a network: what is read off a file, and the error for every defect.

mod common;

use std::path::Path;

use camshaft::network::{Architecture, Block, Model, Network, NetworkError, Op};
use camshaft::weights::WeightFile;
use common::pth::{Form, Pth};
use common::safetensors_file;
use common::seeded::{Dtype, Net, Tensor, Values};
use tempfile::TempDir;

/// ResNet-18 of the least width, at ten classes.
const NARROW: Net = Net { depth: 18, width: 8, classes: 10, seed: 1 };

/// Loads `tensors` as a file of this name.
fn load_as(name: &str, tensors: &[Tensor]) -> Result<Model, NetworkError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    if name.ends_with(".pth") {
        Pth::bare(Form::Zip, Dtype::F32).write(&path, tensors);
    } else {
        safetensors_file::write(&path, tensors, Dtype::F32);
    }
    Model::load(WeightFile::open(&path)?)
}

/// Loads [`NARROW`] with a change, which must be refused.
fn refused(change: impl FnOnce(&mut Vec<Tensor>)) -> NetworkError {
    let mut tensors = NARROW.tensors();
    change(&mut tensors);
    load_as("net.safetensors", &tensors).err().expect("an error")
}

fn named<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
}

fn floats(tensor: &mut Tensor) -> &mut Vec<f32> {
    match &mut tensor.values {
        Values::Float(values) => values,
        Values::Count(_) => panic!("{} is a count", tensor.name),
    }
}

/// Asserts the variant of an error, that its message names the file and holds each text.
macro_rules! assert_refused {
    ($change:expr, $pattern:pat, $($text:expr),+ $(,)?) => {{
        let error = refused($change);
        assert!(matches!(&error, $pattern), "{error:?}");
        let message = error.to_string();
        $(assert!(message.contains($text), "{:?} is not in: {message}", $text);)+
        assert!(message.contains("net.safetensors: "), "{message}");
    }};
}

#[test]
fn a_missing_tensor() {
    assert_refused!(
        |tensors| tensors.retain(|tensor| tensor.name != "layer3.1.bn2.running_mean"),
        NetworkError::Missing { .. },
        "`layer3.1.bn2.running_mean` is missing",
        "ResNet-18 (width 8)",
        "[32]",
    );
    // A whole block in the middle is missing tensors, not another depth.
    assert_refused!(
        |tensors| tensors.retain(|tensor| !tensor.name.starts_with("layer2.0.")),
        NetworkError::Missing { .. },
        "`layer2.0.",
    );
    assert_refused!(
        |tensors| tensors.retain(|tensor| tensor.name != "fc.bias"),
        NetworkError::Missing { .. },
        "`fc.bias`",
        "[10]"
    );
}

#[test]
fn a_surplus_tensor() {
    let extra = |name: &str| Tensor { name: name.into(), shape: vec![2, 3], values: Values::Float(vec![0.5; 6]) };
    assert_refused!(
        |tensors| tensors.push(extra("head.weight")),
        NetworkError::Surplus { .. },
        "`head.weight`",
        "[2, 3]",
        "no place in ResNet-18 (width 8);",
    );
    assert_refused!(|tensors| tensors.extend(["a", "b", "c"].map(extra)), NetworkError::Surplus { .. }, "nor have 2 others",);
    // A counter belongs to a batch norm; one of no batch norm is surplus like anything else.
    assert_refused!(
        |tensors| tensors.push(extra("fc.num_batches_tracked")),
        NetworkError::Surplus { .. },
        "`fc.num_batches_tracked`",
    );
}

#[test]
fn a_wrong_shape() {
    assert_refused!(
        |tensors| {
            let tensor = named(tensors, "layer4.1.conv2.weight");
            tensor.shape = vec![64, 64, 1, 9];
        },
        NetworkError::Shape { .. },
        "`layer4.1.conv2.weight` has shape [64, 64, 1, 9], expected [64, 64, 3, 3] in ResNet-18 (width 8)",
    );
    // The bias tells that one row of the classifier was cut off.
    assert_refused!(
        |tensors| {
            let tensor = named(tensors, "fc.weight");
            tensor.shape = vec![9, 64];
            floats(tensor).truncate(9 * 64);
        },
        NetworkError::Shape { .. },
        "`fc.bias` has shape [10], expected [9]",
    );
}

#[test]
fn numbers_that_cannot_be_weights() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        assert_refused!(
            |tensors| floats(named(tensors, "layer1.0.conv1.weight"))[17] = value,
            NetworkError::Value { index: 17, .. },
            &format!("`layer1.0.conv1.weight` holds {shown} at index 17; expected a finite number"),
        );
        assert_refused!(
            |tensors| floats(named(tensors, "bn1.running_var"))[7] = value,
            NetworkError::Value { index: 7, .. },
            "`bn1.running_var`",
            shown,
        );
    }
    assert_refused!(
        |tensors| floats(named(tensors, "layer2.0.downsample.1.running_var"))[3] = -0.25,
        NetworkError::Value { index: 3, .. },
        "`layer2.0.downsample.1.running_var` holds -0.25 at index 3; expected a variance",
    );
}

/// Finite parts whose product is not: only folding shows it.
#[test]
fn a_batch_norm_that_overflows() {
    let mut tensors = NARROW.tensors();
    floats(named(&mut tensors, "bn1.weight"))[2] = 3e38;
    floats(named(&mut tensors, "bn1.running_var"))[2] = 0.0;
    floats(named(&mut tensors, "conv1.weight")).fill(10.0);
    let model = load_as("net.safetensors", &tensors).expect("every number is finite");
    let error = model.folded(&model.network().layers()[0]).err().expect("an error");
    let message = error.to_string();
    assert!(matches!(error, NetworkError::Value { .. }), "{error:?}");
    assert!(message.contains("net.safetensors: ") && message.contains("conv1.weight") && message.contains("inf"), "{message}");
}

#[test]
fn integers_are_no_weights() {
    use safetensors::tensor::{Dtype as Stored, SafeTensors, TensorView, serialize_to_file};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    safetensors_file::write(&path, &NARROW.tensors(), Dtype::F32);
    let bytes = std::fs::read(&path).unwrap();
    let mut views = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let counts: Vec<u8> = (0i64..8).flat_map(i64::to_le_bytes).collect();
    let bias = views.iter_mut().find(|(name, _)| name == "layer1.1.bn1.bias").unwrap();
    bias.1 = TensorView::new(Stored::I64, vec![8], &counts).unwrap();
    serialize_to_file(views, None, &path).unwrap();

    let error = Model::load(WeightFile::open(&path).unwrap()).err().expect("an error");
    assert!(matches!(error, NetworkError::Weights(_)), "{error:?}");
    let message = error.to_string();
    for text in ["net.safetensors: ", "`layer1.1.bn1.bias`", "I64", "F32"] {
        assert!(message.contains(text), "{text} is not in: {message}");
    }
}

#[test]
fn files_of_other_networks() {
    assert_refused!(
        |tensors| tensors.retain(|tensor| !tensor.name.starts_with("conv1.")),
        NetworkError::Architecture { .. },
        "no tensor `conv1.weight`",
        "ResNet-18, 34, 50, 101 and 152",
        "121 in all",
    );
    assert_refused!(|tensors| tensors.clear(), NetworkError::Architecture { .. }, "no tensor `conv1.weight`", "tensors: none");
    // Three blocks in the first stage and two in the others.
    assert_refused!(
        |tensors| {
            let block = tensors.iter().filter(|tensor| tensor.name.starts_with("layer1.1."));
            let third: Vec<_> =
                block.map(|tensor| Tensor { name: tensor.name.replace("layer1.1", "layer1.2"), ..tensor.clone() }).collect();
            tensors.extend(third);
        },
        NetworkError::Architecture { .. },
        "[3, 2, 2, 2] basic blocks, which is no known depth",
    );
    assert_refused!(
        |tensors| {
            let tensor = named(tensors, "conv1.weight");
            tensor.shape = vec![8 * 3 * 7 * 7];
        },
        NetworkError::Architecture { .. },
        "`conv1.weight` has shape [1176], expected 4 extents",
    );
}

#[test]
fn any_width_up_to_4096() {
    for width in [1, 3, 12] {
        let model = load_as("odd.pth", &Net { width, ..NARROW }.tensors()).unwrap_or_else(|error| panic!("{error}"));
        let architecture = model.network().architecture();
        assert_eq!((architecture.width(), architecture.features()), (width, 8 * width));
        assert_eq!(architecture.to_string(), format!("ResNet-18 (width {width})"));
    }
    assert_refused!(
        |tensors| {
            let tensor = named(tensors, "conv1.weight");
            (tensor.shape, tensor.values) = (vec![4097, 3, 7, 7], Values::Float(vec![0.0; 4097 * 3 * 7 * 7]));
        },
        NetworkError::Architecture { .. },
        "`conv1.weight` has 4097 filters, expected at most 4096",
    );
}

#[test]
fn counters_may_be_there_or_not() {
    let (with, without) = (NARROW.tensors(), NARROW.tensors_without_counters());
    assert_eq!((with.len(), without.len()), (122, 102));
    for name in ["net.safetensors", "net.pth"] {
        let models = [&with, &without].map(|tensors| load_as(name, tensors).unwrap_or_else(|error| panic!("{error}")));
        let [a, b] = models.each_ref().map(|model| model.folded(&model.network().layers()[0]).unwrap());
        assert_eq!((a.filter, a.bias), (b.filter, b.bias));
        assert_eq!(models[0].parameters(), models[1].parameters());
    }
}

#[test]
fn every_depth_is_read_off_its_file() {
    let facts = [
        (18, "ResNet-18 (width 8)", Block::Basic, [2, 2, 2, 2], 64),
        (34, "ResNet-34 (width 8)", Block::Basic, [3, 4, 6, 3], 64),
        (50, "ResNet-50 (width 8)", Block::Bottleneck, [3, 4, 6, 3], 256),
        (101, "ResNet-101 (width 8)", Block::Bottleneck, [3, 4, 23, 3], 256),
        (152, "ResNet-152 (width 8)", Block::Bottleneck, [3, 8, 36, 3], 256),
    ];
    for (depth, name, block, depths, features) in facts {
        let net = Net { depth, classes: 5, ..NARROW };
        let model = load_as("net.safetensors", &net.tensors()).unwrap_or_else(|error| panic!("{error}"));
        let architecture = model.network().architecture();
        assert_eq!(architecture.to_string(), name);
        assert_eq!((architecture.block(), architecture.depths()), (block, depths));
        assert_eq!((architecture.width(), architecture.classes(), architecture.features()), (8, 5, features));
        let trained = |name: &str| !["running_mean", "running_var", "tracked"].iter().any(|part| name.ends_with(part));
        let layout = net.layout();
        let parameters = layout.iter().filter(|(name, _)| trained(name)).map(|(_, shape)| shape.iter().product::<usize>());
        assert_eq!(model.parameters(), parameters.sum::<usize>(), "{name}");
        let (weights, bias) = model.classifier().unwrap();
        assert_eq!((weights.len(), bias.len()), (5 * features, 5));
    }
}

/// A model of the published size, all zeros: only shapes matter here.
fn published(depth: u32, folder: &TempDir) -> Model {
    let net = Net::resnet(depth, 1000);
    let zeros =
        |(name, shape): (String, Vec<usize>)| Tensor { values: Values::Float(vec![0.0; shape.iter().product()]), name, shape };
    let tensors: Vec<Tensor> = net.layout().into_iter().filter(|(_, shape)| !shape.is_empty()).map(zeros).collect();
    let path = folder.path().join(format!("resnet{depth}.safetensors"));
    safetensors_file::write(&path, &tensors, Dtype::F16);
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

/// Parameters and cost as torchvision documents them for its `IMAGENET1K_V1` weights: `num_params` and `_ops` in
/// `torchvision.models`, the latter in units of 1e9 multiply-adds at 224x224.
#[test]
fn sizes_are_those_that_torchvision_documents() {
    let folder = tempfile::tempdir().unwrap();
    for (depth, parameters, gmac) in
        [(18, 11_689_512, "1.814"), (34, 21_797_672, "3.664"), (50, 25_557_032, "4.089"), (101, 44_549_160, "7.801")]
    {
        let model = published(depth, &folder);
        assert_eq!(model.network().architecture().to_string(), format!("ResNet-{depth}"));
        assert_eq!(model.parameters(), parameters);
        let shapes = model.network().shapes(1, 224, 224).unwrap();
        let products = model.network().layers().iter().zip(&shapes);
        // torchvision counts convolutions and the linear layer; its pooling is free.
        let products = products.filter(|(layer, _)| matches!(layer.op, Op::Conv2d { .. } | Op::Linear { .. }));
        let flops: u64 = products.map(|(_, shape)| shape.flops).sum();
        assert_eq!(format!("{:.3}", flops as f64 / 2e9), gmac, "ResNet-{depth}");
    }
}

fn network(depth: u32) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    safetensors_file::write(&path, &Net { depth, ..NARROW }.tensors(), Dtype::F16);
    Network::new(Architecture::detect(&WeightFile::open(&path).unwrap()).unwrap())
}

#[test]
fn layers_are_found_by_torchvisions_names() {
    let (basic, bottleneck) = (network(18), network(50));
    let found = |network: &Network, name: &str| network.find(name).map(|index| network.layers()[index].name.clone());
    for (name, want) in [
        ("conv1", "conv1"),
        ("maxpool", "maxpool"),
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("layer2.0.downsample.0", "layer2.0.downsample.0"),
        ("layer2.0.downsample", "layer2.0.downsample.0"),
        ("layer3.0", "layer3.0.conv2"),
        ("layer3", "layer3.1.conv2"),
        ("layer4", "layer4.1.conv2"),
        ("avgpool", "avgpool"),
        ("fc", "fc"),
    ] {
        assert_eq!(found(&basic, name).as_deref(), Some(want), "{name}");
    }
    assert_eq!(found(&bottleneck, "layer4").as_deref(), Some("layer4.2.conv3"));
    assert_eq!(found(&bottleneck, "layer3.5").as_deref(), Some("layer3.5.conv3"));
    for network in [&basic, &bottleneck] {
        assert_eq!(network.find("layer4"), Some(network.features()));
        for name in ["", "layer", "layer5", "layer4.9", "layer4.1.conv", "fc.weight", "Layer4", "conv1.", "layer4."] {
            assert_eq!(network.find(name), None, "`{name}`");
        }
    }
}

#[test]
fn shapes_follow_the_image() {
    let network = network(18);
    let at = |name: &str, h, w| network.shapes(3, h, w).unwrap()[network.find(name).unwrap()].output;
    assert_eq!(at("conv1", 224, 224), [3, 112, 112, 8]);
    assert_eq!(at("maxpool", 224, 224), [3, 56, 56, 8]);
    assert_eq!(at("layer4", 224, 224), [3, 7, 7, 64]);
    // ceil(extent / 32) for every extent: each of the five halvings rounds up.
    for extent in 1..100 {
        assert_eq!(at("layer4", extent, 224), [3, extent.div_ceil(32), 7, 64], "{extent}");
    }
    assert_eq!(at("fc", 1, 999), [3, 1, 1, 10]);
}

#[test]
fn images_that_do_not_fit() {
    let network = network(18);
    for (n, h, w, reason) in [
        (0, 224, 224, "an extent is 0"),
        (1, 0, 224, "an extent is 0"),
        (1, 1 << 20, 1 << 20, "2^31"),
        (usize::MAX, usize::MAX, usize::MAX, "does not fit"),
    ] {
        let error = network.shapes(n, h, w).expect_err("an error");
        assert!(matches!(error, NetworkError::Geometry { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(&format!("[{n}, {h}, {w}, 3]")) && message.contains(reason), "{message}");
        assert!(message.contains("7x7 with stride 2 and border 3"), "{message}");
    }
}

/// What the file itself gets wrong comes through with its own message.
#[test]
fn defects_of_the_file_come_through() {
    let error = WeightFile::open(Path::new("missing.safetensors")).map_err(NetworkError::from).expect_err("an error");
    assert!(matches!(error, NetworkError::Weights(_)), "{error:?}");
    assert!(error.to_string().starts_with("missing.safetensors: "), "{error}");
}
