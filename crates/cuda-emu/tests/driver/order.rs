//! Work happens when the interface says so, and no earlier: a forgotten wait shows.

use cudarc::driver::sys::{self, CUresult};

use crate::harness::{code, device};

/// Copies through two streams, with or without the event that orders them; returns what arrived.
fn hand_over(policy: &str, seed: &str, wait: bool) -> (Vec<u32>, Vec<String>) {
    let device = device(&[("CUDA_EMU_STREAMS", policy), ("CUDA_EMU_SEED", seed)]);
    let context = &device.context;
    // SAFETY: ordering is the point of this test.
    unsafe { context.disable_event_tracking() };
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let mut a = first.clone_htod(&[1u32; 8]).unwrap();
    let mut b = second.alloc_zeros::<u32>(8).unwrap();
    context.synchronize().unwrap();
    first.memcpy_htod(&[2u32; 8], &mut a).unwrap();
    if wait {
        second.join(&first).unwrap();
    }
    second.memcpy_dtod(&a, &mut b).unwrap();
    let arrived = second.clone_dtoh(&b).unwrap();
    drop((a, b, first, second));
    (arrived, device.findings().into_iter().map(|(kind, _)| kind).collect())
}

#[test]
fn a_missing_event_shows_in_the_result() {
    assert_eq!(hand_over("eager", "0", false).0, [2; 8], "eager hides it");
    assert_eq!(hand_over("lazy", "0", false).0, [1; 8], "lazy shows it");
    let random: Vec<_> = (0..20).map(|seed| hand_over("random", &seed.to_string(), false).0[0]).collect();
    assert!(random.contains(&1) && random.contains(&2), "random shows it with some seeds: {random:?}");
}

#[test]
fn an_event_orders_streams() {
    assert_eq!(hand_over("lazy", "0", true), (vec![2; 8], vec![]));
    for seed in 0..20 {
        assert_eq!(hand_over("random", &seed.to_string(), true), (vec![2; 8], vec![]), "seed {seed}");
    }
}

#[test]
fn pinned_memory_is_read_when_the_copy_runs() {
    let device = device(&[("CUDA_EMU_STREAMS", "lazy")]);
    let context = &device.context;
    let stream = context.new_stream().unwrap();
    // SAFETY: filled before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u8>(4) }.unwrap();
    let source = pinned.as_mut_ptr().unwrap();
    let mut pageable = [1u8; 4];
    let a = stream.alloc_zeros::<u8>(8).unwrap();
    let address = a.leak();
    // SAFETY: live memory on both sides; the pinned bytes are changed too early on purpose.
    unsafe {
        source.write_bytes(1, 4);
        sys::cuMemcpyHtoDAsync_v2(address, source.cast(), 4, stream.cu_stream()).result().unwrap();
        sys::cuMemcpyHtoDAsync_v2(address + 4, pageable.as_ptr().cast(), 4, stream.cu_stream()).result().unwrap();
        source.write_bytes(2, 4);
        pageable.fill(2);
    }
    // SAFETY: the address of the slice above.
    let a = unsafe { stream.upgrade_device_ptr::<u8>(address, 8) };
    assert_eq!(stream.clone_dtoh(&a).unwrap(), [2, 2, 2, 2, 1, 1, 1, 1]);
    drop((a, pinned, stream));
    device.finish();
}

#[test]
fn device_to_pinned_copies_arrive_after_a_wait_only() {
    let device = device(&[("CUDA_EMU_STREAMS", "lazy")]);
    let context = &device.context;
    let stream = context.new_stream().unwrap();
    // SAFETY: filled before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u8>(4) }.unwrap();
    pinned.as_mut_slice().unwrap().fill(9);
    let target = pinned.as_mut_ptr().unwrap();
    let a = stream.clone_htod(&[1u8; 4]).unwrap();
    stream.memcpy_dtoh(&a, &mut pinned).unwrap();
    // SAFETY: live memory of this process.
    assert_eq!(unsafe { target.read_volatile() }, 9);
    stream.synchronize().unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { target.read_volatile() }, 1);
    drop((a, pinned, stream));
    device.finish();
}

#[test]
fn memory_freed_too_early_is_reported_when_the_work_runs() {
    let device = device(&[("CUDA_EMU_STREAMS", "lazy")]);
    let context = &device.context;
    let stream = context.new_stream().unwrap();
    let address = stream.alloc_zeros::<u8>(64).unwrap().leak();
    // SAFETY: freed while the fill is queued, on purpose; the address belongs to no process.
    unsafe { sys::cuMemFree_v2(address) }.result().unwrap();
    assert_eq!(code(stream.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    drop(stream);
    device.expect("use_after_free", "when queued work ran");
}

#[test]
fn polling_comes_to_an_end() {
    let device = device(&[("CUDA_EMU_STREAMS", "lazy")]);
    let stream = device.context.new_stream().unwrap();
    let a = stream.clone_htod(&[1u8; 4]).unwrap();
    let event = stream.record_event(None).unwrap();
    let mut polls = 0;
    while !event.is_complete() {
        polls += 1;
        assert!(polls < 100);
    }
    assert!(polls > 0, "nothing was queued");
    drop((a, event, stream));
    device.finish();
}
