//! A context: memory, streams, events, modules and graphs of one program.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::memory::{Access, AllocKind, AllocLabel, Memory, MemoryFault};
use crate::report::{Finding, FindingKind};

use super::capture::{CapturedMark, Captures, Graph};
use super::code::{Code, Result};
use super::journal::SharedJournal;
use super::module::{Function, LoadedModule};
use super::op::Op;
use super::queue::{LEGACY, Mark, Queues, StreamKind};
use super::settings::{Check, Settings};
use super::tail::Tail;

/// The first serial number given out; those below are streams that always exist.
const FIRST_SERIAL: u32 = 16;

#[derive(Debug)]
pub(crate) struct Event {
    /// Whether it may measure time.
    pub timing: bool,
    /// Where it was last recorded.
    pub mark: Option<Mark>,
    /// When that was reached.
    pub at: Option<Instant>,
    /// Where it was last recorded, if that was in a capture.
    pub captured: Option<CapturedMark>,
}

#[derive(Debug)]
pub(crate) struct Context {
    pub settings: Arc<Settings>,
    pub journal: SharedJournal,
    pub memory: Memory,
    pub queues: Queues,
    pub captures: Captures,
    pub events: HashMap<u32, Event>,
    pub modules: HashMap<u32, Arc<LoadedModule>>,
    pub functions: HashMap<u32, Function>,
    pub graphs: HashMap<u32, Arc<Graph>>,
    pub graph_execs: HashMap<u32, Arc<Graph>>,
    /// Streams that stand for "the default stream of this thread".
    pub thread_streams: HashMap<u64, u32>,
    /// What each stream did last, for kernels that may begin before it has ended.
    pub tails: HashMap<u32, Tail>,
    /// The error that every call returns from now on.
    pub sticky: Option<Code>,
    serial: u32,
    allocations: u64,
}

impl Context {
    pub fn new(settings: Arc<Settings>, journal: SharedJournal) -> Self {
        Context {
            memory: Memory::new(settings.memory_bytes()),
            queues: Queues::new(settings.streams, settings.seed),
            settings,
            journal,
            captures: Captures::default(),
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            graphs: HashMap::new(),
            graph_execs: HashMap::new(),
            thread_streams: HashMap::new(),
            tails: HashMap::new(),
            sticky: None,
            serial: FIRST_SERIAL,
            allocations: 0,
        }
    }

    /// A serial number for a new object; never the same twice.
    pub fn serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    pub fn alive(&self) -> Result {
        self.sticky.map_or(Ok(()), Err)
    }

    /// Reports a wrong call and returns its code.
    pub fn misuse<T>(&self, code: Code, kind: FindingKind, address: Option<u64>, message: String) -> Result<T> {
        self.journal.finding(Finding::host(kind, address, message));
        Err(code)
    }

    /// Refuses a call that may synchronise while a capture forbids it.
    pub fn unsafe_call(&mut self, thread: u64, call: &str) -> Result {
        let allowed = self.captures.forbid_unsafe_call(thread);
        self.spoilt(allowed, call)
    }

    /// Before a wait for all of the context's streams.
    pub fn context_wait(&mut self, call: &str) -> Result {
        let allowed = self.captures.forbid_context_wait();
        self.spoilt(allowed, call)
    }

    fn spoilt(&mut self, allowed: Result, call: &str) -> Result {
        allowed.or_else(|code| {
            let message = format!("{call} while a stream is being captured: the capture is spoilt");
            self.misuse(code, FindingKind::InvalidCall, None, message)
        })
    }

    // Memory

    pub fn alloc(&mut self, bytes: u64) -> Result<u64> {
        if bytes == 0 {
            return Err(Code::InvalidValue);
        }
        self.allocations += 1;
        let label = AllocLabel { sequence: self.allocations, kind: AllocKind::Device };
        self.memory.alloc(bytes, label).map_err(|_| Code::OutOfMemory)
    }

    /// Ends an allocation now. Queued work that still uses it will be reported when it runs.
    pub fn free(&mut self, address: u64) -> Result {
        self.memory
            .free(address)
            .or_else(|fault| self.misuse(Code::InvalidValue, fault.kind.finding(), Some(address), fault.to_string()))
    }

    /// Checks a range that a copy names, as the call is made.
    pub fn check_range(&self, access: Access, address: u64, bytes: u64) -> Result {
        if bytes == 0 {
            return Ok(());
        }
        self.memory.check(access, address, bytes).or_else(|fault| self.refuse(&fault))
    }

    fn refuse(&self, fault: &MemoryFault) -> Result {
        self.misuse(Code::InvalidValue, fault.kind.finding(), Some(fault.address), fault.to_string())
    }

    // Streams

    pub fn add_stream(&mut self, kind: StreamKind) -> u32 {
        let stream = self.serial();
        self.queues.add(stream, kind);
        stream
    }

    /// Enqueues work, or adds it to the capture that the stream takes part in.
    pub fn submit(&mut self, stream: u32, op: Op) -> Result {
        self.alive()?;
        if self.captures.of(stream).is_some() {
            return self.captures.add(stream, op);
        }
        self.legacy_rule(stream)?;
        self.queues.push(stream, op);
        while let Some((mark, op)) = self.queues.voluntary() {
            self.run(mark, op);
        }
        Ok(())
    }

    /// Work in the legacy stream would wait for blocking streams, which is impossible for one that is being captured.
    fn legacy_rule(&mut self, stream: u32) -> Result {
        if stream != LEGACY {
            return Ok(());
        }
        let streams = self.captures.streams();
        let Some(&blocking) = streams.iter().find(|&&s| self.queues.kind(s) == Some(StreamKind::Blocking)) else {
            return Ok(());
        };
        self.captures.invalidate_stream(blocking);
        let message = "work in the legacy default stream while a blocking stream is being captured: the capture is spoilt";
        self.misuse(Code::CaptureImplicit, FindingKind::InvalidCall, None, message.into())
    }

    /// Refuses to wait for a stream that is being captured.
    fn not_capturing(&mut self, stream: u32) -> Result {
        if self.captures.of(stream).is_none() {
            return self.legacy_rule(stream);
        }
        self.captures.invalidate_stream(stream);
        let message = "waiting for a stream that is being captured: the capture is spoilt";
        self.misuse(Code::CaptureUnsupported, FindingKind::InvalidCall, None, message.into())
    }

    /// Runs work until `goals` are reached.
    pub fn drive(&mut self, goals: &[Mark]) -> Result {
        while let Some((mark, op)) = self.queues.next(goals) {
            self.run(mark, op);
        }
        self.alive()
    }

    pub fn synchronize_stream(&mut self, stream: u32) -> Result {
        self.not_capturing(stream)?;
        let goals = self.queues.end_of(stream);
        self.drive(&goals)
    }

    pub fn synchronize_all(&mut self) -> Result {
        let goals = self.queues.end_of_all();
        self.drive(&goals)
    }

    /// Whether `goals` are reached; if not, a step is taken towards them, so that a program that polls comes to an end.
    fn poll(&mut self, goals: &[Mark]) -> Result {
        if goals.iter().all(|&goal| self.queues.reached(goal)) {
            return self.alive();
        }
        if let Some((mark, op)) = self.queues.next(goals) {
            self.run(mark, op);
        }
        self.alive().and(Err(Code::NotReady))
    }

    pub fn query_stream(&mut self, stream: u32) -> Result {
        self.not_capturing(stream)?;
        let goals = self.queues.end_of(stream);
        self.poll(&goals)
    }

    // Events

    pub fn record(&mut self, event: u32, stream: u32) -> Result {
        self.alive()?;
        if !self.events.contains_key(&event) {
            return Err(Code::InvalidHandle);
        }
        if self.captures.of(stream).is_some() {
            let captured = self.captures.record(stream)?;
            if let Some(event) = self.events.get_mut(&event) {
                (event.captured, event.mark, event.at) = (Some(captured), None, None);
            }
            return Ok(());
        }
        self.legacy_rule(stream)?;
        let mark = self.queues.push(stream, Op::Record { event });
        if let Some(event) = self.events.get_mut(&event) {
            (event.mark, event.at, event.captured) = (Some(mark), None, None);
        }
        while let Some((mark, op)) = self.queues.voluntary() {
            self.run(mark, op);
        }
        Ok(())
    }

    pub fn wait(&mut self, stream: u32, event: u32) -> Result {
        let event = self.events.get(&event).ok_or(Code::InvalidHandle)?;
        if let Some(captured) = event.captured.clone() {
            return self.captures.wait(stream, &captured);
        }
        // One that was never recorded is nothing to wait for.
        let Some(mark) = event.mark else { return self.alive() };
        if self.captures.of(stream).is_some() {
            self.captures.invalidate_stream(stream);
            let message = "a captured stream waits for an event recorded outside the capture: the capture is spoilt";
            return self.misuse(Code::CaptureIsolation, FindingKind::InvalidCall, None, message.into());
        }
        self.submit(stream, Op::Wait { mark })
    }

    /// The mark of an event that the host asks about; `None` when it was never recorded.
    fn event_mark(&mut self, event: u32) -> Result<Option<Mark>> {
        let event = self.events.get(&event).ok_or(Code::InvalidHandle)?;
        let (mark, captured) = (event.mark, event.captured.clone());
        let Some(captured) = captured else { return Ok(mark) };
        self.captures.invalidate(captured.capture);
        let message = "the host asks about an event that was recorded in a capture: nothing ever reaches it";
        self.misuse(Code::CapturedEvent, FindingKind::InvalidCall, None, message.into())
    }

    pub fn synchronize_event(&mut self, event: u32, thread: u64) -> Result {
        let mark = self.event_mark(event)?;
        self.unsafe_call(thread, "cuEventSynchronize")?;
        self.drive(mark.as_slice())
    }

    pub fn query_event(&mut self, event: u32, thread: u64) -> Result {
        let mark = self.event_mark(event)?;
        self.unsafe_call(thread, "cuEventQuery")?;
        self.poll(mark.as_slice())
    }

    /// Milliseconds between two events, by the host's clock.
    pub fn elapsed(&mut self, start: u32, end: u32) -> Result<f32> {
        let (start, end) = (self.events.get(&start), self.events.get(&end));
        let (Some(start), Some(end)) = (start, end) else { return Err(Code::InvalidHandle) };
        let (Some(first), Some(last)) = (start.mark, end.mark) else { return Err(Code::InvalidHandle) };
        if !start.timing || !end.timing {
            return Err(Code::InvalidHandle);
        }
        if !self.queues.reached(first) || !self.queues.reached(last) {
            return Err(Code::NotReady);
        }
        let between = start.at.zip(end.at).map_or(0.0, |(start, end)| end.saturating_duration_since(start).as_secs_f32());
        // Never zero: programs divide by it.
        Ok((between * 1e3).max(1e-3))
    }

    // The end

    /// Runs what is left and reports what was not given back. The streams, events, modules and graphs count, because a program that
    /// forgets them in a loop runs out of memory on hardware too.
    pub fn close(&mut self) {
        let _ = self.synchronize_all();
        if self.sticky.is_none() {
            self.memory.leaks().into_iter().for_each(|leak| self.journal.finding(leak));
            let forgotten = [
                (self.queues.live() - self.thread_streams.len(), "streams"),
                (self.events.len(), "events"),
                (self.modules.len(), "modules"),
                (self.graphs.len(), "graphs"),
                (self.graph_execs.len(), "executable graphs"),
            ];
            for (count, what) in forgotten.into_iter().filter(|&(count, _)| count > 0) {
                self.journal.finding(Finding::host(FindingKind::Leak, None, format!("{count} {what} were never destroyed")));
            }
        }
        self.journal.save();
    }

    /// What a finding means under the present settings.
    pub fn verdict(&self) -> Option<Code> {
        (self.settings.check == Check::Fail).then_some(Code::LaunchFailed)
    }
}
