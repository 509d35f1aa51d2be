//! What this machine's processor can do, measured.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

/// Independent sums: enough to hide the latency of a multiply-add on every processor here, few enough for 16 registers.
const SUMS: usize = 12;
const ROUNDS: usize = 200_000;
const REPEATS: usize = 5;
/// Beyond the caches of most processors; a server's last level may still hold it.
const BUFFER: usize = 256 << 20;

struct MultiplyAdd;

impl WithSimd for MultiplyAdd {
    /// Floating-point operations done, and a number that depends on all of them.
    type Output = (u64, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (u64, f32) {
        let factor = simd.splat_f32s(black_box(0.999));
        let mut sums = [simd.splat_f32s(black_box(1.0)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, factor);
            }
        }
        let all = sums.into_iter().map(|sum| simd.reduce_sum_f32s(sum)).sum();
        ((ROUNDS * SUMS * 2 * S::F32_LANES) as u64, all)
    }
}

/// Single-precision operations a second, 2 per multiply-add, that `threads` threads do in registers: the best of a few tries of
/// some milliseconds.
pub fn fma_rate(threads: usize) -> f64 {
    best(|| {
        let start = Instant::now();
        let done: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| Arch::new().dispatch(MultiplyAdd))).collect();
            workers.into_iter().map(|worker| worker.join().map_or(0, |(flops, sum)| (black_box(sum), flops).1)).sum()
        });
        done as f64 / start.elapsed().as_secs_f64()
    })
}

/// Bytes a second that `threads` threads read from a buffer of 256 MiB: the best of a few tries.
pub fn read_rate(threads: usize) -> f64 {
    let buffer = vec![1u64; BUFFER / size_of::<u64>()];
    best(|| {
        let start = Instant::now();
        let sum = std::thread::scope(|scope| {
            let parts = buffer.chunks(buffer.len().div_ceil(threads));
            let workers: Vec<_> = parts.map(|part| scope.spawn(|| part.iter().fold(0u64, |a, &b| a.wrapping_add(b)))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum::<u64>()
        });
        black_box(sum);
        BUFFER as f64 / start.elapsed().as_secs_f64()
    })
}

fn best(mut rate: impl FnMut() -> f64) -> f64 {
    (0..REPEATS).map(|_| rate()).fold(0.0, f64::max)
}
