//! Threads that stay awake for the length of a pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, Yield};

use super::enter;

/// Looks for work in vain after which the processor is offered to other programs at each further one: some tens of microseconds,
/// longer than a layer that is divided well leaves a thread alone.
const PATIENCE: u32 = 1000;

/// How long a thread goes on offering its processor before it stops to wait.
const LIMIT: Duration = Duration::from_millis(1);

/// Runs `work` on `pool`, whose other threads meanwhile look for tasks without a break. A pass has dozens of layers that take a
/// fraction of a millisecond each; to wake a thread that went to sleep between two of them takes a good part of that.
pub(super) fn awake<R: Send>(pool: &ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let over = &AtomicBool::new(false);
    let lead = || {
        pool.scope(|scope| {
            let leader = rayon::current_thread_index();
            scope.spawn_broadcast(move |_, thread| {
                if leader != Some(thread.index()) {
                    look_for_work(over);
                }
            });
            let _end = End(over);
            work()
        })
    };
    enter(pool, lead)
}

/// Does what is to be done until the pass is `over`, or nothing was to be done for [`LIMIT`].
///
/// It must come to an end by itself: a thread that waits for a part of its task may take this up meanwhile, so that the pass, or
/// two passes at a time, can depend on the task below. Then nobody else has anything to do either, and the limit frees them.
fn look_for_work(over: &AtomicBool) {
    let mut vain = 0;
    let mut since = Instant::now();
    while !over.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(Yield::Executed) => vain = 0,
            _ if vain < PATIENCE => {
                vain += 1;
                since = Instant::now();
                std::hint::spin_loop();
            }
            _ if since.elapsed() > LIMIT => return,
            _ => std::thread::yield_now(),
        }
    }
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

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    /// A hundred small layers.
    fn pass(pool: &ThreadPool) -> u64 {
        awake(pool, || (0..100).map(|n: u64| (0..n).into_par_iter().sum::<u64>()).sum())
    }

    #[test]
    fn work_is_done_by_any_number_of_threads_and_panics_pass_through() {
        for threads in [1, 2, 3, 8] {
            let pool = pool(threads);
            assert_eq!(pass(&pool), 161_700, "{threads}");
            assert!(catch_unwind(AssertUnwindSafe(|| awake::<u64>(&pool, || panic!("on purpose")))).is_err());
            assert_eq!(pass(&pool), 161_700, "{threads}");
        }
    }

    /// Each of two threads used to lead a pass and, waiting for a part of it, to stay awake for the other's, for ever.
    #[test]
    fn passes_at_a_time_do_not_wait_for_each_other() {
        for (threads, callers) in [(2, 2), (3, 4), (8, 4)] {
            let pool = &pool(threads);
            std::thread::scope(|scope| {
                for _ in 0..callers {
                    scope.spawn(move || (0..50).for_each(|_| assert_eq!(pass(pool), 161_700)));
                }
            });
        }
    }
}
