//! An end for tests that might have none.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// While there is one, the process has to come on: else it ends, with a message.
pub struct Watchdog(#[allow(dead_code, reason = "that it is dropped is what counts")] mpsc::Sender<()>);

impl Watchdog {
    /// Tenths of a second, counted one by one: a process that was stopped meanwhile has not hung.
    const TICKS: usize = 6000;

    /// `what` it watches, for the message.
    pub fn new(what: &'static str) -> Self {
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..Self::TICKS {
                if ended.recv_timeout(Duration::from_millis(100)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            // Not by `eprintln`, which the harness would keep to itself.
            let _ = writeln!(std::io::stderr(), "{what}: no end after {} s", Self::TICKS / 10);
            std::process::abort();
        });
        Self(end)
    }
}
