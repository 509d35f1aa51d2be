//! Threads that stay awake for the length of a pass.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::{ThreadPool, Yield};

/// Looks for work in vain after which the processor is offered to other programs at each further one: some tens of microseconds,
/// longer than a layer that is divided well leaves a thread alone.
const PATIENCE: u32 = 1000;

/// Runs `work` on `pool`, whose other threads meanwhile look for tasks without a break. A pass has dozens of layers that take a
/// fraction of a millisecond each; to wake a thread that went to sleep between two of them takes a good part of that.
pub(super) fn awake<R: Send>(pool: &ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let over = &AtomicBool::new(false);
    pool.scope(|scope| {
        let leader = rayon::current_thread_index();
        scope.spawn_broadcast(move |_, thread| {
            let is_leader = leader == Some(thread.index());
            let mut vain = 0;
            while !is_leader && !over.load(Ordering::Acquire) {
                match rayon::yield_now() {
                    Some(Yield::Executed) => vain = 0,
                    _ if vain < PATIENCE => {
                        vain += 1;
                        std::hint::spin_loop();
                    }
                    _ => std::thread::yield_now(),
                }
            }
        });
        let _end = End(over);
        work()
    })
}

/// Ends the waiting, also where work panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_done_by_any_number_of_threads_also_at_a_time_and_panics_pass_through() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sum = || awake(&pool, || (0..100).map(|n: u64| (0..n).into_par_iter().sum::<u64>()).sum::<u64>());
            let together: Vec<u64> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(sum)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(together, [161_700; 4], "{threads}");
            assert!(catch_unwind(AssertUnwindSafe(|| awake::<u64>(&pool, || panic!("on purpose")))).is_err());
            assert_eq!(sum(), 161_700);
        }
    }
}
