//! Capturing streams into graphs, and running them.

use std::ffi::{c_uint, c_ulonglong};
use std::sync::Arc;

use super::driver_calls;
use super::pointer::Out;
use crate::driver::capture::Mode;
use crate::driver::code::Code;
use crate::driver::handle::{Handle, Kind};
use crate::driver::op::Op;
use crate::driver::queue::LEGACY;
use crate::driver::state::thread;

/// Flags of instantiation: free automatically, node priorities; both change nothing here.
const HARMLESS: c_ulonglong = 1 | 8;
const DEVICE_LAUNCH: c_ulonglong = 4;

driver_calls! {
    /// Starts to record what is submitted to a stream.
    fn cuStreamBeginCapture_v2(stream: u64, mode: c_uint) |driver| {
        let mode = Mode::from_value(mode).ok_or(Code::InvalidValue)?;
        let (context, stream) = driver.stream(stream)?;
        if stream == LEGACY {
            return driver.misuse(Code::CaptureUnsupported, "the legacy default stream cannot be captured".into());
        }
        context.captures.begin(stream, mode, thread())
    }

    /// Ends a capture. The graph is null if it failed.
    fn cuStreamEndCapture(stream: u64, graph: Out<u64>) |driver| {
        let number = match Handle::from_raw(stream, Kind::Stream) {
            Some(handle) => handle.context,
            None => driver.current()?.0,
        };
        let (context, stream) = driver.stream(stream)?;
        match context.captures.end(stream, thread()) {
            Ok(captured) => {
                let serial = context.serial();
                context.graphs.insert(serial, Arc::new(captured));
                graph.put(Handle { kind: Kind::Graph, context: number, serial }.to_raw())
            }
            Err(code) => graph.put_if_wanted(0).and(Err(code)),
        }
    }

    /// Whether a stream is captured: 0 no, 1 yes, 2 yes but spoilt.
    fn cuStreamIsCapturing(stream: u64, status: Out<c_uint>) |driver| {
        let (context, stream) = driver.stream(stream)?;
        status.put(match context.captures.valid(stream) {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        })
    }

    /// Makes a graph executable.
    fn cuGraphInstantiateWithFlags(exec: Out<u64>, graph: u64, flags: c_ulonglong) |driver| {
        if flags & !HARMLESS == DEVICE_LAUNCH && flags & 1 == 0 {
            return driver.misuse(Code::NotSupported, "graphs that kernels launch are not supported".into());
        }
        if flags & !HARMLESS != 0 {
            return Err(Code::InvalidValue);
        }
        let number = Handle::from_raw(graph, Kind::Graph).map_or(0, |handle| handle.context);
        let (context, graph) = driver.object(graph, Kind::Graph)?;
        context.alive()?;
        let graph = context.graphs.get(&graph).cloned().ok_or(Code::InvalidHandle)?;
        let serial = context.serial();
        context.graph_execs.insert(serial, graph);
        exec.put(Handle { kind: Kind::GraphExec, context: number, serial }.to_raw())
    }

    /// Enqueues all of a graph.
    fn cuGraphLaunch(exec: u64, stream: u64) |driver| {
        let (context, exec) = driver.object(exec, Kind::GraphExec)?;
        let graph = context.graph_execs.get(&exec).cloned().ok_or(Code::InvalidHandle)?;
        let spans: Vec<_> = graph.ops().filter_map(Op::host_span).collect();
        if spans.iter().any(|span| !driver.is_pinned(span)) {
            return driver.misuse(Code::InvalidValue, "a graph copies to or from page-locked memory that was freed".into());
        }
        let (context, stream) = driver.stream(stream)?;
        if !context.graph_execs.get(&exec).is_some_and(|own| Arc::ptr_eq(own, &graph)) {
            return driver.misuse(Code::InvalidHandle, "a graph is launched in a stream of another context".into());
        }
        if context.captures.of(stream).is_some() {
            context.captures.invalidate_stream(stream);
            return driver.misuse(Code::NotSupported, "graphs within graphs are not supported".into());
        }
        context.submit(stream, Op::Graph(graph))
    }

    /// Prepares a launch; there is nothing to prepare.
    fn cuGraphUpload(exec: u64, stream: u64) |driver| {
        driver.object(exec, Kind::GraphExec)?;
        driver.stream(stream).map(|_| ())
    }

    /// Destroys an executable graph; queued launches still run.
    fn cuGraphExecDestroy(exec: u64) |driver| {
        let (context, exec) = driver.object(exec, Kind::GraphExec)?;
        context.graph_execs.remove(&exec);
        Ok(())
    }

    /// Destroys a graph; executable ones made from it stay.
    fn cuGraphDestroy(graph: u64) |driver| {
        let (context, graph) = driver.object(graph, Kind::Graph)?;
        context.graphs.remove(&graph);
        Ok(())
    }
}
