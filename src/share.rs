//! Work that several threads share, none of them rayon's.
//!
//! A thread of rayon that waits takes up other tasks of its pool. Where a caller's pool has many that each use an engine, they would
//! come to lie upon one another until the stack has no room; and one that wants a device waits for ever, if it lies upon one that
//! holds it.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` for all `jobs` on this thread and up to as many more as make `threads`, at most as many as a task of rayon would have;
/// returns what came of each, in their order.
pub(crate) fn share<T: Send, R: Send>(jobs: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(jobs.len()).min(rayon::current_num_threads());
    let mut results: Vec<Option<R>> = jobs.iter().map(|_| None).collect();
    let jobs = Mutex::new(jobs.into_iter().zip(&mut results));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some((job, result)) = next() {
            *result = Some(work(job));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let _ = thread::Builder::new().spawn_scoped(scope, run); // without it the others have more to do
        }
        run();
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn jobs_are_done_once_and_told_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 50] {
            let done = AtomicUsize::new(0);
            let square = |job: usize| {
                done.fetch_add(1, Ordering::Relaxed);
                job * job
            };
            assert!(share((0..20).collect(), threads, square).into_iter().eq((0..20).map(|job| job * job)), "{threads} threads");
            assert_eq!(done.into_inner(), 20, "{threads} threads");
        }
    }

    #[test]
    fn panics_come_out() {
        for threads in [1, 4] {
            assert!(catch_unwind(|| share((0..20).collect(), threads, |job: usize| assert_ne!(job, 7))).is_err());
        }
    }
}
