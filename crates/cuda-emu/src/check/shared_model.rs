//! The shadow of shared memory against the definition of a race.

use proptest::prelude::*;

use super::SharedShadow;
use crate::memory::{LaneBytes, WarpAccess};
use crate::report::FindingKind;

const WARPS: u32 = 3;
const LANES: u32 = 4;
const LIVE: u32 = (1 << LANES) - 1;

#[derive(Debug, Clone)]
enum Step {
    /// One lane reads or writes `1 << size` bytes.
    Access {
        warp: u32,
        lane: u32,
        write: bool,
        size: u32,
        place: u32,
    },
    WarpSync {
        warp: u32,
        mask: u32,
    },
    Barrier {
        warps: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let access = (0..WARPS, 0..LANES, any::<bool>(), 0u32..4, 0u32..16);
    prop_oneof![
        6 => access.prop_map(|(warp, lane, write, size, place)| Step::Access { warp, lane, write, size, place }),
        2 => (0..WARPS, prop_oneof![Just(LIVE), 1..=LIVE]).prop_map(|(warp, mask)| Step::WarpSync { warp, mask }),
        2 => prop_oneof![Just(7u32), 1u32..8].prop_map(|warps| Step::Barrier { warps }),
    ]
}

/// An access.
struct Done {
    write: bool,
    bytes: std::ops::Range<u32>,
}

/// The first step that races with an earlier one.
fn first_race(steps: &[Step]) -> Option<usize> {
    let mut done: Vec<Done> = Vec::new();
    let mut known = vec![vec![false; steps.len()]; (WARPS * LANES) as usize];
    let join = |known: &mut Vec<Vec<bool>>, threads: &[usize]| {
        let all: Vec<bool> = (0..steps.len()).map(|i| threads.iter().any(|&thread| known[thread][i])).collect();
        threads.iter().for_each(|&thread| known[thread].clone_from(&all));
    };
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Step::Access { warp, lane, write, size, place } => {
                let thread = (warp * LANES + lane) as usize;
                let start = place >> size << size;
                let bytes = start..start + (1 << size);
                let before = known[thread].clone();
                let races = |(i, earlier): (usize, &Done)| {
                    let overlap = earlier.bytes.start < bytes.end && bytes.start < earlier.bytes.end;
                    overlap && (write || earlier.write) && !before[i]
                };
                if done.iter().enumerate().any(races) {
                    return Some(index);
                }
                known[thread][done.len()] = true;
                done.push(Done { write, bytes });
            }
            Step::WarpSync { warp, mask } => {
                let threads: Vec<usize> =
                    (0..LANES).filter(|lane| mask & (1 << lane) != 0).map(|lane| (warp * LANES + lane) as usize).collect();
                join(&mut known, &threads);
            }
            Step::Barrier { warps } => {
                let threads: Vec<usize> = (0..WARPS * LANES)
                    .filter(|thread| warps & (1 << (thread / LANES)) != 0)
                    .map(|thread| thread as usize)
                    .collect();
                join(&mut known, &threads);
            }
        }
    }
    None
}

/// The first step at which the shadow finds something.
fn first_finding(steps: &[Step]) -> Option<usize> {
    let mut shadow = SharedShadow::new();
    // A block before this one leaves traces that must not matter.
    for _ in 0..2 {
        shadow.start_block(64, WARPS);
        let all: [u32; 32] = std::array::from_fn(|lane| 2 * (lane as u32));
        assert_eq!(shadow.write(1, &WarpAccess { addresses: &all, mask: u32::MAX, bytes: 2 }, &LaneBytes::new()), None);
        shadow.warp_sync(1, 0b1, LIVE);
        (0..WARPS).for_each(|warp| shadow.arrive(warp, 0));
        shadow.complete(0, 7);
    }
    steps.iter().position(|step| match *step {
        Step::Access { warp, lane, write, size, place } => {
            let access = WarpAccess { addresses: &[place >> size << size; 32], mask: 1 << lane, bytes: 1 << size };
            let found = if write { shadow.write(warp, &access, &LaneBytes::new()) } else { shadow.read(warp, &access) };
            assert!(found.iter().all(|issue| issue.kind == FindingKind::SharedRace && issue.lane == lane));
            found.is_some()
        }
        Step::WarpSync { warp, mask } => {
            shadow.warp_sync(warp, mask, LIVE);
            false
        }
        Step::Barrier { warps } => {
            (0..WARPS).filter(|warp| warps & (1 << warp) != 0).for_each(|warp| shadow.arrive(warp, warps));
            shadow.complete(warps, warps);
            false
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn the_first_race_is_found_and_nothing_before_it(steps in prop::collection::vec(step(), 1..40)) {
        prop_assert_eq!(first_finding(&steps), first_race(&steps));
    }
}
