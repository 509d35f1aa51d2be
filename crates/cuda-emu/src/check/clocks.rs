//! Which accesses of a block happen before which: vector clocks for warps, finer ones for lanes where needed.
//!
//! A block has one running number, `now`. Each warp stamps its accesses with its tick, a value of `now` that is renewed whenever the warp
//! synchronises. `known[w][v] >= t` says that all accesses of warp `v` up to tick `t` happen before what warp `w` does next.
//! Because ticks come from one running number, a barrier of all warps lifts all entries to one value, and the least entry of a row,
//! the floor, answers most questions with one comparison.

/// Warps of the largest block, and lanes of a warp.
pub(super) const WARPS: usize = 32;
/// Barriers of a block.
const BARRIERS: usize = 16;
/// Stands for "every lane" in an access made for the whole warp.
pub(super) const ALL_LANES: u32 = 32;

type Row = [u32; WARPS];

#[derive(Debug)]
pub(super) struct Clocks {
    warps: usize,
    now: u32,
    ticks: Row,
    known: Vec<Row>,
    floors: Row,
    /// What lanes know of lanes of their own warp, since the last synchronisation of the whole warp; absent unless only some synchronised.
    lanes: Vec<Option<Box<[Row; 32]>>>,
    /// What each barrier has been handed.
    barriers: [Row; BARRIERS],
}

impl Clocks {
    pub fn new() -> Self {
        Clocks {
            warps: 0,
            now: 0,
            ticks: [0; WARPS],
            known: vec![[0; WARPS]; WARPS],
            floors: [0; WARPS],
            lanes: vec![None; WARPS],
            barriers: [[0; WARPS]; BARRIERS],
        }
    }

    /// Starts a block, after everything that was before. Returns whether the numbers began anew, so that old ticks must be forgotten.
    pub fn start(&mut self, warps: usize) -> bool {
        let restart = self.now > u32::MAX / 2;
        if restart {
            self.now = 0;
        }
        self.warps = warps.min(WARPS);
        self.known.fill([self.now; WARPS]);
        self.floors = [self.now; WARPS];
        self.now += 1;
        self.ticks = [self.now; WARPS];
        self.lanes.fill(None);
        self.barriers = [[0; WARPS]; BARRIERS];
        restart
    }

    /// The stamp of a warp's accesses.
    pub fn tick(&self, warp: u32) -> u32 {
        self.ticks[warp as usize]
    }

    /// Everything up to this tick happens before what the warp does next, whoever did it.
    pub fn floor(&self, warp: u32) -> u32 {
        self.floors[warp as usize]
    }

    /// All lanes of the warp up to this tick happen before what any of them does next.
    pub fn synced(&self, warp: u32) -> u32 {
        self.known[warp as usize][warp as usize]
    }

    /// Whether some lanes of the warp know more than others.
    pub fn has_lane_clocks(&self, warp: u32) -> bool {
        self.lanes[warp as usize].is_some()
    }

    /// Whether accesses of warp `other` up to `tick` happen before what `warp` does next.
    pub fn knows_warp(&self, warp: u32, other: u32, tick: u32) -> bool {
        tick <= self.known[warp as usize][other as usize]
    }

    /// Whether an access of a lane at `tick` happens before what lane `by` does next; lanes are (warp, lane).
    pub fn ordered(&self, (warp, lane): (u32, u32), tick: u32, by: (u32, u32)) -> bool {
        if tick <= self.known[by.0 as usize][warp as usize] {
            return true;
        }
        warp == by.0 && (lane == by.1 && lane != ALL_LANES || self.lanes_ordered(warp, lane, tick, by.1))
    }

    fn lanes_ordered(&self, warp: u32, lane: u32, tick: u32, by: u32) -> bool {
        let Some(lanes) = &self.lanes[warp as usize] else { return false };
        lane != ALL_LANES && by != ALL_LANES && tick <= lanes[by as usize][lane as usize]
    }

    /// A warp reaches a barrier: what it did is handed over.
    pub fn arrive(&mut self, warp: u32, barrier: u32) {
        let held = &mut self.barriers[barrier as usize % BARRIERS];
        let warp = warp as usize;
        join(held, &self.known[warp]);
        held[warp] = self.ticks[warp];
        self.now += 1;
        self.ticks[warp] = self.now;
    }

    /// A barrier completes: the warps in `waiters` learn what it was handed.
    pub fn complete(&mut self, barrier: u32, waiters: u32) {
        let mut held = std::mem::replace(&mut self.barriers[barrier as usize % BARRIERS], [0; WARPS]);
        // Who waits has done nothing since it arrived, so all it did is known, up to the present number.
        for warp in warps_of(waiters) {
            held[warp] = self.now;
        }
        self.now += 1;
        for warp in warps_of(waiters) {
            join(&mut self.known[warp], &held);
            self.renew(warp);
        }
    }

    /// The lanes in `mask` of a warp wait for each other; `live` are the lanes that have not ended.
    pub fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        let warp = warp as usize;
        let tick = self.ticks[warp];
        self.now += 1;
        if live & !mask == 0 {
            self.known[warp][warp] = tick;
            self.renew(warp);
            return;
        }
        let lanes = self.lanes[warp].get_or_insert_with(|| Box::new([[0; WARPS]; 32]));
        let mut joined = [0; WARPS];
        for lane in warps_of(mask) {
            join(&mut joined, &lanes[lane]);
        }
        for lane in warps_of(mask) {
            joined[lane] = tick;
        }
        for lane in warps_of(mask) {
            lanes[lane] = joined;
        }
        self.ticks[warp] = self.now;
    }

    /// A warp's accesses from now on are told from those before.
    pub fn advance(&mut self, warp: u32) {
        self.now += 1;
        self.ticks[warp as usize] = self.now;
    }

    /// What happens before the next step of a lane: ticks of all warps, those that do not exist without end, and of lanes of its own warp.
    pub fn view(&self, warp: u32, lane: u32) -> (Row, impl Iterator<Item = (u32, u32)>) {
        let mut row = self.known[warp as usize];
        row[self.warps..].fill(u32::MAX);
        let others = self.lanes[warp as usize].as_ref().map(|lanes| lanes[lane as usize]);
        let others = others.into_iter().flat_map(|row| (0..).zip(row)).filter(move |&(other, _)| other != lane);
        (row, others.chain([(lane, self.ticks[warp as usize])]))
    }

    fn renew(&mut self, warp: usize) {
        self.lanes[warp] = None;
        self.ticks[warp] = self.now;
        self.floors[warp] = self.known[warp][..self.warps.max(1)].iter().copied().min().unwrap_or(0);
    }
}

fn join(into: &mut Row, from: &Row) {
    for (into, &from) in into.iter_mut().zip(from) {
        *into = (*into).max(from);
    }
}

/// The numbers of the bits set.
pub(super) fn warps_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros() as usize);
        rest &= rest.wrapping_sub(1);
        bit
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Event {
        Access {
            warp: u32,
            lane: u32,
        },
        WarpSync {
            warp: u32,
            mask: u32,
        },
        /// Warps of `waits` and `arrives` arrive; then those of `waits` go on. Between, the arriving ones may do `meanwhile` accesses.
        Barrier {
            id: u32,
            waits: u32,
            arrives: u32,
            meanwhile: Vec<u32>,
        },
    }

    const TEST_WARPS: u32 = 3;
    const TEST_LANES: u32 = 4;
    const LIVE: u32 = 0xF;

    fn event() -> impl Strategy<Value = Event> {
        let warp = 0..TEST_WARPS;
        prop_oneof![
            5 => (warp.clone(), 0..TEST_LANES).prop_map(|(warp, lane)| Event::Access { warp, lane }),
            2 => (warp, 1u32..16).prop_map(|(warp, mask)| Event::WarpSync { warp, mask }),
            2 => (0u32..3, 1u32..8, 0u32..8, prop::collection::vec(0..TEST_LANES, 0..3))
                .prop_map(|(id, waits, arrives, meanwhile)| Event::Barrier { id, waits, arrives: arrives & !waits, meanwhile }),
        ]
    }

    /// Happens-before by its definition: a graph of events with program order and synchronisation, closed transitively. Each lane keeps
    /// the set of accesses that precede its next step.
    #[derive(Default)]
    struct Graph {
        before: Vec<Vec<bool>>,
        lanes: Vec<Vec<Vec<bool>>>,
    }

    impl Graph {
        fn union(sets: impl Iterator<Item = Vec<bool>>) -> Vec<bool> {
            sets.fold(Vec::new(), |mut all, set| {
                all.resize(all.len().max(set.len()), false);
                set.iter().enumerate().for_each(|(i, &member)| all[i] |= member);
                all
            })
        }

        fn access(&mut self, warp: u32, lane: u32) {
            let known = &mut self.lanes[warp as usize][lane as usize];
            self.before.push(known.clone());
            known.resize(self.before.len(), false);
            known[self.before.len() - 1] = true;
        }

        fn warps(&self, mask: u32) -> Vec<bool> {
            Self::union(warps_of(mask).flat_map(|warp| self.lanes[warp].clone()))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        #[test]
        fn clocks_agree_with_happens_before(events in prop::collection::vec(event(), 1..40)) {
            let mut clocks = Clocks::new();
            clocks.start(TEST_WARPS as usize);
            let mut graph = Graph { lanes: vec![vec![Vec::new(); TEST_LANES as usize]; TEST_WARPS as usize], ..Graph::default() };
            let mut stamps: Vec<((u32, u32), u32)> = Vec::new();
            let mut access = |clocks: &Clocks, graph: &mut Graph, warp: u32, lane: u32| {
                graph.access(warp, lane);
                let before = graph.before.last().unwrap();
                for (earlier, &(who, tick)) in stamps.iter().enumerate() {
                    let want = before.get(earlier).copied().unwrap_or(false);
                    prop_assert_eq!(clocks.ordered(who, tick, (warp, lane)), want, "{:?} at {} before {:?}", who, tick, (warp, lane));
                    prop_assert!(tick > clocks.floor(warp) || want);
                }
                stamps.push(((warp, lane), clocks.tick(warp)));
                Ok(())
            };
            for event in events {
                match event {
                    Event::Access { warp, lane } => access(&clocks, &mut graph, warp, lane)?,
                    Event::WarpSync { warp, mask } => {
                        clocks.warp_sync(warp, mask, LIVE);
                        let all = Graph::union(warps_of(mask).map(|lane| graph.lanes[warp as usize][lane].clone()));
                        warps_of(mask).for_each(|lane| graph.lanes[warp as usize][lane] = all.clone());
                    }
                    Event::Barrier { id, waits, arrives, meanwhile } => {
                        let handed = graph.warps(waits | arrives);
                        warps_of(waits | arrives).for_each(|warp| clocks.arrive(warp as u32, id));
                        for lane in meanwhile {
                            for warp in warps_of(!waits & 7) {
                                access(&clocks, &mut graph, warp as u32, lane)?;
                            }
                        }
                        clocks.complete(id, waits);
                        for warp in warps_of(waits) {
                            for known in &mut graph.lanes[warp] {
                                *known = Graph::union([known.clone(), handed.clone()].into_iter());
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_barrier_of_all_warps_lifts_the_floor_to_the_newest_access() {
        let mut clocks = Clocks::new();
        for warps in [1, 4, 32] {
            clocks.start(warps);
            for _ in 0..3 {
                let newest = (0..warps as u32).map(|warp| clocks.tick(warp)).max().unwrap();
                (0..warps as u32).for_each(|warp| clocks.arrive(warp, 0));
                clocks.complete(0, (u64::MAX >> (64 - warps)) as u32);
                assert!((0..warps as u32).all(|warp| clocks.floor(warp) >= newest && clocks.tick(warp) > newest));
            }
        }
    }

    #[test]
    fn numbers_begin_anew_before_they_run_out() {
        let mut clocks = Clocks::new();
        assert!(!clocks.start(2));
        clocks.now = u32::MAX / 2 + 1;
        assert!(clocks.start(2));
        assert!(!clocks.ordered((0, 0), clocks.tick(0), (1, 0)));
    }
}
