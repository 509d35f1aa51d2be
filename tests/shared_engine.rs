//! One engine for several threads at a time, from inside pools of the caller's own too: each gets the results of one thread alone,
//! and none waits for ever.

mod common;

use camshaft::cam::Method;
use camshaft::input::{Picture, Recipe};
use camshaft::{Device, Engine, Request};
use common::watchdog::Watchdog;
use image::{Rgb, RgbImage};

/// The bundled model on small inputs.
fn engine(device: Device, threads: usize) -> Engine {
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (None, Some(32));
    Engine::builder().device(device).threads(threads).recipe(recipe).batch(2).build().unwrap_or_else(|error| panic!("{error}"))
}

fn picture(number: u32) -> Picture {
    let rgb = RgbImage::from_fn(36, 34, |x, y| Rgb([(x * 7 + number * 31) as u8, (y * 11) as u8, (x * y + number) as u8]));
    Picture::from_rgb(format!("picture {number}"), rgb)
}

/// Every bit that was found.
type Seen = Vec<(Vec<u32>, Vec<Vec<u32>>)>;

fn seen(engine: &Engine, number: u32, request: &Request) -> Seen {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let found = engine.explain(&[picture(number), picture(number + 1), picture(number + 2)], request).unwrap();
    let logits = |one: &camshaft::engine::Explanation| one.predictions.iter().map(|class| class.logit.to_bits()).collect();
    found.iter().map(|one| (logits(one), one.maps.iter().map(|map| bits(map.map.data())).collect())).collect()
}

/// Requests of every way through an engine: plain maps, methods of one pass, masked images.
fn requests() -> [Request; 3] {
    let masked =
        Request::top(1).methods([Method::IsCam]).masking(camshaft::cam::Masking { samples: Some(2), ..Default::default() });
    [Request::top(2), Request::classes(["3 - 7"]).methods([Method::GradCam, Method::LayerCam]), masked]
}

/// `times` calls of each of `callers` threads, and as many from inside a pool of two threads, against one thread alone.
fn share(engines: &[&Engine], callers: u32, times: u32) {
    let requests = requests();
    let alone: Vec<Vec<Seen>> =
        (0..callers).map(|caller| requests.iter().map(|request| seen(engines[0], caller, request)).collect()).collect();
    let call = |caller: u32| {
        let engine = engines[caller as usize % engines.len()];
        for at in 0..times {
            let which = (caller + at) as usize % requests.len();
            assert_eq!(seen(engine, caller, &requests[which]), alone[caller as usize][which], "caller {caller}, call {at}");
        }
    };
    std::thread::scope(|scope| (0..callers).for_each(|caller| drop(scope.spawn(move || call(caller)))));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.scope(|scope| (0..callers).for_each(|caller| scope.spawn(move |_| call(caller))));
}

#[test]
fn the_processor_serves_many_callers() {
    let _watchdog = Watchdog::new("callers of an engine on the processor");
    for threads in [1, 2, 3] {
        share(&[&engine(Device::Cpu, threads)], 4, 6);
    }
    share(&[&engine(Device::Cpu, 2), &engine(Device::Cpu, 2)], 4, 6);
}

/// A thread of a pool that waits for the engine must not take up all other tasks of its pool one upon the other, which took more
/// stack than there is.
#[test]
fn many_tasks_of_a_pool_do_not_pile_up() {
    let _watchdog = Watchdog::new("many tasks of a pool");
    let (engine, request) = (&engine(Device::Cpu, 2), &Request::top(1));
    let alone = &seen(engine, 0, request);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).stack_size(1 << 20).build().unwrap();
    pool.scope(|scope| {
        for _ in 0..2000 {
            scope.spawn(|_| assert_eq!(&seen(engine, 0, request), alone));
        }
    });
}

#[cfg(feature = "cuda")]
#[test]
fn a_cuda_device_serves_many_callers() {
    let _watchdog = Watchdog::new("callers of an engine on a CUDA device");
    let device = common::software::device(&[]);
    let first = engine(Device::Cuda(0), 1);
    share(&[&first], 4, 3);
    share(&[&first, &engine(Device::Cuda(0), 1)], 4, 3);
    drop(first);
    common::software::assert_no_findings(device);
}
