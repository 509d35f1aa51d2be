//! Kernels that may still run when the next one of their stream begins.

use crate::exec::Overlap;
use crate::memory::Beside;

/// The kernels at the end of a stream, or before a node of a graph, that a programmatic launch may begin beside; none where something
/// else came last, or the device has no such launches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Vec<Beside>);

impl Tail {
    /// What a launch may begin beside that comes after these.
    pub fn beside(&self, programmatic: bool) -> Vec<Beside> {
        if programmatic { self.0.clone() } else { Vec::new() }
    }

    /// After a launch that began beside `earlier`.
    ///
    /// The next one waits for it alone. Those before it have ended by then if it waited for them. They have ended even when the next
    /// one begins, unless it let that begin before it waited.
    pub fn after(launched: Overlap, earlier: Vec<Beside>) -> Tail {
        let Overlap { footprint, waits, begins_early } = launched;
        let still = earlier.into_iter().filter(|beside| begins_early || !beside.ends_by_wait);
        let still = still.map(|beside| Beside { ends_by_wait: waits && beside.ends_by_wait, ..beside });
        Tail(footprint.map(|footprint| Beside { footprint, ends_by_wait: true }).into_iter().chain(still).collect())
    }
}
