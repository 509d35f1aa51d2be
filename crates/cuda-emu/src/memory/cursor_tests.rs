//! What kernels may and may not do with global memory.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::check::MemoryOrder;
use crate::report::FindingKind::{self, *};
use crate::report::{Issue, SectorTraffic};

const ALL: u32 = u32::MAX;
const RELAXED: By =
    By { warp: 0, order: MemoryOrder { strong: true, acquire: false, release: false, read_only: false }, waited: false };

fn device(sizes: &[u64]) -> (Memory, Vec<u64>) {
    let memory = Memory::new(1 << 30);
    let label = |i| AllocLabel { sequence: i as u64 + 1, kind: AllocKind::Device };
    let addresses = sizes.iter().enumerate().map(|(i, &bytes)| memory.alloc(bytes, label(i)).unwrap()).collect();
    (memory, addresses)
}

fn checked(memory: &Memory) -> LaunchView {
    memory.view(ViewOptions { grid: [2, 3, 1], checks: true, ..ViewOptions::default() })
}

fn lanes(address: impl Fn(u64) -> u64) -> [u64; 32] {
    std::array::from_fn(|lane| address(lane as u64))
}

fn load(cursor: &mut Cursor<'_>, mask: u32, bytes: u32, address: impl Fn(u64) -> u64) -> Result<Option<Issue>, LaneFault> {
    cursor.load(&WarpAccess { addresses: &lanes(address), mask, bytes }, By::default(), &mut LaneBytes::new())
}

fn store(cursor: &mut Cursor<'_>, mask: u32, bytes: u32, address: impl Fn(u64) -> u64) -> Result<Option<Issue>, LaneFault> {
    let mut data = LaneBytes::new();
    (0..32).for_each(|lane| data.lane_mut(lane, bytes as usize).fill(lane as u8));
    cursor.store(&WarpAccess { addresses: &lanes(address), mask, bytes }, By::default(), &data)
}

fn kind(result: Result<Option<Issue>, LaneFault>) -> Option<FindingKind> {
    result.unwrap().map(|issue| issue.kind)
}

#[test]
fn each_fault_names_lane_address_and_allocation() {
    let (memory, at) = device(&[4096, 128]);
    memory.set(at[0], &[0], 4096).unwrap();
    memory.set(at[1], &[0], 128).unwrap();
    let view = checked(&memory);
    let mut cursor = view.cursor(0);
    let mut fault = |mask, bytes, address: &dyn Fn(u64) -> u64| {
        let LaneFault { lane, fault } = load(&mut cursor, mask, bytes, address).unwrap_err();
        (fault.kind, lane, fault.address, fault.to_string())
    };
    let (kind, lane, address, message) = fault(ALL, 4, &|lane| at[0] + 4000 + 4 * lane);
    assert_eq!((kind, lane, address), (FaultKind::OutOfBounds, 24, at[0] + 4096));
    assert!(message.ends_with("out of bounds, 0 bytes after allocation #1 of 4096 bytes"), "{message}");
    let (kind, lane, _, message) = fault(0xFF00, 4, &|lane| at[1] - 36 + 4 * lane);
    assert_eq!((kind, lane), (FaultKind::OutOfBounds, 8));
    assert!(message.contains("4 bytes before allocation #2"), "{message}");
    assert_eq!(fault(ALL, 4, &|_| at[0] + 6).0, FaultKind::Misaligned);
    assert_eq!(fault(ALL, 16, &|lane| at[0] + 8 + 16 * lane).0, FaultKind::Misaligned);
    assert_eq!(fault(ALL, 4, &|lane| 4 * lane).0, FaultKind::Null);
    assert_eq!(fault(ALL, 4, &|lane| 0x7000_0000_0000 + 4 * lane).0, FaultKind::Unallocated);
    assert_eq!(fault(1 << 31, 4, &|_| u64::MAX - 3).0, FaultKind::Unallocated);
    let issue = Issue::from(load(&mut cursor, ALL, 4, |lane| at[0] + 4000 + 4 * lane).unwrap_err());
    assert_eq!((issue.kind, issue.lane, issue.address), (OutOfBounds, 24, Some(at[0] + 4096)));
    // Lanes that do not take part may hold anything.
    assert_eq!(load(&mut cursor, 0xFFFF, 4, |lane| if lane < 16 { at[0] + 4 * lane } else { lane }), Ok(None));
    assert_eq!(load(&mut cursor, 0, 4, |lane| lane), Ok(None));
}

#[test]
fn use_after_free_is_named_before_and_during_a_launch() {
    let (memory, at) = device(&[64, 64]);
    memory.set(at[0], &[0], 64).unwrap();
    let view = checked(&memory);
    let mut cursor = view.cursor(0);
    assert_eq!(load(&mut cursor, 1, 4, |_| at[0]), Ok(None));
    memory.free(at[0]).unwrap();
    for view in [view, checked(&memory)] {
        let fault = load(&mut view.cursor(1), 1, 4, |_| at[0]).unwrap_err().fault;
        assert_eq!(fault.kind, FaultKind::UseAfterFree);
        assert!(fault.to_string().contains("allocation #1 of 64 bytes, since freed"), "{fault}");
    }
}

#[test]
fn constants_and_held_ranges_are_read_only() {
    let (memory, at) = device(&[64]);
    let constant = memory.alloc(64, AllocLabel { sequence: 9, kind: AllocKind::Constant("table".into()) }).unwrap();
    memory.set(constant, &[1], 64).unwrap();
    let held = at[0] + 32..at[0] + 36;
    let view = memory.view(ViewOptions { grid: [1; 3], checks: true, read_only: vec![held], ..ViewOptions::default() });
    let mut cursor = view.cursor(0);
    assert_eq!(store(&mut cursor, 0xFF, 4, |lane| at[0] + 4 * lane), Ok(None));
    let fault = store(&mut cursor, 0xFFFF, 4, |lane| at[0] + 4 * lane).unwrap_err().fault;
    assert_eq!(fault.kind, FaultKind::ReadOnly);
    assert_eq!(load(&mut cursor, 1, 4, |_| constant), Ok(None));
    let fault = store(&mut cursor, 1, 4, |_| constant).unwrap_err().fault;
    assert!(fault.to_string().contains("read-only memory, at offset 0 of module constant `table`"), "{fault}");
    let access = WarpAccess { addresses: &[constant; 32], mask: 1, bytes: 4 };
    assert_eq!(
        cursor.atomic(&access, RELAXED, true, &mut [0; 32], |_, old| old + 1).unwrap_err().fault.kind,
        FaultKind::ReadOnly
    );
    assert!(memory.leaks().iter().all(|leak| leak.address == Some(at[0])));
}

#[test]
fn uninitialised_reads_are_found_and_poisoned() {
    let (memory, at) = device(&[256]);
    memory.write(at[0], &[1; 100]).unwrap();
    let view = checked(&memory);
    let mut cursor = view.cursor(0);
    assert_eq!(load(&mut cursor, 0x1FF_FFFF, 4, |lane| at[0] + 4 * lane), Ok(None));
    let mut out = LaneBytes::new();
    let access = WarpAccess { addresses: &lanes(|lane| at[0] + 4 * lane), mask: ALL, bytes: 4 };
    let issue = cursor.load(&access, By::default(), &mut out).unwrap().unwrap();
    assert_eq!((issue.kind, issue.lane, issue.address), (UninitialisedGlobal, 25, Some(at[0] + 100)));
    assert_eq!((out.lane(24, 4), out.lane(25, 4)), (&[1; 4][..], &[0xFF; 4][..]));
    // What a kernel writes is written, also for the host.
    assert_eq!(store(&mut cursor, ALL, 4, |lane| at[0] + 128 + 4 * lane), Ok(None));
    assert_eq!(load(&mut cursor, ALL, 4, |lane| at[0] + 128 + 4 * (31 - lane)), Ok(None));
    memory.read(at[0] + 128, &mut [0; 128]).unwrap();
    assert!(memory.take_findings().is_empty());
    let access = WarpAccess { addresses: &[at[0] + 104; 32], mask: 1, bytes: 4 };
    assert_eq!(kind(cursor.atomic(&access, RELAXED, true, &mut [0; 32], |_, old| old + 1)), Some(UninitialisedGlobal));
}

#[test]
fn without_checks_only_faults_remain() {
    let (memory, at) = device(&[256]);
    let view = memory.view(ViewOptions { grid: [1; 3], checks: false, ..ViewOptions::default() });
    assert_eq!(load(&mut view.cursor(0), ALL, 4, |lane| at[0] + 4 * lane), Ok(None));
    assert_eq!(store(&mut view.cursor(1), ALL, 4, |lane| at[0] + 4 * lane), Ok(None));
    assert_eq!(view.unique_bytes(), (0, 0));
    assert!(load(&mut view.cursor(1), ALL, 4, |lane| at[0] + 256 + 4 * lane).is_err());
}

#[test]
fn races_between_blocks_name_the_other() {
    let (memory, at) = device(&[4096]);
    memory.set(at[0], &[0], 4096).unwrap();
    let view = checked(&memory);
    let (mut first, mut second) = (view.cursor(1), view.cursor(4));
    assert_eq!(store(&mut first, ALL, 4, |lane| at[0] + 4 * lane), Ok(None));
    assert_eq!(store(&mut second, ALL, 4, |lane| at[0] + 128 + 4 * lane), Ok(None));
    assert_eq!(load(&mut first, ALL, 4, |lane| at[0] + 4 * lane), Ok(None));
    let issue = load(&mut second, ALL, 4, |lane| at[0] + 124 + 4 * lane).unwrap().unwrap();
    assert_eq!((issue.kind, issue.lane, issue.address), (GlobalRace, 0, Some(at[0] + 124)));
    assert!(
        issue.message.starts_with("read of a byte written by block (1,0,0) in this launch, offset 124 of allocation #1"),
        "{}",
        issue.message
    );
    assert_eq!(load(&mut first, ALL, 4, |lane| at[0] + 512 + 4 * lane), Ok(None));
    let issue = store(&mut second, 1 << 7, 4, |_| at[0] + 516).unwrap().unwrap();
    assert_eq!((issue.kind, issue.lane), (GlobalRace, 7));
    // The next launch comes after this one.
    let next = checked(&memory);
    assert_eq!(load(&mut next.cursor(3), ALL, 4, |lane| at[0] + 4 * lane), Ok(None));
    assert_eq!(next.unique_bytes(), (128, 0));
}

#[test]
fn lanes_of_one_store_must_agree() {
    let (memory, at) = device(&[256]);
    let view = checked(&memory);
    let mut cursor = view.cursor(0);
    assert_eq!(store(&mut cursor, 0x8000_0000, 4, |_| at[0]), Ok(None));
    assert_eq!(kind(store(&mut cursor, ALL, 4, |lane| at[0] + 4 * (lane / 2))), Some(ConflictingLanes));
    assert_eq!(store(&mut cursor, ALL, 4, |lane| at[0] + 4 * (31 - lane)), Ok(None));
    let data = LaneBytes([7; 512]);
    let access = WarpAccess { addresses: &[at[0]; 32], mask: ALL, bytes: 8 };
    assert_eq!(cursor.store(&access, By::default(), &data), Ok(None));
}

#[test]
fn atomics_of_blocks_on_several_threads_all_count() {
    let (memory, at) = device(&[64]);
    memory.set(at[0], &[0], 64).unwrap();
    let view = checked(&memory);
    std::thread::scope(|scope| {
        for block in 0..4 {
            let (view, at) = (&view, at[0]);
            scope.spawn(move || {
                let mut cursor = view.cursor(block);
                let mut old = [0; 32];
                for _ in 0..200 {
                    let access = WarpAccess { addresses: &lanes(|lane| at + 4 * (lane % 2)), mask: ALL, bytes: 4 };
                    assert_eq!(cursor.atomic(&access, RELAXED, true, &mut old, |lane, old| old + 1 + lane as u64 % 2), Ok(None));
                }
                assert!(old[2] > old[0]);
            });
        }
    });
    let mut out = [0; 8];
    memory.read(at[0], &mut out).unwrap();
    assert_eq!(out, [&(4 * 200 * 16u32).to_le_bytes()[..], &(4 * 200 * 32u32).to_le_bytes()].concat()[..]);
    assert_eq!(kind(load(&mut view.cursor(9), 1, 4, |_| at[0])), Some(GlobalRace));
}

#[test]
fn traffic_is_counted() {
    let (memory, at) = device(&[1 << 16]);
    memory.set(at[0], &[0], 1 << 16).unwrap();
    let view = checked(&memory);
    let mut cursor = view.cursor(0);
    for address in [|lane| 4 * lane, |lane| 512 * lane, |_| 96, |lane| 4 * lane + 4] {
        load(&mut cursor, ALL, 4, |lane| at[0] + address(lane)).unwrap();
    }
    store(&mut cursor, 0xF, 16, |lane| at[0] + 32768 + 16 * lane).unwrap();
    assert_eq!(cursor.loads, SectorTraffic { requests: 4, sectors: 4 + 32 + 1 + 5, ideal_sectors: 16, bytes: 512 });
    assert_eq!(cursor.stores, SectorTraffic { requests: 1, sectors: 2, ideal_sectors: 2, bytes: 64 });
    assert_eq!(view.unique_bytes(), (132 + 31 * 4, 64));
}

proptest! {
    #[test]
    fn loads_and_stores_follow_a_plain_array(
        steps in prop::collection::vec((prop::array::uniform32(0u64..60), any::<u32>(), 0u32..5, any::<bool>(), 0u64..3), 1..12)
    ) {
        const SIZE: usize = 1024;
        let (memory, at) = device(&[SIZE as u64]);
        let mut plain: Vec<u8> = (0..SIZE).map(|i| i as u8).collect();
        memory.write(at[0], &plain).unwrap();
        let view = checked(&memory);
        let mut cursor = view.cursor(0);
        for (step, (places, mask, size, is_store, shape)) in steps.into_iter().enumerate() {
            let bytes = 1usize << size;
            // Anywhere, in order, or in order with gaps.
            let place = |lane: usize| match shape { 0 => places[lane], 1 => lane as u64 + places[0] / 3, _ => lane as u64 / 8 * 10 + lane as u64 % 8 };
            let addresses = lanes(|lane| at[0] + place(lane as usize) * bytes as u64);
            let access = WarpAccess { addresses: &addresses, mask, bytes: bytes as u32 };
            let active = (0..32).filter(|lane| mask & (1 << lane) != 0);
            let mut data = LaneBytes::new();
            if is_store {
                let value = |i: usize| (31 * step + i + i / 256) as u8;
                (0..512).for_each(|i| data.0[i] = value(i));
                let mut places = HashSet::new();
                let mut clash = false;
                for lane in active {
                    clash |= !places.insert(place(lane)); // values differ, for they run on
                    let start = place(lane) as usize * bytes;
                    plain[start..start + bytes].copy_from_slice(data.lane(lane, bytes));
                }
                let got = cursor.store(&access, By::default(), &data).unwrap();
                prop_assert_eq!(got.map(|issue| issue.kind), clash.then_some(ConflictingLanes));
            } else {
                let before = cursor.loads.sectors;
                prop_assert_eq!(cursor.load(&access, By::default(), &mut data).unwrap(), None);
                prop_assert_eq!(cursor.loads.sectors - before, u64::from(crate::report::sectors(&addresses, mask, bytes as u32)));
                for lane in active {
                    let start = place(lane) as usize * bytes;
                    prop_assert_eq!(data.lane(lane, bytes), &plain[start..start + bytes]);
                }
            }
        }
        let mut out = vec![0; SIZE];
        memory.read(at[0], &mut out).unwrap();
        prop_assert_eq!(out, plain);
    }
}
