//! Every supported ResNet against PyTorch: layer outputs, logits and features, on the CPU backend and on its definition.

mod common;

use camshaft::cpu::reference::{self, BatchNorm};
use camshaft::cpu::{Cpu, Forward, Isa};
use camshaft::network::{Layer, Model, Network};
use camshaft::tensor::Nhwc;
use camshaft::weights::WeightFile;
use common::compare::{Allowance, assert_close};
use common::goldens::Golden;
use common::pth::{Form, Pth};
use common::{safetensors_file, seeded};

/// Of the largest magnitude. PyTorch's own f32 stays within 1.2e-6 of these goldens, which are f64 results; a matrix product
/// that sums in another order needs no more than this.
const TOLERANCE: f32 = 2e-5;

fn model(golden: &Golden) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    safetensors_file::write(&path, &golden.net().tensors(), golden.dtype());
    Model::load(WeightFile::open(&path).unwrap()).unwrap()
}

fn input(golden: &Golden) -> Nhwc {
    let meta = &golden.meta;
    Nhwc::new([meta.n, meta.h, meta.w, 3], golden.input())
}

/// The golden's name of what a layer of the table puts out: torch sees a block, where the last convolution of one is fused with
/// the residual sum and the ReLU. Convolutions whose output torch sees only before the ReLU have none.
fn golden_name(network: &Network, layer: &Layer) -> Option<String> {
    if matches!(layer.name.as_str(), "maxpool" | "avgpool") {
        return Some(layer.name.clone());
    }
    if layer.name.contains("downsample") {
        return Some(layer.name.replace("downsample.0", "downsample.1"));
    }
    let (block, _) = layer.name.rsplit_once(".conv")?;
    let last = &network.layers()[network.find(block)?];
    (last.name == layer.name).then(|| block.to_owned())
}

fn check_layer(golden: &Golden, name: &str, shape: [usize; 4], data: &[f32]) {
    let want = golden.layer(name);
    let what = format!("{}: {name}", golden.name);
    assert_eq!(shape, want.nhwc, "{what}");
    let got: Vec<f32> = want.index.iter().map(|&i| data[i]).collect();
    let allowance = Allowance::of_largest(TOLERANCE, want.largest);
    assert_close(&what, &got, &want.value, allowance);
    // The samples could miss a wrong corner; the mean and the largest magnitude see every element.
    let mean = data.iter().map(|&v| f64::from(v)).sum::<f64>() / data.len() as f64;
    let largest = data.iter().fold(0f32, |largest, v| if v.abs() <= largest { largest } else { v.abs() });
    assert_close(&what, &[mean as f32, largest], &[want.mean, want.largest], allowance);
}

fn check_ends(golden: &Golden, features: &Nhwc, logits: &[f32]) {
    let largest = |values: &[f32]| values.iter().fold(0f32, |a, b| a.max(b.abs()));
    if let Some(want) = &golden.layer4 {
        let allowance = Allowance::of_largest(TOLERANCE, largest(want));
        assert_close(&format!("{}: layer4", golden.name), features.data(), want, allowance);
    }
    let allowance = Allowance::of_largest(TOLERANCE, largest(&golden.logits));
    assert_close(&format!("{}: logits", golden.name), logits, &golden.logits, allowance);
}

#[test]
fn cpu_agrees_with_pytorch() {
    for name in Golden::names() {
        let golden = Golden::load(&name);
        let model = model(&golden);
        assert_eq!(model.parameters() as u64, golden.meta.parameters, "{name}");
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            check_cpu(&golden, &model, isa);
        }
    }
}

fn check_cpu(golden: &Golden, model: &Model, isa: Isa) {
    let name = format!("{} with {}", golden.name, isa.name());
    let cpu = Cpu::with_isa(model, Some(2), isa).unwrap();
    let plan = cpu.plan([golden.meta.n, golden.meta.h, golden.meta.w]).unwrap();
    let kernel = if isa == Isa::Portable { "im2col_gemm" } else { isa.name() };
    for step in plan.steps.iter().filter(|step| step.kernel.starts_with("conv2d")) {
        assert!(step.kernel.contains(kernel), "{name}: {} runs as {}", step.layer, step.kernel);
    }
    let mut checked = 0;
    let Forward { features, logits } = cpu
        .forward_with(&input(golden), |layer, shape, data| {
            if let Some(name) = golden_name(model.network(), layer) {
                check_layer(golden, &name, shape, data);
                checked += 1;
            }
        })
        .unwrap();
    let blocks: usize = model.network().architecture().depths().iter().sum();
    assert!(checked >= blocks + 2, "{name}: only {checked} layers had a golden");
    check_ends(golden, &features, logits.data());
    // A second run uses the buffers of the first.
    assert_eq!(cpu.forward(&input(golden)).unwrap(), Forward { features, logits }, "{name}");
}

#[test]
fn the_definition_agrees_with_pytorch_folded_or_not() {
    for name in [
        "resnet18_w8_c10_97x161_n2_f32",
        "resnet18_w24_c10_33x224_n1_bf16",
        "resnet50_w16_c10_65x96_n2_f32",
        "resnet50_w3_c10_65x96_n2_f32",
    ] {
        let golden = Golden::load(name);
        let model = model(&golden);
        for batch_norm in [BatchNorm::Folded, BatchNorm::Unfolded] {
            let outputs = reference::forward(&model, &input(&golden), batch_norm).unwrap();
            for (layer, output) in model.network().layers().iter().zip(&outputs) {
                if let Some(name) = golden_name(model.network(), layer) {
                    check_layer(&golden, &name, output.shape(), output.data());
                }
            }
            check_ends(&golden, &outputs[model.network().features()], outputs.last().unwrap().data());
        }
    }
}

#[test]
fn every_file_form_gives_the_same_network() {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let net = golden.net();
    let folder = tempfile::tempdir().unwrap();
    let x = input(&golden);
    let run = |path: &std::path::Path| {
        let model = Model::load(WeightFile::open(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Cpu::new(&model, Some(1)).unwrap().forward(&x).unwrap()
    };
    let plain = folder.path().join("plain.safetensors");
    safetensors_file::write(&plain, &net.tensors(), seeded::Dtype::F32);
    let want = run(&plain);
    let short = folder.path().join("without-counters.safetensors");
    safetensors_file::write(&short, &net.tensors_without_counters(), seeded::Dtype::F32);
    assert_eq!(run(&short), want);
    for form in [Form::Zip, Form::Legacy] {
        for (prefix, under) in [("", None), ("module.", None), ("", Some("state_dict")), ("module.", Some("model"))] {
            let path = folder.path().join("weights.pth");
            Pth { prefix, under, ..Pth::bare(form, seeded::Dtype::F32) }.write(&path, &net.tensors());
            assert_eq!(run(&path), want, "{form:?} {prefix:?} {under:?}");
        }
    }
}

#[test]
fn threads_and_batches_do_not_change_results() {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let model = model(&golden);
    let x = input(&golden);
    let whole = Cpu::new(&model, Some(1)).unwrap().forward(&x).unwrap();
    let allowance = |values: &[f32]| Allowance::of_largest(1e-6, values.iter().fold(0f32, |a, b| a.max(b.abs())));
    for threads in [1, 2, 5] {
        let cpu = Cpu::new(&model, Some(threads)).unwrap();
        for n in 0..2 {
            let [_, h, w, c] = x.shape();
            let one = cpu.forward(&Nhwc::new([1, h, w, c], x.image(n).to_vec())).unwrap();
            assert_close("features", one.features.data(), whole.features.image(n), allowance(whole.features.data()));
            assert_close("logits", one.logits.data(), whole.logits.image(n), allowance(whole.logits.data()));
        }
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let cpu = Cpu::new(&model(&golden), Some(1)).unwrap();
    let error = |shape: [usize; 4]| cpu.forward(&Nhwc::new(shape, vec![0.0; shape.iter().product()])).unwrap_err().to_string();
    assert!(error([1, 8, 8, 4]).contains("[N, H, W, 3]"), "{}", error([1, 8, 8, 4]));
    assert!(error([1, 0, 8, 3]).contains("extent is 0"), "{}", error([1, 0, 8, 3]));
    assert!(cpu.forward(&Nhwc::new([1, 1, 1, 3], vec![0.5; 3])).is_ok(), "a single pixel is an image");
}

#[test]
fn a_foreign_instruction_set_is_refused() {
    let golden = Golden::load("resnet18_w8_c10_97x161_n2_f32");
    let foreign = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
    let error = Cpu::with_isa(&model(&golden), Some(1), foreign).err().expect("an error").to_string();
    assert!(error.contains(foreign.name()) && error.contains(Isa::detect().name()), "{error}");
}
