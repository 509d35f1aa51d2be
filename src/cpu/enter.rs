//! The way into a pool of threads from whatever thread there is.

use std::panic::resume_unwind;
use std::thread;

use rayon::ThreadPool;

/// Runs `work` on `pool` and waits for it.
///
/// A thread of another pool does nothing else meanwhile. Left to rayon it would take up further tasks of its own pool, which may come
/// here in turn, each upon the one before it: as many as there are, each with memory of its own, until the stack has no room. So a
/// thread that is no pool's waits in its stead, which rayon lets sleep. (A scope's end is waited for as rayon likes, too.)
pub(super) fn enter<R: Send>(pool: &ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_none() || pool.current_thread_index().is_some() {
        return pool.install(work);
    }
    let mut work = Some(work);
    let done = thread::scope(|scope| {
        let wait = || work.take().map(|work| pool.install(work));
        thread::Builder::new().spawn_scoped(scope, wait).map(|thread| thread.join())
    });
    match (done, work) {
        (Ok(Ok(Some(result))), _) => result,
        (Ok(Err(panic)), _) => resume_unwind(panic),
        (_, Some(work)) => pool.install(work), // the system has no thread to spare
        (_, None) => unreachable!("who takes the work runs it"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn results_and_panics_come_out_wherever_one_comes_from() {
        let (own, other) = (pool(2), pool(1));
        let seven = || enter(&own, || rayon::current_num_threads() + 5);
        let panics = || catch_unwind(AssertUnwindSafe(|| enter::<()>(&own, || panic!("on purpose")))).is_err();
        assert!(seven() == 7 && panics());
        own.install(|| assert!(seven() == 7 && panics()));
        other.install(|| assert!(seven() == 7 && panics()));
    }

    /// The tasks of a pool come one after the other, none within another.
    #[test]
    fn a_thread_that_waits_takes_up_nothing_else() {
        thread_local! {
            static DEPTH: Cell<usize> = const { Cell::new(0) };
        }
        let (own, other) = (pool(1), pool(1));
        other.scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|_| {
                    DEPTH.set(DEPTH.get() + 1);
                    assert_eq!(DEPTH.get(), 1);
                    enter(&own, || std::thread::sleep(std::time::Duration::from_micros(100)));
                    DEPTH.set(DEPTH.get() - 1);
                });
            }
        });
    }
}
