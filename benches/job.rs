//! The whole job, JPEG in and overlay out: its stages alone, all of them in the pipeline, warm for one image, and as a process.
//!
//! ```text
//! cargo bench --bench job
//! CAMSHAFT_JOB_IMAGES=1000 cargo bench --bench job -- job/pipeline
//! ```
//!
//! Pictures are the bundled ones as JPEGs of 240 to 1023 pixels a side, hardly two sizes alike; `demo` is the bundled model, `resnet18` one of 47 MB with seeded weights; the most probable class is drawn over the crop. The ids are
//! `job/STAGE/NETWORK/nIMAGES`; throughput is in images. Files are in the page cache. The pipeline can be no quicker than its slowest
//! stage; on the processor, where all stages share the cores, no quicker than the sum of what they take of these.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "common/mod.rs"]
mod pictures;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use camshaft::engine::{Device, Engine, Explanation, Request};
use camshaft::input::{Input, Picture};
use camshaft::output::write_png;
use camshaft::pipeline::Explained;
use camshaft::render::{Scene, Style};
use common::seeded::{Dtype, Net};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use pictures::{bundled, jpeg, sized};
use rayon::prelude::*;

/// Images of one pass through the pipeline, unless `CAMSHAFT_JOB_IMAGES` says otherwise.
const IMAGES: usize = 48;
const BATCH: usize = 8;

fn jpegs(folder: &Path, count: usize) -> Vec<PathBuf> {
    let sources = ["meadow", "pavement", "gravel", "chelsea"].map(bundled);
    let write = |index: usize| {
        let path = folder.join(format!("{index}.jpg"));
        let side = |step: usize| 240 + (index * step % 784) as u32;
        let picture = sized(&sources[index % sources.len()], (side(37), side(101)));
        fs::write(&path, jpeg(&picture)).expect("a file");
        path
    };
    (0..count).into_par_iter().map(write).collect()
}

fn read(engine: &Engine, path: &Path) -> Input {
    engine.prepare(&Picture::open(path).expect("a picture")).expect("an input")
}

fn draw(explanation: &Explanation, out: &Path) {
    let input = &explanation.input;
    let scene = Scene::of_crop(input.crop(), input.transform()).expect("a scene");
    let overlay = scene.overlay(&explanation.maps[0].map, &Style::default()).expect("an overlay");
    write_png(out, &overlay, true).expect("a file");
}

fn job(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = folder.path().join("resnet18.safetensors");
    common::safetensors_file::write(&weights, &Net::resnet(18, 1000).tensors(), Dtype::F32);
    let count = std::env::var("CAMSHAFT_JOB_IMAGES").map_or(IMAGES, |count| count.parse().expect("a number of images"));
    let files = jpegs(folder.path(), count);
    let out = |file: &Path| file.with_extension("png");
    let request = Request::top(1);

    let mut group = criterion.benchmark_group("job");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_secs(1));
    for name in ["demo", "resnet18"] {
        let source = if name == "demo" { name.parse() } else { weights.display().to_string().parse() }.expect("weights");
        let engine = Engine::builder().weights(source).device(Device::Cpu).batch(BATCH).build().expect("an engine");
        let n = format!("{name}/n{count}");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("read", &n), |bencher| {
            bencher.iter(|| files.par_iter().map(|file| read(&engine, file)).map(drop).count());
        });
        let inputs: Vec<_> = files.iter().map(|file| read(&engine, file)).collect();
        let inputs: Vec<_> = inputs.iter().collect();
        group.bench_function(BenchmarkId::new("network", &n), |bencher| {
            bencher.iter(|| engine.explain_inputs(&inputs, &request).expect("explanations"));
        });
        let explanations = engine.explain_inputs(&inputs, &request).expect("explanations");
        group.bench_function(BenchmarkId::new("finish", &n), |bencher| {
            bencher.iter(|| explanations.par_iter().zip(&files).for_each(|(explanation, file)| draw(explanation, &out(file))));
        });
        group.bench_function(BenchmarkId::new("pipeline", &n), |bencher| {
            bencher.iter(|| {
                let mut done = 0;
                let finish = |file: &PathBuf, explained: Result<Explained, camshaft::Error>| {
                    draw(&explained.expect("an explanation").explanation, &out(file));
                };
                let read = |file: &&PathBuf, room: &mut dyn FnMut(u64)| Ok(Picture::open_within(file, room)?);
                let each = |()| {
                    done += 1;
                    ControlFlow::Continue(())
                };
                engine.pipeline(&request).run(&files, read, finish, each).expect("threads");
                assert_eq!(done, files.len());
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("warm", format!("{name}/n1")), |bencher| {
            bencher.iter(|| {
                let input = read(&engine, &files[0]);
                draw(&engine.explain_inputs(&[&input], &request).expect("an explanation")[0], &out(&files[0]));
            });
        });
        drop(engine);
        group.bench_function(BenchmarkId::new("process", format!("{name}/n1")), |bencher| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_camshaft"));
            command.arg("cam").arg(&files[0]).args(["--top=1", "--save=overlay", "--force", "--device=cpu", "--weights"]);
            command.arg(if name == "demo" { Path::new(name) } else { &weights }).arg("--out").arg(folder.path().join("out"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            bencher.iter(|| assert!(command.status().expect("the program").success()));
        });
    }
    group.finish();
}

criterion_group!(benches, job);
criterion_main!(benches);
