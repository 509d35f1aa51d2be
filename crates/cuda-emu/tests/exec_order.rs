//! Blocks that hand data to each other: what PTX's memory model orders is accepted, and each way to miss it is a race.

mod common;

use common::{Arg, Host};
use cuda_emu::exec::{Fault, Order, Outcome};
use cuda_emu::report::FindingKind;

const BLOCKS: u32 = 6;
const ORDERS: [Order; 4] = [Order::InOrder, Order::Reverse, Order::Random(1), Order::Random(2)];

/// `%r0` thread, `%r1` block, `%r2` blocks; `%l1` data, `%l2` flag or counter, `%l3` output; `%l4` the thread's datum in its block.
fn kernel(code: &str) -> String {
    format!(
        ".version 8.8\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_0, .param .u64 k_1, .param .u64 k_2)\n{{\n\
         .reg .pred %p<8>; .reg .b32 %r<30>; .reg .b64 %l<12>; .shared .align 4 .b8 last[4];\n\
         ld.param.u64 %l1, [k_0]; ld.param.u64 %l2, [k_1]; ld.param.u64 %l3, [k_2];\n\
         mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; mov.u32 %r3, %ntid.x;\n\
         mad.lo.u32 %r4, %r1, %r3, %r0; mul.wide.u32 %l5, %r4, 4; add.s64 %l4, %l1, %l5; mul.wide.u32 %l5, %r0, 4; add.s64 %l3, %l3, %l5;\n\
         {code}\nret;\n}}\n"
    )
}

/// Runs on a word of zero as flag, with blocks and warps in this order.
fn run(code: &str, order: Order, blocks: u32, threads: u32, shared: u32) -> (Outcome, Vec<u32>) {
    let mut host = Host::new(&kernel(code));
    (host.options.warp_order, host.options.block_order) = (order, order);
    host.options.max_iterations = 1 << 20;
    let (data, flag, out) = (host.empty(4 * (blocks * threads) as usize), host.u32s(&[0]), host.u32s(&vec![0; threads as usize]));
    let outcome = host.launch("k", [blocks, 1, 1], [threads, 1, 1], shared, &[Arg::U64(data), Arg::U64(flag), Arg::U64(out)]);
    let mut results = host.read_u32s(out, threads as usize);
    results.extend(host.read_u32s(flag, 1));
    (outcome, results)
}

fn kinds(outcome: &Outcome) -> Vec<FindingKind> {
    let mut kinds: Vec<FindingKind> = outcome.findings.iter().map(|finding| finding.kind).collect();
    kinds.dedup();
    kinds
}

fn text(outcome: &Outcome) -> String {
    outcome.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Every block writes its part, the one that arrives last adds them up.
#[derive(Clone, Copy)]
struct LastBlock {
    /// After each thread's store.
    stored: &'static str,
    first_barrier: &'static str,
    /// Thread 0, before its atomic.
    before: &'static str,
    atomic: &'static str,
    /// Thread 0, after its atomic.
    after: &'static str,
    second_barrier: &'static str,
    /// Each thread of the last block, before it reads.
    reading: &'static str,
    load: &'static str,
    /// Which block takes itself for the last, counted from the end.
    early: u32,
}

const NONE: LastBlock = LastBlock {
    stored: "",
    first_barrier: "bar.sync 0;",
    before: "",
    atomic: "atom.global.add.u32",
    after: "",
    second_barrier: "bar.sync 0;",
    reading: "",
    load: "ld.global.u32",
    early: 0,
};

impl LastBlock {
    fn code(&self) -> String {
        let LastBlock { stored, first_barrier, before, atomic, after, second_barrier, reading, load, early } = self;
        format!(
            "mad.lo.u32 %r5, %r1, 100, %r0; st.global.u32 [%l4], %r5;\n{stored}\n{first_barrier}\nsetp.ne.u32 %p1, %r0, 0; @%p1 bra WAIT;\n\
             {before}\n{atomic} %r6, [%l2], 1;\n{after}\nadd.u32 %r6, %r6, {early}; sub.u32 %r7, %r2, 1; setp.eq.u32 %p2, %r6, %r7; selp.u32 %r8, 1, 0, %p2;\n\
             st.shared.u32 [last], %r8;\nWAIT: {second_barrier}\nld.shared.u32 %r9, [last]; setp.eq.u32 %p3, %r9, 0; @%p3 ret;\n{reading}\n\
             mov.u32 %r10, 0; mov.u32 %r11, 0; mul.wide.u32 %l5, %r0, 4; add.s64 %l6, %l1, %l5; mul.wide.u32 %l7, %r3, 4;\n\
             SUM: {load} %r12, [%l6]; add.u32 %r11, %r11, %r12; add.s64 %l6, %l6, %l7; add.u32 %r10, %r10, 1; setp.lt.u32 %p4, %r10, %r2; @%p4 bra SUM;\n\
             st.global.u32 [%l3], %r11; @%p1 ret; st.global.u32 [%l2], 0;"
        )
    }

    fn accepted(&self) {
        for order in ORDERS {
            let (outcome, got) = run(&self.code(), order, BLOCKS, 64, 0);
            assert!(outcome.findings.is_empty(), "{order:?}\n{}\n{}", self.code(), text(&outcome));
            let sum = (0..BLOCKS).map(|block| block * 100).sum::<u32>();
            let want: Vec<u32> = (0..64).map(|thread| sum + BLOCKS * thread).chain([0]).collect();
            assert_eq!(got, want);
        }
    }

    fn refused(&self) {
        for order in ORDERS {
            let (outcome, _) = run(&self.code(), order, BLOCKS, 64, 0);
            let races = outcome.findings.iter().filter(|finding| finding.kind == FindingKind::GlobalRace);
            assert_ne!(races.count(), 0, "{order:?}\n{}\n{}", self.code(), text(&outcome));
            assert_eq!(outcome.fault, None);
        }
    }
}

#[test]
fn the_last_block_may_read_what_the_others_wrote() {
    // As CUDA C++ does it: __threadfence() is membar.gl, a sequentially consistent fence, wherever it stands between access and barrier.
    for (stored, before) in [("membar.gl;", ""), ("", "membar.gl;"), ("fence.sc.gpu;", ""), ("", "membar.sys;")] {
        for (after, reading) in [("membar.gl;", ""), ("", "membar.gl;"), ("fence.sc.sys;", ""), ("", "fence.sc.gpu;")] {
            LastBlock { stored, before, after, reading, ..NONE }.accepted();
        }
    }
    // Weaker fences count for the thread that touches the counter; what barriers order before is included.
    LastBlock { before: "fence.acq_rel.gpu;", after: "fence.acq_rel.gpu;", ..NONE }.accepted();
    LastBlock { before: "fence.gpu;", after: "fence.acq_rel.sys;", ..NONE }.accepted();
    LastBlock { atomic: "atom.acq_rel.gpu.global.add.u32", ..NONE }.accepted();
    LastBlock { atomic: "atom.release.gpu.global.add.u32", after: "fence.acq_rel.gpu;", ..NONE }.accepted();
    LastBlock { before: "fence.acq_rel.gpu;", atomic: "atom.acquire.sys.global.add.u32", ..NONE }.accepted();
    LastBlock {
        before: "membar.gl;",
        atomic: "atom.relaxed.gpu.global.add.u32",
        after: "membar.gl;",
        load: "ld.volatile.global.u32",
        ..NONE
    }
    .accepted();
}

#[test]
fn each_part_that_is_missing_is_a_race() {
    let whole = LastBlock { before: "membar.gl;", after: "membar.gl;", ..NONE };
    whole.accepted();
    LastBlock { before: "", ..whole }.refused();
    LastBlock { after: "", ..whole }.refused();
    NONE.refused();
    // Other threads' stores are not ordered before thread 0's fence.
    LastBlock { first_barrier: "", ..whole }.refused();
    LastBlock { first_barrier: "", stored: "membar.gl;", ..whole }.refused();
    // Fences and atomics that are for the block only.
    LastBlock { before: "membar.cta;", ..whole }.refused();
    LastBlock { after: "fence.acq_rel.cta;", ..whole }.refused();
    LastBlock { atomic: "atom.acq_rel.cta.global.add.u32", ..whole }.refused();
    // One side only.
    LastBlock { atomic: "atom.acquire.gpu.global.add.u32", ..NONE }.refused();
    LastBlock { atomic: "atom.release.gpu.global.add.u32", ..NONE }.refused();
    // Weak fences of threads that do not touch the counter, with a barrier between fence and atomic.
    LastBlock { stored: "fence.acq_rel.gpu;", before: "", ..whole }.refused();
    LastBlock { reading: "fence.acq_rel.gpu;", after: "", ..whole }.refused();
    // A block that is not the last.
    LastBlock { early: 1, ..whole }.refused();
    // Loads that may come from a cache which knows nothing of other blocks.
    LastBlock { load: "ld.global.nc.u32", ..whole }.refused();
}

#[test]
fn lanes_hand_on_what_they_know_by_a_warp_barrier_but_not_by_a_shuffle() {
    let code = |sync: &str, sync_after: &str| {
        format!(
            "st.global.u32 [%l4], %r0; {sync} setp.ne.u32 %p1, %r0, 0; mov.u32 %r6, 0; @%p1 bra ON; fence.acq_rel.gpu; atom.global.add.u32 %r6, [%l2], 1;\n\
             fence.acq_rel.gpu; ON: shfl.sync.idx.b32 %r7, %r6, 0, 31, -1; {sync_after} setp.eq.u32 %p2, %r7, 0; @%p2 ret; ld.global.u32 %r8, [%l1+40];\n\
             st.global.u32 [%l3], %r8;"
        )
    };
    let sync = "bar.warp.sync -1;";
    for order in ORDERS {
        let (outcome, got) = run(&code(sync, sync), order, 2, 32, 0);
        assert!(outcome.findings.is_empty(), "{}", text(&outcome));
        assert_eq!(got[..32], [10; 32]);
        // Only what the last block reads of the other's is a race, so the first in order must not be block 1.
        for (before, after) in [(sync, ""), ("", sync)] {
            let (outcome, _) = run(&code(before, after), Order::InOrder, 2, 32, 0);
            assert_eq!(kinds(&outcome), [FindingKind::GlobalRace], "{before}, {after}");
        }
    }
}

/// Block 0 hands a word on, the other waits for it.
fn hand_on(write: &str, read: &str) -> String {
    format!(
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra WAIT; st.global.u32 [%l1], 42;\n{write}\nret;\n\
         WAIT: {read}\nsetp.eq.u32 %p2, %r5, 0; @%p2 bra WAIT;\nAFTER"
    )
}

fn with_fence(code: &str, fence: &str) -> String {
    code.replace("AFTER", &format!("{fence} ld.global.u32 %r6, [%l1]; st.global.u32 [%l3], %r6;"))
}

#[test]
fn blocks_wait_for_a_flag() {
    let writes = [
        "st.release.gpu.global.u32 [%l2], 1;",
        "fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%l2], 1;",
        "membar.gl; st.volatile.global.u32 [%l2], 1;",
        "red.release.gpu.global.add.u32 [%l2], 1;",
        "membar.gl; red.global.or.b32 [%l2], 1;",
        "atom.release.gpu.global.exch.b32 %r7, [%l2], 1;",
        "membar.gl; atom.global.cas.b32 %r7, [%l2], 0, 1;",
        // A later write of the thread still releases.
        "fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%l2], 0; st.relaxed.gpu.global.u32 [%l2], 1;",
        "st.release.gpu.global.u32 [%l2], 0; st.relaxed.gpu.global.u32 [%l2], 1;",
    ];
    let reads = [
        ("ld.acquire.gpu.global.u32 %r5, [%l2];", ""),
        ("ld.relaxed.gpu.global.u32 %r5, [%l2];", "fence.acq_rel.gpu;"),
        ("ld.volatile.global.u32 %r5, [%l2];", "membar.gl;"),
        ("atom.acquire.gpu.global.add.u32 %r5, [%l2], 0;", ""),
        ("atom.global.or.b32 %r5, [%l2], 0;", "membar.gl;"),
    ];
    for (write, (read, fence)) in writes.iter().flat_map(|write| reads.iter().map(move |read| (write, read))) {
        let code = with_fence(&hand_on(write, read), fence);
        for order in [Order::InOrder, Order::Reverse] {
            let (outcome, got) = run(&code, order, 2, 1, 0);
            assert!(outcome.findings.is_empty(), "{order:?}\n{code}\n{}", text(&outcome));
            assert_eq!(got[0], 42, "{code}");
        }
    }
    let sins = [
        // No release, no acquire, neither; a fence of the block; a plain flag.
        ("st.relaxed.gpu.global.u32 [%l2], 1;", "ld.acquire.gpu.global.u32 %r5, [%l2];", ""),
        ("st.release.gpu.global.u32 [%l2], 1;", "ld.relaxed.gpu.global.u32 %r5, [%l2];", ""),
        ("st.volatile.global.u32 [%l2], 1;", "ld.volatile.global.u32 %r5, [%l2];", ""),
        ("membar.cta; st.volatile.global.u32 [%l2], 1;", "ld.volatile.global.u32 %r5, [%l2];", "membar.gl;"),
        ("membar.gl; st.volatile.global.u32 [%l2], 1;", "ld.volatile.global.u32 %r5, [%l2];", "membar.cta;"),
        ("st.release.cta.global.u32 [%l2], 1;", "ld.acquire.gpu.global.u32 %r5, [%l2];", ""),
        ("membar.gl; st.global.u32 [%l2], 1;", "ld.volatile.global.u32 %r5, [%l2];", "membar.gl;"),
        ("membar.gl; st.volatile.global.u32 [%l2], 1;", "ld.global.u32 %r5, [%l2];", "membar.gl;"),
        // The data is written after the flag, or fenced too late.
        ("st.release.gpu.global.u32 [%l2], 1; st.global.u32 [%l1], 43;", "ld.acquire.gpu.global.u32 %r5, [%l2];", ""),
        ("st.relaxed.gpu.global.u32 [%l2], 1; fence.acq_rel.gpu;", "ld.acquire.gpu.global.u32 %r5, [%l2];", ""),
        // The reader's fence comes before it has seen the flag.
        ("st.release.gpu.global.u32 [%l2], 1;", "fence.acq_rel.gpu; ld.relaxed.gpu.global.u32 %r5, [%l2];", ""),
    ];
    for (write, read, fence) in sins {
        let code = with_fence(&hand_on(write, read), fence);
        let (outcome, _) = run(&code, Order::InOrder, 2, 1, 0);
        assert_eq!(kinds(&outcome), [FindingKind::GlobalRace], "{code}\n{}", text(&outcome));
    }
}

#[test]
fn each_lane_may_have_a_flag_of_its_own() {
    // Lane by lane, without a barrier: data in one unit of memory, each word with its own flag.
    let code = |fence: &str, other: u32| {
        format!(
            "setp.ne.u32 %p1, %r1, 0; mul.wide.u32 %l5, %r0, 4; add.s64 %l6, %l1, %l5; add.s64 %l7, %l6, 256; @%p1 bra WAIT;\n\
             st.global.u32 [%l6], %r0; {fence} st.relaxed.gpu.global.u32 [%l7], 1; ret;\n\
             WAIT: ld.acquire.gpu.global.u32 %r5, [%l7]; setp.eq.u32 %p2, %r5, 0; @%p2 bra WAIT; xor.b32 %r6, %r0, {other};\n\
             mul.wide.u32 %l5, %r6, 4; add.s64 %l6, %l1, %l5; ld.global.u32 %r7, [%l6]; st.global.u32 [%l3], %r7;"
        )
    };
    let launch = |code: &str| {
        let host = Host::new(&kernel(code));
        let (data, out) = (host.u32s(&[0; 128]), host.u32s(&[0; 32]));
        let outcome = host.launch("k", [2, 1, 1], [32, 1, 1], 0, &[Arg::U64(data), Arg::U64(data), Arg::U64(out)]);
        (outcome, host.read_u32s(out, 32))
    };
    let (outcome, got) = launch(&code("fence.acq_rel.gpu;", 0));
    assert!(outcome.findings.is_empty(), "{}", text(&outcome));
    assert_eq!(got, (0..32).collect::<Vec<_>>());
    assert_eq!(kinds(&launch(&code("", 0)).0), [FindingKind::GlobalRace]);
    // A neighbour's word, whose flag this lane has not seen.
    assert_eq!(kinds(&launch(&code("fence.acq_rel.gpu;", 1)).0), [FindingKind::GlobalRace]);
}

#[test]
fn blocks_take_turns() {
    // Each waits for its number, adds to a plain word, and lets the next go on.
    let code = "WAIT: ld.acquire.gpu.global.u32 %r5, [%l2]; setp.ne.u32 %p1, %r5, %r1; @%p1 bra WAIT;\n\
                ld.global.u32 %r6, [%l3]; add.u32 %r6, %r6, %r1; st.global.u32 [%l3], %r6; add.u32 %r5, %r5, 1;";
    for order in ORDERS {
        let (outcome, got) = run(&format!("{code} st.release.gpu.global.u32 [%l2], %r5;"), order, 40, 1, 0);
        assert!(outcome.findings.is_empty(), "{order:?}\n{}", text(&outcome));
        assert_eq!(got, [40 * 39 / 2, 40]);
        let (outcome, _) = run(&format!("{code} st.relaxed.gpu.global.u32 [%l2], %r5;"), order, 40, 1, 0);
        assert_eq!(kinds(&outcome), [FindingKind::GlobalRace]);
    }
}

/// All blocks meet: possible only where the device holds them all.
#[test]
fn blocks_that_wait_for_each_other_must_fit_the_device() {
    let code = "st.global.u32 [%l4], %r4; bar.sync 0; setp.ne.u32 %p1, %r0, 0; @%p1 bra MEET; membar.gl; red.global.add.u32 [%l2], 1;\n\
                WAIT: ld.volatile.global.u32 %r5, [%l2]; setp.lt.u32 %p2, %r5, %r2; @%p2 bra WAIT; membar.gl; MEET: bar.sync 0;\n\
                sub.u32 %r6, %r2, %r1; sub.u32 %r6, %r6, 1; mad.lo.u32 %r7, %r6, %r3, %r0; mul.wide.u32 %l5, %r7, 4; add.s64 %l6, %l1, %l5;\n\
                ld.global.u32 %r8, [%l6]; setp.ne.u32 %p3, %r8, %r7; @%p3 trap;";
    // With this much shared memory an A100 holds one block on each of its 108 multiprocessors.
    for (blocks, order) in [(108, Order::InOrder), (108, Order::Random(5))] {
        let (outcome, got) = run(code, order, blocks, 64, 160 * 1024);
        assert!(outcome.findings.is_empty() && outcome.fault.is_none(), "{}", text(&outcome));
        assert_eq!(got[64], blocks);
    }
    let (outcome, _) = run(code, Order::InOrder, 109, 64, 160 * 1024);
    assert_eq!((kinds(&outcome), outcome.fault), (vec![FindingKind::Deadlock], Some(Fault::Timeout)));
    assert!(text(&outcome).contains("waits in a loop for memory to change"), "{}", text(&outcome));
}

#[test]
fn a_flag_that_nobody_raises_is_a_deadlock() {
    let code = with_fence(&hand_on("", "ld.acquire.gpu.global.u32 %r5, [%l2];"), "");
    for order in ORDERS {
        let (outcome, _) = run(&code, order, 4, 32, 0);
        assert_eq!((kinds(&outcome), outcome.fault), (vec![FindingKind::Deadlock], Some(Fault::Timeout)), "{order:?}");
    }
    // Within a block, a warp waits for another, which does come to it.
    let code = "setp.lt.u32 %p1, %r0, 32; @%p1 bra WAIT; st.release.gpu.global.u32 [%l2], 1; ret;\n\
                WAIT: ld.acquire.gpu.global.u32 %r5, [%l2]; setp.eq.u32 %p2, %r5, 0; @%p2 bra WAIT; st.global.u32 [%l3], %r5;";
    for order in ORDERS {
        let (outcome, got) = run(code, order, 1, 64, 0);
        assert!(outcome.findings.is_empty(), "{order:?}\n{}", text(&outcome));
        assert_eq!(got[..32], [1; 32]);
    }
}

#[test]
fn atomics_that_read_much_do_not_hold_blocks_back() {
    // A long sum of volatile loads, and many atomics on one word: work, not waiting.
    let code = "mov.u32 %r5, 0; mov.u32 %r6, 0; LOOP: atom.global.add.u32 %r7, [%l2], 1; ld.volatile.global.u32 %r8, [%l2]; add.u32 %r6, %r6, 1;\n\
                setp.lt.u32 %p1, %r6, 2000; @%p1 bra LOOP;";
    let (outcome, got) = run(code, Order::InOrder, 3, 1, 0);
    assert!(outcome.findings.is_empty(), "{}", text(&outcome));
    assert_eq!(got[1], 6000);
}
