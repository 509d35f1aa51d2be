//! What cudarc's safe interface does: memory, streams, events, graphs.

use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaContext, DevicePtrMut, DriverError, result};

use crate::harness::{code, device};

#[test]
fn the_device_says_what_it_is() {
    let device = device(&[("CUDA_EMU_DEVICE", "T4")]);
    let context = &device.context;
    assert_eq!(context.name().unwrap(), "software device (T4 profile)");
    assert_eq!(context.compute_capability().unwrap(), (7, 5));
    assert_eq!(context.total_mem().unwrap(), 16 << 30);
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert!(!context.has_async_alloc());
    assert_eq!(code(CudaContext::new(1)), CUresult::CUDA_ERROR_INVALID_DEVICE);
    let unknown = result::device::get(0).and_then(|device| {
        let mut value = 0;
        // SAFETY: a valid place for the result.
        unsafe { sys::cuDeviceGetAttribute(&mut value, sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX, device) }.result()
    });
    assert_eq!(code(unknown), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(
        DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS).error_name().unwrap().to_str(),
        Ok("CUDA_ERROR_ILLEGAL_ADDRESS")
    );
    assert_eq!(device.findings().len(), 1);
}

#[test]
fn bytes_go_there_and_back() {
    let device = device(&[]);
    let stream = device.context.default_stream();
    let host: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let a = stream.clone_htod(&host).unwrap();
    let mut b = stream.alloc_zeros::<f32>(1000).unwrap();
    assert_eq!(stream.clone_dtoh(&b).unwrap(), vec![0.0; 1000]);
    stream.memcpy_dtod(&a.slice(100..200), &mut b.slice_mut(300..400)).unwrap();
    let back = stream.clone_dtoh(&b).unwrap();
    assert_eq!((back[299], back[300], back[399], back[400]), (0.0, 100.0, 199.0, 0.0));
    let clone = b.clone();
    assert_eq!(stream.clone_dtoh(&clone).unwrap(), back);
    let mut wide = stream.alloc_zeros::<u32>(8).unwrap();
    // SAFETY: a live allocation of this size.
    unsafe {
        let (address, _record) = wide.device_ptr_mut(&stream);
        sys::cuMemsetD32_v2(address + 8, 0x0102_0304, 2).result().unwrap();
        sys::cuMemsetD16_v2(address, 0x0506, 2).result().unwrap();
    }
    assert_eq!(stream.clone_dtoh(&wide).unwrap(), [0x0506_0506, 0, 0x0102_0304, 0x0102_0304, 0, 0, 0, 0]);
    drop((a, b, clone, wide, stream));
    device.finish();
}

#[test]
fn memory_is_counted_and_runs_out() {
    let device = device(&[("CUDA_EMU_MEMORY", "1M")]);
    let stream = device.context.default_stream();
    assert_eq!(device.context.mem_get_info().unwrap(), (1 << 20, 1 << 20));
    let half = stream.alloc_zeros::<u8>(512 << 10).unwrap();
    assert_eq!(device.context.mem_get_info().unwrap(), (512 << 10, 1 << 20));
    assert_eq!(code(stream.alloc_zeros::<u8>(600 << 10)), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    drop(half);
    drop(stream.alloc_zeros::<u8>(1 << 20).unwrap());
    drop(stream);
    device.finish();
}

#[test]
fn streams_events_and_pinned_memory() {
    for policy in ["eager", "lazy", "random"] {
        let device = device(&[("CUDA_EMU_STREAMS", policy), ("CUDA_EMU_SEED", "5")]);
        let context = &device.context;
        let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
        // SAFETY: filled before it is read.
        let mut pinned = unsafe { context.alloc_pinned::<u32>(64) }.unwrap();
        pinned.as_mut_slice().unwrap().fill(7);
        let a = first.clone_htod(&pinned).unwrap();
        let mut b = second.alloc_zeros::<u32>(64).unwrap();
        second.memcpy_dtod(&a, &mut b).unwrap();
        // SAFETY: as above.
        let mut back = unsafe { context.alloc_pinned::<u32>(64) }.unwrap();
        second.memcpy_dtoh(&b, &mut back).unwrap();
        assert_eq!(back.as_slice().unwrap(), [7; 64], "{policy}");

        let timing = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let (start, end) = (first.record_event(timing).unwrap(), first.record_event(timing).unwrap());
        end.synchronize().unwrap();
        assert!(start.elapsed_ms(&end).unwrap() > 0.0);
        let untimed = first.record_event(None).unwrap();
        while !untimed.is_complete() {}
        assert_eq!(code(start.elapsed_ms(&untimed)), CUresult::CUDA_ERROR_INVALID_HANDLE);
        let never = context.new_event(timing).unwrap();
        assert!(never.is_complete());
        drop((a, b, pinned, back, start, end, untimed, never, first, second));
        device.finish();
    }
}

#[test]
fn other_threads_may_use_the_context() {
    let device = device(&[]);
    let threads: Vec<_> = (0..4u32)
        .map(|i| {
            let context = device.context.clone();
            std::thread::spawn(move || {
                context.bind_to_thread().unwrap();
                let stream = context.default_stream();
                let data = stream.clone_htod(&[i; 100]).unwrap();
                assert_eq!(stream.clone_dtoh(&data).unwrap(), [i; 100]);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    device.finish();
}

#[test]
fn graphs_replay_with_the_parameters_of_their_capture() {
    for policy in ["eager", "lazy", "random"] {
        let device = device(&[("CUDA_EMU_STREAMS", policy)]);
        let context = &device.context;
        // SAFETY: everything below happens in one stream.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().unwrap();
        // SAFETY: filled before it is read.
        let mut input = unsafe { context.alloc_pinned::<u8>(16) }.unwrap();
        input.as_mut_slice().unwrap().fill(1);
        let mut a = stream.clone_htod(&[9u8; 16]).unwrap();
        let mut b = stream.alloc_zeros::<u8>(16).unwrap();
        stream.synchronize().unwrap();
        let (source, target) = (input.as_ptr().unwrap(), a.device_ptr_mut(&stream).0);

        stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        // The slice's own event must stay out of the capture, or it could not be waited for afterwards.
        // SAFETY: 8 bytes of live memory on both sides.
        unsafe { sys::cuMemcpyHtoDAsync_v2(target, source.cast(), 8, stream.cu_stream()) }.result().unwrap();
        stream.memcpy_dtod(&a, &mut b).unwrap();
        stream.memset_zeros(&mut a.slice_mut(0..4)).unwrap();
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        assert_eq!(stream.clone_dtoh(&b).unwrap(), [0; 16], "capturing runs nothing");

        graph.upload().unwrap();
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&b).unwrap(), [[1; 8], [9; 8]].concat(), "{policy}");
        input.as_mut_slice().unwrap().fill(2);
        graph.launch().unwrap();
        assert_eq!(stream.clone_dtoh(&b).unwrap(), [[2; 8], [9; 8]].concat());
        assert_eq!(stream.clone_dtoh(&a).unwrap()[..9], [0, 0, 0, 0, 2, 2, 2, 2, 9]);
        drop((graph, a, b, input, stream));
        device.finish();
    }
}
