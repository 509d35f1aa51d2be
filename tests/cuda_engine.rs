//! The engine and the program on a CUDA device, against the same on the processor.

#![cfg(feature = "cuda")]

mod common;

use std::path::Path;

use camshaft::Device;
use camshaft::cam::{Enlarge, Levels, Method, Normalisation, Score};
use camshaft::engine::{Engine, Passes, Request};
use camshaft::input::{Input, Picture, Recipe};
use camshaft::render::{Colormap, Scene, Style};
use common::software;

fn picture(name: &str) -> Picture {
    Picture::open(&Path::new("assets/demo").join(name)).unwrap()
}

/// A small input: the software device takes its time.
fn engine(device: Device) -> Engine {
    engine_of_size(device, 96)
}

fn engine_of_size(device: Device, size: u32) -> Engine {
    Engine::builder()
        .device(device)
        .recipe(Recipe::for_size(size).unwrap())
        .batch(2)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_engine_finds_the_same_on_either_device() {
    software::device(&[]);
    let (cuda, cpu) = (engine(Device::Cuda(0)), engine(Device::Cpu));
    assert!(cuda.device().starts_with("cuda:0 (") && cuda.device().ends_with(", f16)"), "{}", cuda.device());
    assert!(cpu.device().starts_with("cpu ("), "{}", cpu.device());
    let pictures = [picture("meadow.jpg"), picture("pavement.jpg"), picture("gravel.jpg")];
    for request in [Request::top(2), Request::classes(["3", "7"]), Request::top(0)] {
        let (found, want) = (cuda.explain(&pictures, &request).unwrap(), cpu.explain(&pictures, &request).unwrap());
        assert_eq!(found.len(), 3);
        for (found, want) in found.iter().zip(&want) {
            assert_eq!(found.predictions[0].class, want.predictions[0].class);
            assert!((found.predictions[0].probability - want.predictions[0].probability).abs() < 2e-2);
            assert_eq!(found.maps.len(), want.maps.len());
            for (map, want) in found.maps.iter().zip(&want.maps) {
                assert_eq!(map.prediction.class, want.prediction.class);
                let (map, want) = (map.map.stats().unwrap(), want.map.stats().unwrap());
                assert!((map.max - want.max).abs() <= 2e-2 * want.max.abs().max(want.min.abs()), "{map:?} {want:?}");
            }
        }
    }
}

/// All but FEM: a position that just reaches its bound may count in one precision only.
#[test]
fn every_method_is_there_on_either_device() {
    software::device(&[]);
    let methods = || Method::ONE_PASS.iter().copied().filter(|&method| method != Method::Fem);
    let telling = methods().filter(|&method| method.looks_at_classes() && method != Method::FinerCam);
    let requests = [Request::top(2).methods(methods()), Request::classes(["3 - 7"]).score(Score::Probability).methods(telling)];
    let (cuda, cpu) = (engine(Device::Cuda(0)), engine(Device::Cpu));
    let pictures = [picture("meadow.jpg"), picture("pavement.jpg")];
    for request in requests {
        let (found, want) = (cuda.explain(&pictures, &request).unwrap(), cpu.explain(&pictures, &request).unwrap());
        assert_eq!(found.len(), 2);
        for (found, want) in found.iter().zip(&want) {
            assert_eq!(found.maps.len(), want.maps.len());
            for (found, want) in found.maps.iter().zip(&want.maps) {
                assert_eq!((&found.target, found.method), (&want.target, want.method));
                let most = want.map.data().iter().fold(0.0, |most: f32, v| most.max(v.abs()));
                assert!(most > 0.0);
                for (v, w) in found.map.data().iter().zip(want.map.data()) {
                    assert!((v - w).abs() <= 3e-2 * most, "{} of {}: {v}, not {w}, beside {most}", want.method, want.label);
                }
            }
        }
    }
}

/// Each drawn by its own method's normalisation, as the processor draws the same map: by whole quads of pixels, and by runs.
/// In a process of its own, as all launches are counted.
#[test]
fn every_method_is_drawn_on_the_device() {
    const ALONE: &str = "CAMSHAFT_TEST_ALONE";
    if common::cuda::software() && std::env::var_os(ALONE).is_none() {
        return common::cuda::with_settings(&[(ALONE, "1")], &["every_method_is_drawn"], 1);
    }
    let device = software::device(&[]);
    let methods = [Method::Cam, Method::GradCam, Method::EigenGradCam, Method::Fem];
    let style = Style { colormap: Colormap::Viridis, ..Style::default() };
    let request = Request::top(2).methods(methods).overlay(style).own_normalisation();
    for (size, drawn_by) in [(96, "cam_overlay_f16"), (97, "cam_overlay_runs_f16")] {
        let engine = engine_of_size(Device::Cuda(0), size);
        let steps = engine.plan_request([2, size as usize, size as usize], &request).unwrap().steps;
        let kernels: Vec<&str> = steps[steps.len() - 3..].iter().map(|step| step.kernel.as_str()).collect();
        assert_eq!(kernels, ["cam_rows_f16", "cam_eigen_f16", "cam_upsample_f16_f32"]);
        if let Some(device) = &device {
            device.take_report();
        }
        let pictures = [picture("meadow.jpg"), picture("pavement.jpg")];
        for explanation in engine.explain(&pictures, &request).unwrap() {
            assert_eq!(explanation.maps.len(), 8);
            let scene = Scene::of_crop(explanation.input.crop(), explanation.input.transform()).unwrap();
            for map in &explanation.maps {
                let style = Style { normalisation: map.method.normalisation(), ..style };
                assert!(map.overlay == Some(scene.overlay(&map.map, &style).unwrap()), "{} at {size}", map.method);
            }
        }
        if let Some(device) = &device {
            let report = device.take_report();
            let launches = report["launches"].as_array().unwrap();
            let named = |name: &str| launches.iter().filter(|l| l["kernel"].as_str().unwrap().contains(name)).count();
            assert_eq!(["cam_rows", "cam_eigen", "cam_overlay", "cam_upsample"].map(named), [1, 1, 1, 0], "the device drew them");
            assert_eq!(named(drawn_by), 1);
        }
    }
}

/// Eigenvectors of more positions than a block has room for are the processor's, and the plan says so.
#[test]
fn maps_that_are_too_large_are_the_processors() {
    software::device(&[]);
    let (cuda, cpu) = (engine(Device::Cuda(0)), engine(Device::Cpu));
    let request = Request::top(1).methods([Method::EigenCam, Method::GradCam]).enlarged(Normalisation::MinMax, Levels::U8);
    let last = |size| cuda.plan_request([1, size, size], &request).unwrap().steps.pop().unwrap().kernel;
    assert_eq!(last(96), "cam_upsample_f16_f32");
    let kernel = last(512);
    assert!(kernel.starts_with("the processor: cam_eigen") && kernel.contains("256 positions"), "{kernel}");
    assert_eq!(cpu.plan_request([1, 96, 96], &request).unwrap(), cpu.plan([1, 96, 96], 1).unwrap());
}

#[test]
fn enlarged_maps_come_with_the_maps() {
    software::device(&[]);
    let request = Request::top(2).enlarged(Normalisation::MinMax, Levels::U8);
    for device in [Device::Cuda(0), Device::Cpu] {
        for map in &engine(device).explain(&[picture("pavement.jpg")], &request).unwrap()[0].maps {
            let enlarge = Enlarge { h: 96, w: 96, normalisation: Normalisation::MinMax, levels: Levels::U8 };
            assert_eq!(map.enlarged, Some(enlarge.apply(&map.map)), "{device}");
        }
    }
}

#[test]
fn overlays_come_from_either_device() {
    software::device(&[]);
    let style = Style { colormap: Colormap::Turbo, ..Style::default() };
    let request = Request::top(2).overlay(style).enlarged(Normalisation::MinMax, Levels::U8);
    for device in [Device::Cuda(0), Device::Cpu] {
        let engine = engine(device);
        assert_eq!(engine.draws_overlays(), device != Device::Cpu);
        let inputs: Vec<Input> = ["pavement.jpg", "meadow.jpg"].map(|name| engine.prepare(&picture(name)).unwrap()).into();
        // The same prepared elsewhere, between the pictures: no device resizes it, and the processor draws it.
        let elsewhere =
            Input::from_tensor(inputs[0].tensor().into_owned(), inputs[0].crop().clone(), *inputs[0].transform()).unwrap();
        let found = engine.submit(&[&inputs[0], &elsewhere, &inputs[1]], &request).unwrap().collect().unwrap();
        assert_eq!(found.len(), 3);
        for explanation in &found {
            let scene = Scene::of_crop(explanation.input.crop(), explanation.input.transform()).unwrap();
            assert_eq!(explanation.maps.len(), 2);
            for map in &explanation.maps {
                assert!(map.overlay == Some(scene.overlay(&map.map, &style).unwrap()), "{device}");
                let enlarge = Enlarge { h: 96, w: 96, normalisation: Normalisation::MinMax, levels: Levels::U8 };
                assert_eq!(map.enlarged, Some(enlarge.apply(&map.map)), "{device}");
            }
        }
        assert_eq!(found[0].maps, found[1].maps, "{device}");
    }
}

#[test]
fn auto_takes_the_device_that_is_there() {
    software::device(&[]);
    let engine = Engine::builder().build().unwrap();
    assert!(engine.device().starts_with("cuda:0 ("), "{}", engine.device());
    assert_eq!(engine.fallback(), None);
}

#[cfg(feature = "cli")]
mod program {
    use std::process::{Command, Output};

    /// The program with the software device in place of a driver.
    fn camshaft(arguments: &[&str]) -> Output {
        camshaft_with(arguments, &[])
    }

    /// As [`camshaft`], with settings of the software device.
    fn camshaft_with(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let library = std::env::var_os("CUDA_EMU_LIBRARY").map_or_else(|| folder.join("libcuda_emu.so"), Into::into);
        let mut command = Command::new(env!("CARGO_BIN_EXE_camshaft"));
        command.args(arguments).env_remove("CAMSHAFT_DEVICE").env("CAMSHAFT_OFFLINE", "1").envs(settings.iter().copied());
        if std::env::var("CAMSHAFT_TEST_DEVICE").as_deref() != Ok("gpu") {
            command.env("LD_PRELOAD", library);
        }
        command.output().unwrap()
    }

    /// The program with whatever driver the machine has.
    fn bare(arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_camshaft"));
        command.args(arguments).env_remove("CAMSHAFT_DEVICE").env_remove("LD_PRELOAD").env("CAMSHAFT_OFFLINE", "1");
        command.output().unwrap()
    }

    #[test]
    fn auto_says_why_it_took_the_cpu() {
        let output = bare(&["info", "--brief"]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        let took_cpu = stderr.starts_with("note: running on the cpu: ");
        assert_ne!(took_cpu, stdout.contains("cuda:0 ("), "one or the other:\n{stdout}\n{stderr}");
        assert_eq!(took_cpu, stdout.contains("cpu ("), "{stdout}\n{stderr}");
        let asked = bare(&["info", "--brief", "--device", "cuda"]);
        assert_eq!(asked.status.success(), !took_cpu, "asked for and unable is an error");
        if took_cpu {
            let reason = stderr.trim().trim_start_matches("note: running on the cpu: ");
            assert_eq!(text(&asked.stderr).trim(), format!("error: {reason}"));
        }
    }

    #[test]
    fn an_old_driver_is_told_the_ways_out() {
        if std::env::var("CAMSHAFT_TEST_DEVICE").as_deref() == Ok("gpu") {
            return println!("hardware has the driver that it has");
        }
        let output = camshaft_with(&["info", "--brief", "--device", "cuda"], &[("CUDA_EMU_PTX", "7.0")]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("update") && stderr.contains("CAMSHAFT_CUDA_ARCHS=80"), "{stderr}");
        let output = camshaft_with(&["info", "--brief"], &[("CUDA_EMU_PTX", "7.0")]);
        assert!(output.status.success());
        assert!(text(&output.stderr).contains("note: running on the cpu: the driver cannot load"), "{}", text(&output.stderr));
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn info_shows_the_plan() {
        let output = camshaft(&["info", "--device", "cuda", "--plan"]);
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for part in [
            "cuda:0 (",
            ", f16)",
            "MiB parameters",
            "resize_normalise_f16_c3",
            "conv2d_implicit_gemm_f16_nhwc",
            "avgpool, fc",
            "linear_f16",
            "cam_upsample_f16",
        ] {
            assert!(stdout.contains(part), "`{part}` is not in\n{stdout}");
        }
        let single = text(&camshaft(&["info", "--device", "cuda:0", "--precision", "f32", "--plan"]).stdout);
        assert!(single.contains("conv2d_direct_f32_nhwc") && single.contains(", f32)"), "{single}");
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let output = camshaft(&["info", "--device", "cuda:99"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("no CUDA device 99"), "{}", text(&output.stderr));
        let output = camshaft(&["info", "--device", "cpu", "--precision", "f16"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("f32 only"), "{}", text(&output.stderr));
        let output = camshaft(&["info", "--device", "gpu"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}

/// What `bench` does on a GPU; the software device's clock gives numbers that mean nothing.
#[test]
fn passes_and_steps_are_timed_by_the_device() {
    let device = software::device(&[]);
    let engine = engine(Device::Cuda(0));
    let passes = Passes { images: [2, 32, 40], maps: 1, levels: Some(Levels::U8), warm_up: 1, passes: 4, layers: true };
    let timings = engine.measure(&passes).unwrap();
    assert_eq!((timings.whole.len(), timings.device.len()), (4, 4));
    let plan = engine.plan(passes.images, passes.maps).unwrap();
    let (first, rest) = plan.steps.split_first().unwrap();
    assert_eq!(first.layer, "preprocess", "of pictures; here the images are tensors");
    assert!(timings.steps.iter().map(|step| &step.layer).eq(rest.iter().map(|step| &step.layer)));
    assert!(timings.steps.iter().all(|step| step.seconds.len() == 4));
    let gpu = engine.gpu().unwrap().unwrap();
    assert!(gpu.sms > 0 && gpu.capability >= 75 && gpu.driver >= 12_000, "{gpu:?}");
    assert_eq!(gpu.is_software(), device.is_some(), "{gpu:?}");
}
