//! Launches that may begin before the kernel before them has ended: what they do before they wait, or without waiting, is held to
//! that. And page-locked memory that kernels reach.

use std::ffi::c_void;

use cudarc::driver::sys::{self, CUlaunchAttributeID, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaFunction, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::harness::{KERNELS, code, device};

const WAIT: &str = "griddepcontrol.wait;";
const TRIGGER: &str = "griddepcontrol.launch_dependents;";
/// Of a thread's word of `a`, and of `b`.
const WRITE_A: &str = "st.global.u32 [%rd3], %r1;";
const READ_B: &str = "ld.global.u32 %r2, [%rd4];";
const ADD_A: &str = "atom.global.add.u32 %r2, [%rd3], 1;";

/// Kernels `k0`, `k1`, ... of these bodies, each `(a, b)`: one word a thread.
fn module(target: &str, bodies: &[String]) -> String {
    let kernel = |(number, body): (usize, &String)| {
        format!(
            ".visible .entry k{number}(.param .u64 a, .param .u64 b) {{
    .reg .pred %p<4>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd5, %r1, 4;
    add.s64 %rd3, %rd1, %rd5;
    add.s64 %rd4, %rd2, %rd5;
    {body}
    ret;
}}
"
        )
    };
    let header = format!(".version 8.0\n.target {target}\n.address_size 64\n");
    header + &bodies.iter().enumerate().map(kernel).collect::<String>()
}

/// Launches 64 threads on two addresses with one attribute of this kind.
fn launch(
    stream: &CudaStream,
    function: &CudaFunction,
    (kind, value): (CUlaunchAttributeID, i32),
    mut addresses: [u64; 2],
) -> Result<(), cudarc::driver::DriverError> {
    let mut attribute = sys::CUlaunchAttribute {
        id: kind,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: value },
    };
    let config = sys::CUlaunchConfig {
        gridDimX: 1,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 64,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: stream.cu_stream(),
        attrs: &raw mut attribute,
        numAttrs: 1,
    };
    let mut arguments: [*mut c_void; 2] = addresses.each_mut().map(|address| (&raw mut *address).cast());
    // SAFETY: two addresses, as the kernels take; what they do there is up to the test, and no process has memory there.
    unsafe {
        sys::cuLaunchKernelEx(&raw const config, function.cu_function(), arguments.as_mut_ptr(), std::ptr::null_mut()).result()
    }
}

const PROGRAMMATIC: CUlaunchAttributeID = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;

/// Body, whether it is launched programmatically, and its `a` and `b` among three buffers of 64 words.
type Step<'a> = (&'a [&'a str], bool, [usize; 2]);

/// Runs the steps on a device, in a stream or as a graph; the findings' words.
fn run(profile: &str, policy: &str, as_graph: bool, steps: &[Step<'_>]) -> Vec<String> {
    let device = device(&[("CUDA_EMU_DEVICE", profile), ("CUDA_EMU_STREAMS", policy), ("CUDA_EMU_CHECK", "report")]);
    // SAFETY: everything happens in one stream.
    unsafe { device.context.disable_event_tracking() };
    let target = if profile == "H100" { "sm_90" } else { "sm_80" };
    let text = module(target, &steps.iter().map(|(body, ..)| body.join("\n    ")).collect::<Vec<_>>());
    let loaded = device.context.load_module(Ptx::from_src(text)).unwrap();
    let stream = device.context.new_stream().unwrap();
    let buffers = [1u32, 2, 3].map(|value| stream.clone_htod(&[value; 64]).unwrap());
    let addresses: Vec<u64> = buffers.iter().map(|buffer| buffer.device_ptr(&stream).0).collect();
    stream.synchronize().unwrap();
    let enqueue = || {
        for (number, &(_, programmatic, [a, b])) in steps.iter().enumerate() {
            let function = loaded.load_function(&format!("k{number}")).unwrap();
            launch(&stream, &function, (PROGRAMMATIC, programmatic.into()), [addresses[a], addresses[b]]).unwrap();
        }
    };
    if as_graph {
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        enqueue();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        graph.launch().unwrap();
        let _ = stream.synchronize(); // what went wrong is in the report
    } else {
        enqueue();
        let _ = stream.synchronize();
    }
    drop((buffers, loaded, stream));
    device.findings().into_iter().map(|(kind, message)| format!("{kind}: {message}")).collect()
}

/// The findings of the steps on a device that has such launches, the same in every way of running them.
#[track_caller]
fn expect(steps: &[Step<'_>], words: Option<&str>) {
    for (policy, as_graph) in [("eager", false), ("lazy", false), ("eager", true), ("random", true)] {
        let found = run("H100", policy, as_graph, steps);
        match words {
            None => assert!(found.is_empty(), "{policy} {as_graph}: {found:#?}"),
            Some(words) => {
                let is_it = |found: &String| found.starts_with("grid_dependency: ") && found.contains(words);
                assert!(found.len() == 1 && found.iter().all(is_it), "{policy} {as_graph}, {words}: {found:#?}");
            }
        }
    }
}

const FIRST: Step<'_> = (&[WAIT, WRITE_A], false, [0, 1]);

#[test]
fn who_waits_may_do_everything() {
    expect(&[FIRST, (&[TRIGGER, WAIT, READ_B, WRITE_A], true, [1, 0]), (&[WAIT, TRIGGER, READ_B, WRITE_A], true, [0, 1])], None);
    // What nobody writes may be read at any time, and what nobody else touches written.
    expect(&[FIRST, (&[READ_B, WRITE_A, WAIT], true, [2, 1])], None);
    // A barrier hands on what one thread has waited for.
    let one_waits = ["setp.ne.u32 %p1, %r1, 0;", "@%p1 bra L;", WAIT, "L:", "bar.sync 0;", READ_B];
    expect(&[FIRST, (&one_waits, true, [1, 0])], None);
    // Without the attribute launches come one after the other, waiting or not.
    expect(&[FIRST, (&[READ_B, WRITE_A], false, [0, 0])], None);
}

#[test]
fn reading_before_the_wait_is_reported() {
    let words = "read of a byte written by the launch of k0 before, which may still run before griddepcontrol.wait, offset 0";
    expect(&[FIRST, (&[READ_B, WAIT], true, [1, 0])], Some(words));
    expect(&[FIRST, (&[READ_B], true, [1, 0])], Some(words));
    // Another thread's wait does not help without a barrier.
    let one_waits = ["setp.ne.u32 %p1, %r1, 0;", "@%p1 bra L;", WAIT, "L:", READ_B];
    expect(&[FIRST, (&one_waits, true, [1, 0])], Some("read of a byte written by the launch of k0"));
}

#[test]
fn overwriting_before_the_wait_is_reported() {
    let reader: Step<'_> = (&[WAIT, READ_B, WRITE_A], false, [0, 1]);
    expect(&[reader, (&[WRITE_A, WAIT], true, [1, 2])], Some("write of a byte read by the launch of k0"));
    expect(&[reader, (&[WRITE_A, WAIT], true, [0, 2])], Some("write of a byte written by the launch of k0"));
    expect(&[reader, (&[ADD_A, WAIT], true, [1, 2])], Some("atomic of a byte read by the launch of k0"));
    expect(&[reader, (&[READ_B, WAIT], true, [2, 1])], None);
}

#[test]
fn the_read_only_path_is_for_what_nobody_writes() {
    let read = "ld.global.nc.u32 %r2, [%rd4];";
    expect(&[FIRST, (&[WAIT, read], true, [1, 0])], Some("so that the byte is not read-only during this launch"));
    expect(&[FIRST, (&[WAIT, read], true, [1, 2])], None);
    expect(&[FIRST, (&[WAIT, read], false, [1, 0])], None);
}

#[test]
fn waits_are_handed_on_by_who_waits_only() {
    // The second does not wait, so that the third one's wait says nothing of the first.
    let words = "k0 before, which may still run: the launches in between did not wait for it";
    expect(&[FIRST, (&[WRITE_A], true, [1, 2]), (&[WAIT, READ_B], true, [2, 0])], Some(words));
    // The second lets the third begin before it waits: then the first may run still, else it has ended.
    let third: Step<'_> = (&[READ_B, WAIT], true, [2, 0]);
    expect(&[FIRST, (&[TRIGGER, WAIT, WRITE_A], true, [1, 2]), third], Some("read of a byte written by the launch of k0"));
    expect(&[FIRST, (&[WAIT, TRIGGER, WRITE_A], true, [1, 2]), third], None);
    expect(&[FIRST, (&[WAIT, WRITE_A], true, [1, 2]), third], None);
    expect(&[FIRST, (&[TRIGGER, WAIT, WRITE_A], true, [1, 2]), (&[WAIT, READ_B], true, [2, 0])], None);
}

#[test]
fn older_devices_take_the_attribute_and_launch_in_turn() {
    let steps: [Step<'_>; 2] = [(&[WRITE_A], true, [0, 1]), (&[READ_B, WRITE_A], true, [1, 0])];
    for as_graph in [false, true] {
        assert_eq!(run("A100", "eager", as_graph, &steps), [""; 0]);
        assert_eq!(run("H100", "eager", as_graph, &steps).len(), 1);
    }
    let device = device(&[]);
    let refused = device.context.load_module(Ptx::from_src(module("sm_80", &[WAIT.to_owned()])));
    assert_eq!(code(refused), CUresult::CUDA_ERROR_INVALID_PTX);
    device.expect("invalid_module", "need sm_90");
}

#[test]
fn something_else_in_between_separates_launches() {
    let device = device(&[("CUDA_EMU_DEVICE", "H100")]);
    // SAFETY: everything happens in one stream.
    unsafe { device.context.disable_event_tracking() };
    let bodies = [WRITE_A, READ_B].map(str::to_owned);
    let loaded = device.context.load_module(Ptx::from_src(module("sm_90", &bodies))).unwrap();
    let stream = device.context.new_stream().unwrap();
    let mut other = stream.alloc_zeros::<u8>(4).unwrap();
    let a = stream.clone_htod(&[0u32; 64]).unwrap();
    let addresses = [a.device_ptr(&stream).0; 2];
    launch(&stream, &loaded.load_function("k0").unwrap(), (PROGRAMMATIC, 1), addresses).unwrap();
    stream.memset_zeros(&mut other).unwrap();
    launch(&stream, &loaded.load_function("k1").unwrap(), (PROGRAMMATIC, 1), addresses).unwrap();
    stream.synchronize().unwrap();
    drop((a, other, loaded, stream));
    let report = device.report();
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(report["launches"][1]["programmatic"], true);
}

#[test]
fn other_attributes_are_refused() {
    let device = device(&[("CUDA_EMU_DEVICE", "H100")]);
    let fill = device.kernel(KERNELS, "fill");
    let stream = device.context.default_stream();
    let refused = launch(&stream, &fill, (CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, 2), [0, 0]);
    assert_eq!(code(refused), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    drop((fill, stream));
    device.expect("invalid_call", "launch attribute 4 is not supported");
}

#[test]
fn prefetches_stay_inside() {
    let prefetch = |offset: u32, bytes: u32| {
        let body = format!("add.s64 %rd6, %rd2, {offset}; cp.async.bulk.prefetch.L2.global [%rd6], {bytes};");
        run("H100", "eager", false, &[FIRST, (&[&body, WAIT], true, [1, 0])])
    };
    // Of what another launch writes, too: nothing is read.
    assert_eq!(prefetch(0, 256), [""; 0]);
    assert_eq!(prefetch(240, 16), [""; 0]);
    for (offset, bytes, words) in
        [(0, 272, "out_of_bounds"), (16, 256, "out_of_bounds"), (8, 16, "misaligned"), (0, 24, "misaligned")]
    {
        let found = prefetch(offset, bytes);
        assert!(found.len() == 1 && found[0].starts_with(words), "{offset} {bytes}: {found:#?}");
    }
}

#[test]
fn kernels_reach_page_locked_memory_that_was_asked_for() {
    let device = device(&[("CUDA_EMU_STREAMS", "lazy")]);
    let fill = device.kernel(KERNELS, "fill");
    let stream = device.context.new_stream().unwrap();
    let pinned = |flags| {
        // SAFETY: written below before it is read.
        let mut pinned = unsafe { device.context.alloc_pinned_with_flags::<u32>(5, flags) }.unwrap();
        pinned.as_mut_slice().unwrap().fill(9);
        pinned
    };
    let address = |pointer: *mut u32| {
        let mut address = 0;
        // SAFETY: the pointer is only looked up.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, pointer.cast(), 0).result() }.map(|()| address)
    };
    let (mut plain, mut mapped) = (pinned(0), pinned(sys::CU_MEMHOSTALLOC_DEVICEMAP));
    assert_eq!(code(address(plain.as_mut_ptr().unwrap())), CUresult::CUDA_ERROR_INVALID_VALUE);
    let host = mapped.as_mut_ptr().unwrap();
    let at = address(host).unwrap();
    let config = |threads| LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: four of five words.
    unsafe { stream.launch_builder(&fill).arg(&at).arg(&100u32).launch(config(4)) }.unwrap();
    // SAFETY: live memory of this process, which nobody writes at this moment.
    let words = || unsafe { std::slice::from_raw_parts(host, 5) }.to_vec();
    assert_eq!(words(), [9; 5], "nothing has waited for the kernel");
    stream.synchronize().unwrap();
    assert_eq!(words(), [100, 101, 102, 103, 9]);
    // What a kernel wrote is there after a fault of the next, too.
    // SAFETY: five words, then six of five, on purpose.
    unsafe {
        stream.launch_builder(&fill).arg(&at).arg(&200u32).launch(config(5)).unwrap();
        stream.launch_builder(&fill).arg(&at).arg(&300u32).launch(config(6)).unwrap();
    }
    assert_eq!(code(stream.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_eq!(words(), [200, 201, 202, 203, 204]);
    drop((plain, mapped, fill, stream));
    let findings = device.findings();
    let kinds: Vec<_> = findings.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["unallocated", "invalid_call"], "{findings:#?}");
}
