//! Ctrl-C, and a system that wants the program to end: what is under way is finished.

use std::sync::atomic::{AtomicBool, Ordering};

use super::stderr;

/// Exit code of a run that was interrupted: that of a program ended by Ctrl-C.
pub const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, SIGTERM and SIGHUP only show in [`requested`]; a second one ends the program at once.
pub fn watch() {
    // Fails where there is a handler already, which is this one, or none can be had: then the program just ends.
    let _ = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_CODE.into());
        }
        // By another thread: it waits as long as nobody reads stderr, and the second one is to be heard meanwhile.
        let tell = || stderr::line("\ninterrupted: finishing what is under way; once more to stop at once");
        let _ = std::thread::Builder::new().spawn(tell);
    });
}

/// Whether the run is to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
