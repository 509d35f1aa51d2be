//! Prints what a checked memory access of a warp costs, in nanoseconds: `cargo run -p cuda-emu --example access_cost`.

use std::hint::black_box;
use std::time::Instant;

use cuda_emu::check::SharedShadow;
use cuda_emu::memory::{AllocKind, AllocLabel, By, LaneBytes, Memory, ViewOptions, WarpAccess};

/// A way in which lanes choose their offsets.
type Pattern = (&'static str, u32, fn(u32) -> u32);

const PATTERNS: [Pattern; 7] = [
    ("contiguous 32 x 4", 4, |lane| 4 * lane),
    ("contiguous 32 x 16", 16, |lane| 16 * lane),
    ("contiguous 32 x 2", 2, |lane| 2 * lane),
    ("8 rows of 4 x 16", 16, |lane| lane / 4 * 256 + lane % 4 * 16),
    ("all one word", 4, |_| 64),
    ("two words", 4, |lane| lane / 16 * 256),
    ("scattered 32 x 4", 4, |lane| lane * 132),
];
const SPAN: u64 = 4096 + 512;
const ROUNDS: u64 = 2_000;

/// Best of fifty, in nanoseconds per call.
fn time(mut call: impl FnMut(u64)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..50 {
        let start = Instant::now();
        (0..ROUNDS).for_each(&mut call);
        best = best.min(start.elapsed().as_nanos() as f64 / ROUNDS as f64);
    }
    best
}

fn main() {
    println!(
        "{:<20} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "ns per warp access", "global load", "unchecked", "global store", "shared read", "shared write"
    );
    for (name, bytes, offset) in PATTERNS {
        let memory = Memory::new(1 << 30);
        let label = |sequence| AllocLabel { sequence, kind: AllocKind::Device };
        let Ok(source) = memory.alloc(64 * SPAN, label(1)) else { return };
        let Ok(target) = memory.alloc(64 * SPAN, label(2)) else { return };
        if memory.set(source, &[1], 64 * SPAN).is_err() {
            return;
        }
        let mut data = LaneBytes::new();
        let offsets: [u64; 32] = std::array::from_fn(|lane| u64::from(offset(lane as u32)));
        let mut global = |checks: bool, store: bool| {
            let view = memory.view(ViewOptions { grid: [1; 3], checks, ..ViewOptions::default() });
            let mut cursor = view.cursor(0);
            time(|round| {
                let base = if store { target } else { source } + round % 64 * 4096;
                let addresses = offsets.map(|offset| base + offset);
                let access = WarpAccess { addresses: black_box(&addresses), mask: u32::MAX, bytes };
                let done = if store {
                    cursor.store(&access, By::default(), &data)
                } else {
                    cursor.load(&access, By::default(), &mut data)
                };
                assert!(black_box(done).is_ok());
            })
        };
        let (load, unchecked, store) = (global(true, false), global(false, false), global(true, true));
        let mut shadow = SharedShadow::new();
        shadow.start_block(48 * 1024, 4);
        let addresses: [u32; 32] = std::array::from_fn(|lane| offset(lane as u32));
        // Four warps take turns at eight tiles between barriers.
        let place = |shadow: &mut SharedShadow, round: u64| {
            if round.is_multiple_of(8) {
                barrier_of_four(shadow);
            }
            ((round / 8 % 4) as u32, addresses.map(|address| address + (round % 8) as u32 * 5120))
        };
        let write = time(|round| {
            let (warp, addresses) = place(&mut shadow, round);
            assert!(shadow.write(warp, &WarpAccess { addresses: black_box(&addresses), mask: u32::MAX, bytes }, &data).is_none());
        });
        let read = time(|round| {
            let (warp, addresses) = place(&mut shadow, round);
            assert!(shadow.read(warp, &WarpAccess { addresses: black_box(&addresses), mask: u32::MAX, bytes }).is_none());
        });
        println!("{name:<20} {load:>12.1} {unchecked:>12.1} {store:>12.1} {read:>12.1} {write:>12.1}");
    }
    rest();
}

/// What has no pattern: `ldmatrix`, a tile copied asynchronously, a barrier.
fn rest() {
    let mut shadow = SharedShadow::new();
    shadow.start_block(48 * 1024, 4);
    let mut shared = vec![0; 48 * 1024];
    let data = LaneBytes::new();
    let addresses: [u32; 32] = std::array::from_fn(|lane| lane as u32 / 4 * 64 + lane as u32 % 4 * 16);
    let rows: [u32; 32] = std::array::from_fn(|lane| lane as u32 % 16 * 64 + ((lane as u32 / 16) ^ (lane as u32 % 4)) * 16);
    let access = WarpAccess { addresses: &addresses, mask: u32::MAX, bytes: 16 };
    let all = WarpAccess { addresses: &rows, mask: u32::MAX, bytes: 16 };
    assert!(shadow.write(0, &all, &data).is_none());
    barrier_of_four(&mut shadow);
    let matrix = time(|round| assert!(shadow.read_rows((round % 4) as u32, black_box(&rows[..])).is_none()));
    barrier_of_four(&mut shadow);
    let copy = time(|_| {
        assert!(shadow.copy_issue(0, black_box(&access), &data, &mut shared).is_none());
        shadow.copy_commit(0, u32::MAX);
        shadow.copy_wait(0, u32::MAX, Some(0), &mut shared);
    });
    let barrier = time(|_| barrier_of_four(&mut shadow));
    let start = time(|_| shadow.start_block(48 * 1024, 4));
    println!(
        "cp.async issue, commit, wait: {copy:.1}   barrier of 4 warps: {barrier:.1}   ldmatrix.x4: {matrix:.1}   start of a block: {start:.1}"
    );
}

fn barrier_of_four(shadow: &mut SharedShadow) {
    (0..4).for_each(|warp| shadow.arrive(warp, 0));
    shadow.complete(0, 15);
}
