//! Graphs, and the recording of streams into them.

use std::collections::BTreeMap;

use super::code::{Code, Result};
use super::op::Op;

/// A captured sequence of work. Parameters were copied when it was captured.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    op: Op,
    /// Earlier nodes that must have run.
    after: Vec<usize>,
    /// Whether it may begin while the one node that it comes after, a kernel, still runs.
    programmatic: bool,
}

impl Graph {
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.nodes.iter().map(|node| &node.op)
    }

    /// The work of a node.
    pub fn op(&self, node: usize) -> &Op {
        &self.nodes[node].op
    }

    /// The kernel that a node need not wait for to begin.
    pub fn overlaps(&self, node: usize) -> Option<usize> {
        let Node { after, programmatic, .. } = &self.nodes[node];
        after.first().copied().filter(|_| *programmatic)
    }

    /// The nodes in an order that dependencies allow; `choose` picks one of so many that may come next.
    pub fn order(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<usize> {
        let mut waiting: Vec<usize> = self.nodes.iter().map(|node| node.after.len()).collect();
        let mut ready: Vec<usize> = (0..waiting.len()).filter(|&i| waiting[i] == 0).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while !ready.is_empty() {
            let chosen = choose(ready.len()).min(ready.len() - 1);
            let node = ready.remove(chosen);
            order.push(node);
            for (later, count) in waiting.iter_mut().enumerate().skip(node + 1) {
                if self.nodes[later].after.contains(&node) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(later);
                    }
                }
            }
        }
        order
    }
}

/// What calls are forbidden while a capture runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Calls that may synchronise, from any thread.
    Global,
    /// The same, from the thread that captures.
    ThreadLocal,
    /// None.
    Relaxed,
}

impl Mode {
    pub fn from_value(value: u32) -> Option<Mode> {
        [Mode::Global, Mode::ThreadLocal, Mode::Relaxed].get(value as usize).copied()
    }
}

/// A capture in progress.
#[derive(Debug)]
pub(crate) struct Capture {
    origin: u32,
    mode: Mode,
    thread: u64,
    nodes: Vec<Node>,
    /// Per stream that takes part: the nodes that its next one comes after.
    frontiers: BTreeMap<u32, Vec<usize>>,
    invalid: bool,
}

/// What an event recorded in a capturing stream stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CapturedMark {
    pub capture: u32,
    after: Vec<usize>,
}

/// The captures of a context, by number.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    running: BTreeMap<u32, Capture>,
    next: u32,
}

impl Captures {
    /// The number of the capture that a stream takes part in.
    pub fn of(&self, stream: u32) -> Option<u32> {
        self.running.iter().find(|(_, capture)| capture.frontiers.contains_key(&stream)).map(|(&number, _)| number)
    }

    /// Whether the stream's capture is still good; `None` when it is not capturing.
    pub fn valid(&self, stream: u32) -> Option<bool> {
        self.of(stream).map(|number| !self.running[&number].invalid)
    }

    pub fn begin(&mut self, stream: u32, mode: Mode, thread: u64) -> Result {
        if self.of(stream).is_some() {
            return Err(Code::IllegalState);
        }
        let frontiers = BTreeMap::from([(stream, Vec::new())]);
        self.running.insert(self.next, Capture { origin: stream, mode, thread, nodes: Vec::new(), frontiers, invalid: false });
        self.next += 1;
        Ok(())
    }

    /// Ends the capture that began in `stream`.
    pub fn end(&mut self, stream: u32, thread: u64) -> Result<Graph> {
        let number = self.of(stream).ok_or(Code::IllegalState)?;
        let capture = self.running.get_mut(&number).ok_or(Code::IllegalState)?;
        if capture.origin != stream {
            capture.invalid = true;
            return Err(Code::CaptureUnmatched);
        }
        if capture.mode != Mode::Relaxed && capture.thread != thread {
            return Err(Code::CaptureWrongThread);
        }
        let capture = self.running.remove(&number).ok_or(Code::IllegalState)?;
        if capture.invalid {
            return Err(Code::CaptureInvalidated);
        }
        if !capture.joined() {
            return Err(Code::CaptureUnjoined);
        }
        Ok(Graph { nodes: capture.nodes })
    }

    /// Adds work of a capturing stream.
    pub fn add(&mut self, stream: u32, op: Op) -> Result {
        let capture = self.of_mut(stream)?;
        let node = capture.nodes.len();
        let after = capture.frontiers.insert(stream, vec![node]).unwrap_or_default();
        let is_kernel = |&node: &usize| matches!(capture.nodes[node].op, Op::Launch(_));
        let programmatic = op.is_programmatic() && after.len() == 1 && after.iter().all(is_kernel);
        capture.nodes.push(Node { op, after, programmatic });
        Ok(())
    }

    /// What an event recorded in this stream now stands for.
    pub fn record(&mut self, stream: u32) -> Result<CapturedMark> {
        let number = self.of(stream).ok_or(Code::IllegalState)?;
        let capture = self.of_mut(stream)?;
        Ok(CapturedMark { capture: number, after: capture.frontiers.get(&stream).cloned().unwrap_or_default() })
    }

    /// Makes a stream wait for a captured event, which draws it into the capture.
    pub fn wait(&mut self, stream: u32, mark: &CapturedMark) -> Result {
        if let Some(other) = self.of(stream).filter(|&number| number != mark.capture) {
            self.invalidate(other);
            self.invalidate(mark.capture);
            return Err(Code::CaptureMerge);
        }
        let capture = self.running.get_mut(&mark.capture).ok_or(Code::CapturedEvent)?;
        if capture.invalid {
            return Err(Code::CaptureInvalidated);
        }
        let frontier = capture.frontiers.entry(stream).or_default();
        for &node in &mark.after {
            if !frontier.contains(&node) {
                frontier.push(node);
            }
        }
        Ok(())
    }

    pub fn invalidate(&mut self, number: u32) {
        if let Some(capture) = self.running.get_mut(&number) {
            capture.invalid = true;
        }
    }

    /// Spoils the capture of a stream, if it is capturing.
    pub fn invalidate_stream(&mut self, stream: u32) {
        if let Some(number) = self.of(stream) {
            self.invalidate(number);
        }
    }

    /// Spoils and reports captures that forbid `thread` a call that may synchronise.
    pub fn forbid_unsafe_call(&mut self, thread: u64) -> Result {
        let mut result = Ok(());
        for capture in self.running.values_mut() {
            let forbidden = match capture.mode {
                Mode::Global => true,
                Mode::ThreadLocal => capture.thread == thread,
                Mode::Relaxed => false,
            };
            if forbidden {
                capture.invalid = true;
                result = Err(Code::CaptureUnsupported);
            }
        }
        result
    }

    /// Spoils and reports all captures: nobody may wait for a context of which any stream is being captured, whoever captures it.
    pub fn forbid_context_wait(&mut self) -> Result {
        for capture in self.running.values_mut() {
            capture.invalid = true;
        }
        if self.running.is_empty() { Ok(()) } else { Err(Code::CaptureUnsupported) }
    }

    /// The streams that take part in some capture.
    pub fn streams(&self) -> Vec<u32> {
        self.running.values().flat_map(|capture| capture.frontiers.keys().copied()).collect()
    }

    fn of_mut(&mut self, stream: u32) -> Result<&mut Capture> {
        let number = self.of(stream).ok_or(Code::IllegalState)?;
        let capture = self.running.get_mut(&number).ok_or(Code::IllegalState)?;
        if capture.invalid { Err(Code::CaptureInvalidated) } else { Ok(capture) }
    }
}

impl Capture {
    /// Whether the origin stream comes after all work of the others.
    fn joined(&self) -> bool {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = self.frontiers.get(&self.origin).cloned().unwrap_or_default();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                open.extend(&self.nodes[node].after);
            }
        }
        self.frontiers.values().flatten().all(|&node| reached[node])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(address: u64) -> Op {
        Op::Free { address }
    }

    fn addresses(graph: &Graph, choose: impl FnMut(usize) -> usize) -> Vec<u64> {
        let address = |node| if let Op::Free { address } = graph.op(node) { *address } else { u64::MAX };
        graph.order(choose).into_iter().map(address).collect()
    }

    #[test]
    fn fork_and_join() {
        let mut captures = Captures::default();
        captures.begin(1, Mode::ThreadLocal, 7).unwrap();
        captures.add(1, free(1)).unwrap();
        let fork = captures.record(1).unwrap();
        captures.wait(2, &fork).unwrap();
        captures.add(2, free(2)).unwrap();
        captures.add(1, free(3)).unwrap();
        let join = captures.record(2).unwrap();
        captures.wait(1, &join).unwrap();
        captures.add(1, free(4)).unwrap();
        let graph = captures.end(1, 7).unwrap();
        assert_eq!(addresses(&graph, |_| 0), [1, 2, 3, 4]);
        assert_eq!(addresses(&graph, |n| n - 1), [1, 3, 2, 4]);
    }

    #[test]
    fn misuse_has_its_code() {
        let mut captures = Captures::default();
        assert_eq!(captures.end(1, 7).unwrap_err(), Code::IllegalState);
        captures.begin(1, Mode::ThreadLocal, 7).unwrap();
        assert_eq!(captures.begin(1, Mode::Global, 7).unwrap_err(), Code::IllegalState);
        assert_eq!(captures.end(1, 8).unwrap_err(), Code::CaptureWrongThread);
        let fork = captures.record(1).unwrap();
        captures.wait(2, &fork).unwrap();
        captures.add(2, free(2)).unwrap();
        assert_eq!(captures.end(1, 7).unwrap_err(), Code::CaptureUnjoined);

        captures.begin(1, Mode::ThreadLocal, 7).unwrap();
        captures.forbid_unsafe_call(8).unwrap();
        assert_eq!(captures.forbid_unsafe_call(7), Err(Code::CaptureUnsupported));
        assert_eq!(captures.add(1, free(1)), Err(Code::CaptureInvalidated));
        assert_eq!(captures.end(1, 7).unwrap_err(), Code::CaptureInvalidated);
        assert_eq!(captures.of(1), None);
    }
}
