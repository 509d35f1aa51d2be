//! Work that streams and graphs hold.

use std::ffi::c_void;
use std::sync::Arc;

use super::capture::Graph;
use super::host::HostSpan;
use super::launch::KernelLaunch;
use super::queue::Mark;

/// A function of the program, called in stream order.
pub(crate) type HostFunction = unsafe extern "C" fn(*mut c_void);

/// One piece of work.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Host bytes, copied when the call was made, to the device.
    Write { dst: u64, data: Arc<[u8]> },
    /// Pinned host bytes, read when this runs, to the device.
    WritePinned { dst: u64, src: HostSpan },
    /// Device bytes to the host.
    Read { dst: HostSpan, src: u64 },
    /// Device bytes to the device.
    Copy { dst: u64, src: u64, bytes: u64 },
    /// `count` elements of `width` bytes (1, 2 or 4), each the low bytes of `value`.
    Set { dst: u64, value: u32, width: u32, count: u64 },
    /// A kernel.
    Launch(Arc<KernelLaunch>),
    /// Stamps an event with the time.
    Record { event: u32 },
    /// Runs no earlier than the mark is reached.
    Wait { mark: Mark },
    /// Calls the program.
    Call { function: HostFunction, data: usize },
    /// Ends an allocation.
    Free { address: u64 },
    /// All of a graph.
    Graph(Arc<Graph>),
}

impl Op {
    /// Whether it is a kernel that may begin before the one before it has ended.
    pub fn is_programmatic(&self) -> bool {
        matches!(self, Op::Launch(launch) if launch.programmatic)
    }

    /// The host memory that this touches when it runs.
    pub fn host_span(&self) -> Option<HostSpan> {
        match *self {
            Op::WritePinned { src: span, .. } | Op::Read { dst: span, .. } => Some(span),
            _ => None,
        }
    }

    /// Whether this, or a node of its graph, touches `span` when it runs.
    pub fn touches(&self, span: &HostSpan) -> bool {
        match self {
            Op::Graph(graph) => graph.ops().any(|op| op.touches(span)),
            _ => self.host_span().is_some_and(|own| own.overlaps(span)),
        }
    }
}
