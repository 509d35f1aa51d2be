//! Each sin committed on purpose gives its finding; each legal pattern gives none.

use super::{POISON, SharedShadow, shared_bounds};
use crate::memory::{LaneBytes, WarpAccess};
use crate::report::{FindingKind, FindingKind::*, Issue};

const ALL: u32 = u32::MAX;

/// A block that remembers what was found.
struct Block {
    shadow: SharedShadow,
    shared: Vec<u8>,
    warps: u32,
    found: Vec<Issue>,
}

fn lanes(address: impl Fn(u32) -> u32) -> [u32; 32] {
    std::array::from_fn(|lane| address(lane as u32))
}

impl Block {
    fn new(warps: u32) -> Self {
        let mut shadow = SharedShadow::new();
        shadow.start_block(4096, warps);
        Block { shadow, shared: vec![POISON; 4096], warps, found: Vec::new() }
    }

    fn write_masked(&mut self, warp: u32, mask: u32, bytes: u32, address: impl Fn(u32) -> u32, value: impl Fn(u32) -> u8) {
        let mut data = LaneBytes::new();
        (0..32).for_each(|lane| data.lane_mut(lane, bytes as usize).fill(value(lane as u32)));
        let access = WarpAccess { addresses: &lanes(address), mask, bytes };
        self.found.extend(self.shadow.write(warp, &access, &data));
    }

    fn write(&mut self, warp: u32, bytes: u32, address: impl Fn(u32) -> u32) {
        self.write_masked(warp, ALL, bytes, address, |lane| lane as u8);
    }

    fn read_masked(&mut self, warp: u32, mask: u32, bytes: u32, address: impl Fn(u32) -> u32) {
        self.found.extend(self.shadow.read(warp, &WarpAccess { addresses: &lanes(address), mask, bytes }));
    }

    fn read(&mut self, warp: u32, bytes: u32, address: impl Fn(u32) -> u32) {
        self.read_masked(warp, ALL, bytes, address);
    }

    fn atomic(&mut self, warp: u32, address: impl Fn(u32) -> u32) {
        self.found.extend(self.shadow.atomic(warp, &WarpAccess { addresses: &lanes(address), mask: ALL, bytes: 4 }));
    }

    fn barrier(&mut self) {
        (0..self.warps).for_each(|warp| self.shadow.arrive(warp, 0));
        self.shadow.complete(0, (1 << self.warps) - 1);
    }

    fn copy(&mut self, warp: u32, base: u32, value: u8) {
        let mut data = LaneBytes::new();
        data.0.fill(value);
        let access = WarpAccess { addresses: &lanes(|lane| base + 16 * lane), mask: ALL, bytes: 16 };
        self.found.extend(self.shadow.copy_issue(warp, &access, &data, &mut self.shared));
    }

    fn wait(&mut self, warp: u32, groups: Option<u32>) {
        self.shadow.copy_wait(warp, ALL, groups, &mut self.shared);
    }

    fn kinds(&self) -> Vec<FindingKind> {
        self.found.iter().map(|issue| issue.kind).collect()
    }

    #[track_caller]
    fn silent(&self) {
        assert!(self.found.is_empty(), "{:#?}", self.found);
    }

    /// Exactly one issue, of this kind; returns its message.
    #[track_caller]
    fn only(&self, kind: FindingKind) -> &str {
        assert_eq!(self.kinds(), [kind], "{:#?}", self.found);
        &self.found[0].message
    }
}

#[test]
fn bounds_and_alignment() {
    let check = |address: fn(u32) -> u32, mask, bytes| {
        shared_bounds(&WarpAccess { addresses: &lanes(address), mask, bytes }, 1024).map(|issue| (issue.kind, issue.lane))
    };
    assert_eq!(check(|lane| 16 * lane, ALL, 16), None);
    assert_eq!(check(|lane| 16 * lane + 512, 0xFFFF_0000, 16), None);
    assert_eq!(check(|lane| 16 * lane + 528, ALL, 16), Some((OutOfBounds, 31)));
    assert_eq!(check(|lane| 16 * lane + 8, ALL, 16), Some((Misaligned, 0)));
    assert_eq!(check(|lane| 4 * lane + lane / 7, ALL, 4), Some((Misaligned, 7)));
    assert_eq!(check(|_| u32::MAX, ALL, 1), Some((OutOfBounds, 0)));
}

#[test]
fn uninitialised_words_and_bytes() {
    let mut block = Block::new(2);
    block.write_masked(0, 0x7FFF_FFFF, 4, |lane| 4 * lane, |_| 1);
    block.barrier();
    block.read_masked(1, 0x7FFF_FFFF, 4, |lane| 4 * lane);
    block.silent();
    block.read(1, 4, |lane| 4 * lane);
    assert_eq!(block.only(UninitialisedShared), "read of shared offset 124, which was never written");
    assert_eq!((block.found[0].lane, block.found[0].address), (31, Some(124)));

    let mut block = Block::new(1);
    block.write_masked(0, 1, 2, |_| 2, |_| 1);
    block.read_masked(0, 1, 2, |_| 2);
    block.silent();
    block.read_masked(0, 1, 4, |_| 0); // half of the word is missing
    block.only(UninitialisedShared);
}

#[test]
fn tiles_behind_barriers_are_silent() {
    for bytes in [1, 2, 4, 8, 16] {
        let mut block = Block::new(4);
        for _ in 0..3 {
            for warp in 0..4 {
                block.write(warp, bytes, |lane| (32 * warp + lane) * bytes);
                block.read(warp, bytes, |lane| (32 * warp + lane) * bytes); // one's own
            }
            block.barrier();
            for warp in 0..4 {
                block.read(warp, bytes, |lane| (32 * (3 - warp) + 31 - lane) * bytes);
                block.read(warp, bytes, |_| 17 * bytes);
                block.shadow.read_rows(warp, &lanes(|lane| lane % 2 * 16)).iter().for_each(|_| assert!(bytes == 1));
            }
            block.barrier();
        }
        block.silent();
    }
}

#[test]
fn a_missing_barrier_after_writing() {
    let mut block = Block::new(2);
    block.write(0, 4, |lane| 4 * lane);
    block.write(1, 4, |lane| 128 + 4 * lane);
    block.read(1, 4, |lane| 4 * lane + 124);
    assert_eq!(block.only(SharedRace), "read of shared offset 124 after a write by warp 0 lane 31 with no barrier in between");
}

#[test]
fn a_missing_barrier_before_overwriting() {
    let mut block = Block::new(3);
    block.write(0, 4, |lane| 4 * lane);
    block.barrier();
    block.read(1, 4, |lane| 4 * lane);
    block.read(2, 4, |lane| 4 * lane);
    block.silent();
    block.write(0, 4, |lane| 4 * lane);
    assert_eq!(block.only(SharedRace), "write of shared offset 0 after a read by warp 1 lane 0 with no barrier in between");
}

#[test]
fn ldmatrix_reads_count_for_the_whole_warp() {
    let rows = lanes(|lane| 16 * lane);
    let mut block = Block::new(2);
    block.write(0, 16, |lane| 16 * lane);
    assert_eq!(block.shadow.read_rows(0, &rows).map(|issue| issue.kind), Some(SharedRace), "own warp, other lanes");
    block.barrier();
    assert_eq!(block.shadow.read_rows(0, &rows), None);
    assert_eq!(block.shadow.read_rows(1, &rows[..8]), None);
    block.write_masked(1, 1, 4, |_| 0, |_| 0);
    block.only(SharedRace);
}

#[test]
fn two_warps_write_one_word() {
    let mut block = Block::new(2);
    block.write_masked(0, 1, 4, |_| 40, |_| 7);
    block.write_masked(1, 1, 4, |_| 40, |_| 7);
    block.only(SharedRace);
}

#[test]
fn neighbouring_bytes_do_not_conflict() {
    let mut block = Block::new(4);
    for warp in 0..4 {
        block.write_masked(warp, 1, 1, |_| 40 + warp, |_| 7);
    }
    block.write(0, 2, |lane| 64 + 4 * lane);
    block.write(1, 2, |lane| 66 + 4 * lane);
    block.silent();
    block.barrier();
    block.read(2, 4, |lane| 64 + 4 * lane);
    block.read_masked(3, 1, 4, |_| 40);
    block.silent();
    block.write_masked(0, 1, 1, |_| 41, |_| 7); // the word was read whole by warp 3
    block.only(SharedRace);
}

#[test]
fn lanes_of_a_warp_exchange_with_a_warp_barrier_only() {
    let exchange = |sync: bool| {
        let mut block = Block::new(2);
        for round in 0..3 {
            block.write(0, 4, |lane| 4 * lane);
            if sync {
                block.shadow.warp_sync(0, ALL, ALL);
            }
            block.read(0, 4, |lane| 4 * (lane ^ 1 << round));
            if sync {
                block.shadow.warp_sync(0, ALL, ALL);
            }
        }
        block.kinds()
    };
    assert_eq!(exchange(true), []);
    assert_eq!(exchange(false)[0], SharedRace);
    // Another warp gains nothing from it.
    let mut block = Block::new(2);
    block.write(0, 4, |lane| 4 * lane);
    block.shadow.warp_sync(0, ALL, ALL);
    block.read(1, 4, |lane| 4 * lane);
    block.only(SharedRace);
}

#[test]
fn a_warp_barrier_of_some_lanes_orders_these() {
    let mut block = Block::new(1);
    block.write(0, 4, |lane| 4 * lane);
    block.shadow.warp_sync(0, 0x0000_FFFF, ALL);
    block.read_masked(0, 0x0000_FFFF, 4, |lane| 4 * (lane ^ 1));
    block.shadow.warp_sync(0, 0x0000_FFFF, ALL);
    block.write_masked(0, 0x0000_FFFF, 4, |lane| 4 * lane, |_| 0);
    block.silent();
    block.read_masked(0, 0x0000_FFFF, 4, |lane| 4 * (lane + 16));
    assert_eq!(
        block.only(SharedRace),
        "read of shared offset 64 after a write by warp 0 lane 16 with no warp barrier in between"
    );
    // Lanes that have ended need not take part.
    let mut block = Block::new(1);
    block.write(0, 4, |lane| 4 * lane);
    block.shadow.warp_sync(0, 0xFF, 0xFF);
    block.read_masked(0, 0xFF, 4, |lane| 4 * (lane ^ 1));
    block.silent();
}

#[test]
fn lanes_of_one_store_must_agree() {
    let mut block = Block::new(1);
    block.write_masked(0, ALL, 4, |_| 8, |_| 3);
    block.silent();
    let mut block = Block::new(1);
    block.write_masked(0, ALL, 4, |lane| 8 + lane / 31 * 4, |lane| (lane == 30) as u8);
    block.only(ConflictingLanes);
    // Two stores are not one: the second lane's store races with the first's.
    let mut block = Block::new(1);
    block.write_masked(0, 1, 4, |_| 8, |_| 3);
    block.write_masked(0, 2, 4, |_| 8, |_| 3);
    block.only(SharedRace);
}

#[test]
fn atomics_conflict_with_plain_accesses_only() {
    let mut block = Block::new(3);
    block.write(0, 4, |lane| 4 * lane);
    block.barrier();
    for warp in 0..3 {
        block.atomic(warp, |lane| 4 * (lane % 3));
    }
    block.silent();
    block.barrier();
    block.read(1, 4, |lane| 4 * (lane % 3));
    block.silent();

    let mut block = Block::new(2);
    block.write(0, 4, |lane| 4 * lane);
    block.atomic(1, |lane| 4 * lane);
    block.only(SharedRace);
    let mut block = Block::new(2);
    block.write(0, 4, |lane| 4 * lane);
    block.barrier();
    block.atomic(1, |lane| 4 * lane);
    block.read(0, 4, |lane| 4 * lane);
    block.only(SharedRace);
    let mut block = Block::new(1);
    block.atomic(0, |_| 0);
    assert_eq!(block.found[0].kind, UninitialisedShared);
}

#[test]
fn named_barriers_order_producers_and_consumers() {
    // Warp 0 fills, warps 1 and 2 use; barrier 1 says "full", barrier 2 "empty". Warp 3 does something else.
    let pipeline = |wait_for_empty: bool| {
        let mut block = Block::new(4);
        for _ in 0..3 {
            block.write(0, 4, |lane| 4 * lane);
            block.shadow.arrive(0, 1);
            block.shadow.arrive(1, 1);
            block.shadow.arrive(2, 1);
            block.shadow.complete(1, 0b110);
            block.read(1, 4, |lane| 4 * lane);
            block.shadow.arrive(1, 2);
            block.read(2, 4, |lane| 4 * (31 - lane));
            block.shadow.arrive(2, 2);
            if wait_for_empty {
                block.shadow.arrive(0, 2);
                block.shadow.complete(2, 0b1);
            }
            block.write(3, 4, |lane| 512 + 4 * lane);
        }
        block.kinds()
    };
    assert_eq!(pipeline(true), []);
    assert_eq!(pipeline(false), [SharedRace, SharedRace]);
    // What a warp does after it arrived is not handed over.
    let mut block = Block::new(2);
    block.shadow.arrive(0, 1);
    block.write(0, 4, |lane| 4 * lane);
    block.shadow.arrive(1, 1);
    block.shadow.complete(1, 0b10);
    block.read(1, 4, |lane| 4 * lane);
    block.only(SharedRace);
}

/// A double-buffered loop as in a matrix product, with its synchronisation in parts that can be left out.
fn pipeline(
    steps: u32,
    wait: Option<u32>,
    barrier_after_wait: bool,
    barrier_after_use: bool,
    commit: bool,
    drain: bool,
) -> Block {
    let mut block = Block::new(2);
    let fill = |block: &mut Block, step: u32| {
        for warp in 0..2 {
            block.copy(warp, step % 2 * 1024 + warp * 512, step as u8);
            if commit {
                block.shadow.copy_commit(warp, ALL);
            }
        }
    };
    fill(&mut block, 0);
    for step in 0..steps {
        if step + 1 < steps {
            fill(&mut block, step + 1);
        } else if commit {
            (0..2).for_each(|warp| block.shadow.copy_commit(warp, ALL)); // an empty group keeps the count
        }
        if let Some(groups) = wait {
            (0..2).for_each(|warp| block.wait(warp, Some(groups)));
        }
        if barrier_after_wait {
            block.barrier();
        }
        for warp in 0..2 {
            let rows = lanes(|lane| step % 2 * 1024 + (1 - warp) * 512 + 16 * lane);
            let found = block.shadow.read_rows(warp, &rows);
            if found.is_none() && block.found.is_empty() {
                assert!(rows.iter().all(|&row| block.shared[row as usize..][..16] == [step as u8; 16]));
            }
            block.found.extend(found);
        }
        if barrier_after_use {
            block.barrier();
        }
    }
    if drain {
        (0..2).for_each(|warp| block.wait(warp, None));
    }
    for warp in 0..2 {
        let found = block.shadow.exit(warp, ALL);
        block.found.extend(found);
    }
    block
}

#[test]
fn a_double_buffered_pipeline_is_silent() {
    pipeline(5, Some(1), true, true, true, false).silent();
    pipeline(5, Some(0), true, true, true, false).silent();
}

#[test]
fn a_pipeline_with_a_part_left_out() {
    let no_wait = pipeline(5, None, true, true, true, false);
    assert!(no_wait.kinds()[..8].iter().all(|&kind| kind == PendingCopyTouched), "{:?}", no_wait.kinds());
    assert_eq!(no_wait.kinds().last(), Some(&CopyNotWaited));
    let waits_too_little = pipeline(5, Some(2), true, true, true, true);
    assert!(waits_too_little.kinds().contains(&PendingCopyTouched));
    let no_barrier = pipeline(1, Some(0), false, true, true, false);
    assert_eq!(no_barrier.kinds(), [SharedRace, SharedRace]);
    let no_second_barrier = pipeline(5, Some(1), true, false, true, false);
    assert!(!no_second_barrier.found.is_empty() && no_second_barrier.kinds().iter().all(|&kind| kind == SharedRace));
    let no_commit = pipeline(2, Some(0), true, true, false, true);
    assert!(!no_commit.found.is_empty() && no_commit.kinds().iter().all(|&kind| kind == PendingCopyTouched));
}

#[test]
fn copies_in_flight_poison_and_must_not_be_touched() {
    let touches: [fn(&mut Block); 4] = [
        |block| block.read(1, 4, |lane| 4 * lane),
        |block| block.write(0, 2, |lane| 2 * lane),
        |block| block.atomic(0, |lane| 4 * lane),
        |block| block.copy(0, 0, 1),
    ];
    for touch in touches {
        let mut block = Block::new(2);
        block.copy(0, 0, 5);
        block.silent();
        assert_eq!((block.shared[0], block.shared[511]), (POISON, POISON));
        touch(&mut block);
        block.only(PendingCopyTouched);
    }
}

#[test]
fn a_thread_waits_for_its_own_copies_only() {
    let mut block = Block::new(1);
    block.copy(0, 0, 5);
    block.shadow.copy_commit(0, 0xFF);
    block.shadow.copy_wait(0, ALL, Some(0), &mut block.shared); // the other lanes have not committed
    assert_eq!((block.shared[127], block.shared[128]), (5, POISON));
    block.read_masked(0, 0xFF, 16, |lane| 16 * lane);
    block.silent();
    let left = block.shadow.exit(0, ALL).unwrap();
    assert_eq!((left.kind, left.lane, left.address), (CopyNotWaited, 8, Some(128)));
    assert_eq!(block.shadow.exit(0, ALL), None);
}

#[test]
fn a_block_begins_with_a_clean_shadow() {
    let mut block = Block::new(2);
    block.write(0, 2, |lane| 2 * lane);
    block.write(0, 4, |lane| 256 + 4 * lane);
    block.copy(1, 1024, 5);
    block.shadow.start_block(4096, 2);
    block.write(1, 4, |lane| 4 * lane);
    block.write(1, 2, |lane| 256 + 4 * lane);
    block.copy(0, 1024, 5);
    block.wait(0, None);
    block.silent();
    assert_eq!(block.shadow.exit(1, ALL), None);
    block.read_masked(0, 1, 2, |_| 600);
    block.only(UninitialisedShared);
}
