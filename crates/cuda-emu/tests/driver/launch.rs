//! Modules, launches, and how their errors come back.

use cudarc::driver::sys::{CUfunction_attribute as Attribute, CUresult};
use cudarc::driver::{DevicePtr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::harness::{KERNELS, code, device};

fn config(grid: u32, block: u32, shared_mem_bytes: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes }
}

#[test]
fn kernels_run_in_every_order() {
    for order in ["in-order", "reverse", "random"] {
        let device = device(&[("CUDA_EMU_ORDER", order), ("CUDA_EMU_SEED", "11")]);
        let fill = device.kernel(KERNELS, "fill");
        let add = device.kernel(KERNELS, "add");
        let stream = device.context.default_stream();
        // SAFETY: `fill` writes all of it.
        let mut a = unsafe { stream.alloc::<u32>(512) }.unwrap();
        let b = stream.clone_htod(&[1000u32; 512]).unwrap();
        // SAFETY: arguments and sizes fit the kernels.
        unsafe {
            stream.launch_builder(&fill).arg(&mut a).arg(&5u32).launch(config(4, 128, 0)).unwrap();
            stream.launch_builder(&add).arg(&mut a).arg(&b).launch(config(2, 256, 0)).unwrap();
        }
        let expected: Vec<u32> = (0..512).map(|i| 1005 + i).collect();
        assert_eq!(stream.clone_dtoh(&a).unwrap(), expected);
        drop((a, b, fill, add, stream));
        let report = device.report();
        assert_eq!(report["findings"], serde_json::json!([]));
        let kernels: Vec<_> = report["launches"].as_array().unwrap().iter().map(|l| l["kernel"].as_str().unwrap()).collect();
        assert_eq!(kernels, ["fill", "add"]);
        assert!(report["launches"][0]["occupancy"]["blocks"].as_u64().unwrap() > 0);
    }
}

#[test]
fn graphs_launch_kernels_with_copied_parameters() {
    for policy in ["eager", "lazy", "random"] {
        let device = device(&[("CUDA_EMU_STREAMS", policy)]);
        // SAFETY: everything happens in one stream.
        unsafe { device.context.disable_event_tracking() };
        let fill = device.kernel(KERNELS, "fill");
        let stream = device.context.new_stream().unwrap();
        let mut a = stream.alloc_zeros::<u32>(4).unwrap();
        stream.begin_capture(cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL).unwrap();
        let mut value = 5u32;
        // SAFETY: arguments and sizes fit the kernel.
        unsafe { stream.launch_builder(&fill).arg(&mut a).arg(&value).launch(config(1, 4, 0)) }.unwrap();
        value += 100;
        let graph = stream.end_capture(cudarc::driver::sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        for _ in 0..3 {
            stream.memset_zeros(&mut a).unwrap();
            graph.launch().unwrap();
            assert_eq!(stream.clone_dtoh(&a).unwrap(), [5, 6, 7, 8], "{policy} {value}");
        }
        drop((graph, a, fill, stream));
        device.finish();
    }
}

#[test]
fn module_variables_can_be_looked_up() {
    let device = device(&[]);
    let module = device.context.load_module(Ptx::from_src(KERNELS)).unwrap();
    let stream = device.context.default_stream();
    let scale = module.get_global("scale", &stream).unwrap();
    assert_eq!(stream.clone_dtoh(&scale).unwrap(), 3u32.to_ne_bytes());
    assert_eq!(code(module.get_global("nothing", &stream)), CUresult::CUDA_ERROR_NOT_FOUND);
    assert_eq!(code(module.load_function("nothing")), CUresult::CUDA_ERROR_NOT_FOUND);
    drop((module, stream));
    device.finish();
}

#[test]
fn attributes_and_occupancy() {
    let device = device(&[]);
    let shared = device.kernel(KERNELS, "shared");
    let add = device.kernel(KERNELS, "add");
    let attribute = |function: &cudarc::driver::CudaFunction, attribute| function.get_attribute(attribute).unwrap();
    assert_eq!(attribute(&shared, Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES), 1024);
    assert_eq!(attribute(&shared, Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), (48 << 10) - 1024);
    assert_eq!(attribute(&add, Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 256);
    assert_eq!(attribute(&add, Attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION), 75);
    assert_eq!(attribute(&add, Attribute::CU_FUNC_ATTRIBUTE_BINARY_VERSION), 80);
    // 2048 threads by 256; 164 KiB by 1 KiB reserved, 1 KiB static and 30 KiB.
    assert_eq!(add.occupancy_max_active_blocks_per_multiprocessor(256, 0, None).unwrap(), 8);
    assert_eq!(shared.occupancy_max_active_blocks_per_multiprocessor(256, 30 << 10, None).unwrap(), 5);
    extern "C" fn none(_: i32) -> usize {
        0
    }
    assert_eq!(add.occupancy_max_potential_block_size(none, 0, 0, None).unwrap(), (8 * 108, 256));
    assert!(shared.occupancy_available_dynamic_smem_per_block(2, 256).unwrap() >= 80 << 10);
    drop((shared, add));
    device.finish();
}

#[test]
fn images_that_cannot_run_are_refused() {
    let old = [("CUDA_EMU_PTX", "7.4")];
    let newer = KERNELS.replace("sm_75", "sm_90");
    type Case<'a> = (&'a [(&'a str, &'a str)], Ptx, CUresult, &'a str);
    let cases: [Case<'_>; 6] = [
        (&[], Ptx::from_binary(b"\x7FELF\x02\x01\x01\0".to_vec()), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU, "machine code"),
        (&[], Ptx::from_src("no ptx"), CUresult::CUDA_ERROR_INVALID_PTX, ""),
        (&[], Ptx::from_src(KERNELS.replace("mul.wide", "mul.wild")), CUresult::CUDA_ERROR_INVALID_PTX, "mul.wild"),
        (&[], Ptx::from_src(newer), CUresult::CUDA_ERROR_INVALID_PTX, "sm_90"),
        (&[], Ptx::from_file("/nowhere/kernel.ptx"), CUresult::CUDA_ERROR_FILE_NOT_FOUND, "/nowhere/kernel.ptx"),
        (&old, Ptx::from_src(KERNELS), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "newer"),
    ];
    for (settings, ptx, expected, words) in cases {
        let device = device(settings);
        assert_eq!(code(device.context.load_module(ptx)), expected);
        let findings = device.findings();
        assert!(findings.len() == 1 && findings[0].1.contains(words), "{words}: {findings:#?}");
    }
}

#[test]
fn launches_beyond_a_limit_are_refused() {
    let too_large: [(&str, LaunchConfig, &str); 7] = [
        ("fill", config(0, 32, 0), "grid"),
        ("fill", LaunchConfig { grid_dim: (1, 65_536, 1), ..config(1, 32, 0) }, "grid"),
        ("fill", config(1, 0, 0), "block"),
        ("fill", LaunchConfig { block_dim: (1, 1, 65), ..config(1, 1, 0) }, "block"),
        ("fill", LaunchConfig { block_dim: (32, 33, 1), ..config(1, 1, 0) }, "1056 threads"),
        ("add", config(1, 257, 0), "compiled for at most"),
        ("shared", config(1, 32, 48 << 10), "MAX_DYNAMIC_SHARED_SIZE_BYTES"),
    ];
    for (kernel, config, words) in too_large {
        let device = device(&[]);
        let function = device.kernel(KERNELS, kernel);
        let stream = device.context.default_stream();
        let a = stream.alloc_zeros::<u32>(2048).unwrap();
        // SAFETY: refused before it runs.
        let refused = unsafe { stream.launch_builder(&function).arg(&a).arg(&a).launch(config) };
        assert_eq!(code(refused), CUresult::CUDA_ERROR_INVALID_VALUE, "{words}");
        // A refused launch is no sticky error.
        assert_eq!(stream.clone_dtoh(&a).unwrap()[0], 0);
        drop((a, function, stream));
        device.expect("invalid_launch", words);
    }
}

#[test]
fn more_shared_memory_must_be_asked_for() {
    let device = device(&[]);
    let shared = device.kernel(KERNELS, "shared");
    let stream = device.context.default_stream();
    let mut a = stream.alloc_zeros::<u32>(32).unwrap();
    shared.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100 << 10).unwrap();
    // SAFETY: arguments and sizes fit the kernel.
    unsafe { stream.launch_builder(&shared).arg(&mut a).launch(config(1, 32, 100 << 10)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&a).unwrap()[31], 31);
    let too_much = shared.set_attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 << 10);
    assert_eq!(code(too_much), CUresult::CUDA_ERROR_INVALID_VALUE);
    drop((a, shared, stream));
    device.expect("invalid_launch", "the device has 165888");
}

#[test]
fn a_fault_comes_back_from_every_later_call() {
    for policy in ["eager", "lazy"] {
        let device = device(&[("CUDA_EMU_STREAMS", policy)]);
        let fill = device.kernel(KERNELS, "fill");
        let stream = device.context.default_stream();
        let mut a = stream.alloc_zeros::<u32>(64).unwrap();
        // SAFETY: out of bounds on purpose, in memory that belongs to no process.
        unsafe { stream.launch_builder(&fill).arg(&mut a).arg(&0u32).launch(config(1, 65, 0)) }.unwrap();
        let illegal = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
        assert_eq!(code(stream.synchronize()), illegal, "{policy}");
        assert_eq!(code(stream.synchronize()), illegal);
        assert_eq!(code(stream.clone_htod(&[1u32])), illegal);
        assert_eq!(code(device.context.mem_get_info()), illegal);
        drop((a, fill, stream));
        let report = device.report();
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{report:#}");
        assert_eq!((&findings[0]["kind"], &findings[0]["kernel"]), (&"out_of_bounds".into(), &"fill".into()));
        assert_eq!(findings[0]["thread"], serde_json::json!([64, 0, 0]));
    }
}

#[test]
fn a_finding_fails_or_is_only_reported() {
    for (check, fails, count) in [("fail", true, 1), ("report", false, 1), ("off", false, 0)] {
        let device = device(&[("CUDA_EMU_CHECK", check)]);
        let add = device.kernel(KERNELS, "add");
        let stream = device.context.default_stream();
        // SAFETY: read although nothing wrote it, on purpose.
        let b = unsafe { stream.alloc::<u32>(32) }.unwrap();
        let mut a = stream.alloc_zeros::<u32>(32).unwrap();
        // SAFETY: arguments and sizes fit the kernel.
        unsafe { stream.launch_builder(&add).arg(&mut a).arg(&b).launch(config(1, 32, 0)) }.unwrap();
        let result = stream.synchronize();
        assert_eq!(result.is_err(), fails, "{check}");
        if fails {
            assert_eq!(code(result), CUresult::CUDA_ERROR_LAUNCH_FAILED);
        }
        drop((a, b, add, stream));
        let findings = device.findings();
        let kinds: Vec<_> = findings.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, vec!["uninitialised_global"; count], "{check}");
    }
}

#[test]
fn missing_parameters_are_noticed() {
    let device = device(&[]);
    let fill = device.kernel(KERNELS, "fill");
    let stream = device.context.default_stream();
    let a = stream.alloc_zeros::<u32>(32).unwrap();
    // cudarc keeps its arguments in a vector, whose end cannot be seen; a list that ends with null can.
    let (address, record) = a.device_ptr(&stream);
    drop(record);
    let mut list = [(&raw const address).cast_mut().cast(), std::ptr::null_mut()];
    // SAFETY: refused before it runs; the list is live.
    let refused = unsafe {
        cudarc::driver::result::launch_kernel(raw(&device, "fill"), (1, 1, 1), (32, 1, 1), 0, stream.cu_stream(), &mut list)
    };
    assert_eq!(code(refused), CUresult::CUDA_ERROR_INVALID_VALUE);
    drop((a, fill, stream));
    let findings = device.findings();
    assert!(
        findings.iter().any(|(kind, message)| kind == "invalid_launch" && message.contains("parameter 1 (value, 4 bytes) of 2"))
    );
}

/// A function handle by the raw interface; its module is leaked, which the test accepts.
fn raw(device: &crate::harness::Device, name: &str) -> cudarc::driver::sys::CUfunction {
    use cudarc::driver::result::module;
    let text = std::ffi::CString::new(KERNELS).unwrap();
    device.context.bind_to_thread().unwrap();
    // SAFETY: PTX that ends with zero.
    unsafe { module::get_function(module::load_data(text.as_ptr().cast()).unwrap(), std::ffi::CString::new(name).unwrap()) }
        .unwrap()
}
