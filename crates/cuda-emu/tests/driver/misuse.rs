//! Calls that are wrong: each has its code, and is reported.

use cudarc::driver::sys::{self, CUgraphInstantiate_flags as Flags, CUresult, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaContext, DevicePtr, result};

use crate::harness::{Device, code, device};

#[test]
fn stale_and_invented_handles() {
    let device = device(&[]);
    let invalid = CUresult::CUDA_ERROR_INVALID_HANDLE;
    // SAFETY: handles are never followed as pointers; what is wrong is refused.
    unsafe {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).unwrap();
        result::stream::destroy(stream).unwrap();
        assert_eq!(code(result::stream::synchronize(stream)), invalid);
        assert_eq!(code(result::stream::destroy(stream)), invalid);
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap();
        assert_eq!(code(result::stream::synchronize(event.cast())), invalid, "an event is no stream");
        result::event::destroy(event).unwrap();
        assert_eq!(code(result::event::destroy(event)), invalid);
        assert_eq!(code(result::module::unload(0x1234_5678_usize as sys::CUmodule)), invalid);
        let unloaded = sys::cuModuleGetFunction(&mut std::ptr::null_mut(), std::ptr::null_mut(), c"x".as_ptr());
        assert_eq!(unloaded, invalid);
        let launched = sys::cuLaunchKernel(
            std::ptr::null_mut(),
            1,
            1,
            1,
            1,
            1,
            1,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        assert_eq!(launched, invalid);
    }
    let findings = device.findings();
    // The same words twice are one finding, counted.
    assert_eq!(findings.len(), 6, "{findings:#?}");
    assert!(findings.iter().all(|(kind, _)| kind == "invalid_call"));
}

#[test]
fn wrong_addresses() {
    let device = device(&[]);
    let stream = device.context.default_stream();
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    let address = stream.alloc_zeros::<u8>(64).unwrap().leak();
    let mut host = [0u8; 128];
    // SAFETY: device addresses belong to no process; what is wrong is refused. The host buffer is large enough.
    unsafe {
        assert_eq!(code(result::memcpy_dtoh_sync(&mut host, address)), invalid, "beyond the end");
        assert_eq!(code(result::memcpy_htod_sync(address + 60, &host[..8])), invalid);
        assert_eq!(code(result::memset_d8_sync(8, 0, 4)), invalid, "null");
        assert_eq!(sys::cuMemcpyHtoD_v2(address, std::ptr::null(), 8), invalid);
        assert_eq!(code(result::free_sync(address + 4)), invalid, "not the start");
        result::free_sync(address).unwrap();
        assert_eq!(code(result::free_sync(address)), invalid, "twice");
        assert_eq!(code(result::memcpy_dtoh_sync(&mut host[..4], address)), invalid, "after free");
        assert_eq!(code(result::free_host(host.as_mut_ptr().cast())), invalid, "not page-locked");
        assert_eq!(sys::cuMemAlloc_v2(std::ptr::null_mut(), 8), invalid);
        assert_eq!(code(result::malloc_sync(0)), invalid);
        assert_eq!(code(result::malloc_sync(usize::MAX)), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    }
    drop(stream);
    let kinds: Vec<String> = device.findings().into_iter().map(|(kind, _)| kind).collect();
    let expected = ["out_of_bounds", "null_address", "invalid_free", "use_after_free", "invalid_call"];
    assert!(expected.iter().all(|kind| kinds.iter().any(|found| found == kind)), "{kinds:?}");
    assert!(kinds.iter().all(|kind| expected.contains(&kind.as_str())), "{kinds:?}");
}

#[test]
fn reading_what_was_never_written() {
    let device = device(&[]);
    let stream = device.context.default_stream();
    // SAFETY: read although nothing wrote it, on purpose.
    let a = unsafe { stream.alloc::<u8>(16) }.unwrap();
    assert_eq!(code(stream.clone_dtoh(&a)), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    drop((a, stream));
    device.expect("uninitialised_host_read", "16 of 16 bytes");
}

#[test]
fn leaks_are_reported_at_the_end() {
    let device = device(&[]);
    let stream = device.context.default_stream();
    stream.alloc_zeros::<u8>(100).unwrap().leak();
    // SAFETY: never used.
    let _pinned = unsafe { result::malloc_host(4096, 0) }.unwrap();
    result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap();
    drop(stream);
    let findings = device.findings();
    assert!(findings.iter().all(|(kind, _)| kind == "leak"));
    for words in ["#1 of 100 bytes was never freed", "4096 bytes of page-locked", "never destroyed"] {
        assert!(findings.iter().any(|(_, message)| message.contains(words)), "{words}: {findings:#?}");
    }
}

#[test]
fn unsupported_calls_say_so() {
    let device = device(&[]);
    // SAFETY: refused before anything happens.
    let refused = unsafe { result::malloc_managed(16, sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL) };
    assert_eq!(code(refused), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    device.expect("invalid_call", "cuMemAllocManaged is not supported");
}

/// Starts a capture, does something that is not allowed in it, and expects this code from it and a spoilt capture after it.
fn spoil(mode: Mode, expected: CUresult, call: impl Fn(&Device, &std::sync::Arc<cudarc::driver::CudaStream>) -> CUresult) {
    let device = device(&[]);
    // SAFETY: one stream.
    unsafe { device.context.disable_event_tracking() };
    let stream = device.context.new_stream().unwrap();
    stream.begin_capture(mode).unwrap();
    assert_eq!(call(&device, &stream), expected);
    assert_eq!(stream.capture_status().unwrap(), sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_eq!(stream.end_capture(Flags(0)).err().map(|error| error.0), Some(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
    // The stream is usable again.
    let a = stream.clone_htod(&[1u8; 4]).unwrap();
    assert_eq!(stream.clone_dtoh(&a).unwrap(), [1; 4]);
    drop((a, stream));
    assert_eq!(device.findings().len(), 1);
}

#[test]
fn what_a_capture_forbids() {
    let (local, global) = (Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, Mode::CU_STREAM_CAPTURE_MODE_GLOBAL);
    let unsupported = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    spoil(local, unsupported, |_, stream| code(stream.synchronize()));
    spoil(local, unsupported, |device, _| code(device.context.synchronize()));
    spoil(local, unsupported, |device, _| code(device.context.default_stream().alloc_zeros::<u8>(4)));
    spoil(local, unsupported, |device, _| {
        // Even by a thread that captures nothing: the capture is one of the context's.
        let context = device.context.clone();
        std::thread::spawn(move || code(context.synchronize())).join().unwrap()
    });
    spoil(Mode::CU_STREAM_CAPTURE_MODE_RELAXED, unsupported, |_, stream| {
        // Relaxed captures allow the allocation, but not the copy from pageable memory.
        let mut a = stream.context().default_stream().alloc_zeros::<u8>(4).unwrap();
        code(stream.memcpy_htod(&[1u8; 4], &mut a))
    });
    spoil(global, unsupported, |device, _| {
        let context = device.context.clone();
        std::thread::spawn(move || code(context.default_stream().alloc_zeros::<u8>(4))).join().unwrap()
    });
    spoil(local, CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION, |device, stream| {
        code(stream.wait(&device.context.default_stream().record_event(None).unwrap()))
    });
}

#[test]
fn captures_that_cannot_begin_or_end() {
    let device = device(&[]);
    let local = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    assert_eq!(code(device.context.default_stream().begin_capture(local)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    let stream = device.context.new_stream().unwrap();
    assert_eq!(stream.end_capture(Flags(0)).err().unwrap().0, CUresult::CUDA_ERROR_ILLEGAL_STATE);
    stream.begin_capture(local).unwrap();
    assert_eq!(code(stream.begin_capture(local)), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    // Flags that exclude each other are refused after the capture has ended.
    assert_eq!(stream.end_capture(Flags(1 | 4)).err().unwrap().0, CUresult::CUDA_ERROR_INVALID_VALUE);
    stream.begin_capture(local).unwrap();
    let event = stream.record_event(None).unwrap();
    assert_eq!(code(event.synchronize()), CUresult::CUDA_ERROR_CAPTURED_EVENT);
    assert_eq!(stream.end_capture(Flags(0)).err().unwrap().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    drop((event, stream));
    assert_eq!(device.findings().len(), 2);
}

#[test]
fn a_graph_must_not_outlive_its_pinned_memory() {
    let device = device(&[]);
    let context = &device.context;
    // SAFETY: one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let a = stream.alloc_zeros::<u8>(4).unwrap();
    // SAFETY: page-locked memory of ours; freed before the graph runs, on purpose, which is refused.
    unsafe {
        let pinned = result::malloc_host(4, 0).unwrap();
        let (address, record) = a.device_ptr(&stream);
        drop(record);
        stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        sys::cuMemcpyHtoDAsync_v2(address, pinned, 4, stream.cu_stream()).result().unwrap();
        let graph = stream.end_capture(Flags(0)).unwrap().unwrap();
        graph.launch().unwrap();
        stream.synchronize().unwrap();
        result::free_host(pinned).unwrap();
        assert_eq!(code(graph.launch()), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    drop((a, stream));
    device.expect("invalid_call", "page-locked memory that was freed");
}

#[test]
fn contexts() {
    let device = device(&[]);
    let primary = CudaContext::new(0).unwrap();
    let other = primary.cu_ctx();
    // SAFETY: refused.
    assert_eq!(unsafe { sys::cuCtxDestroy_v2(other) }, CUresult::CUDA_ERROR_INVALID_CONTEXT);
    drop(primary);
    // SAFETY: a context that has ended is recognised.
    assert_eq!(code(unsafe { result::ctx::set_current(other) }), CUresult::CUDA_ERROR_INVALID_CONTEXT);
    let again = CudaContext::new(0).unwrap();
    assert_ne!(again.cu_ctx(), other, "handles are not used twice");
    // Copies between contexts work, and addresses of one mean nothing in the other.
    let a = again.default_stream().clone_htod(&[5u8; 4]).unwrap();
    let mut b = device.context.default_stream().alloc_zeros::<u8>(4).unwrap();
    device.context.default_stream().memcpy_dtod(&a, &mut b).unwrap();
    assert_eq!(device.context.default_stream().clone_dtoh(&b).unwrap(), [5; 4]);
    drop((a, b, again));
    assert_eq!(device.findings().len(), 2);
}
