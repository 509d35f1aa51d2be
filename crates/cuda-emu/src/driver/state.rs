//! The driver of a process: its contexts, and what belongs to none.

use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::report::{Finding, FindingKind};

use super::code::{Code, Result};
use super::context::Context;
use super::handle::{Handle, Kind};
use super::host::HostSpan;
use super::journal::SharedJournal;
use super::queue::{LEGACY, StreamKind};
use super::run::in_callback;
use super::settings::Settings;

/// The driver after `cuInit`.
#[derive(Debug)]
pub(crate) struct Driver {
    pub settings: Arc<Settings>,
    pub journal: SharedJournal,
    contexts: BTreeMap<u32, Context>,
    next_context: u32,
    /// The primary context and how often it was retained.
    primary: Option<(u32, u32)>,
    /// Page-locked memory by address: layout and the context it was made in.
    pinned: BTreeMap<usize, (Layout, u32)>,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// A number for the calling thread.
pub(crate) fn thread() -> u64 {
    THREAD.with(|&number| number)
}

/// The handle of the calling thread's context, 0 for none.
pub(crate) fn current_raw() -> u64 {
    CURRENT.get()
}

pub(crate) fn set_current_raw(raw: u64) {
    CURRENT.set(raw);
}

/// Runs a call on the driver, whatever happens in it. Before `cuInit` there is none.
pub(crate) fn with_driver(name: &str, call: impl FnOnce(&mut Driver) -> Result) -> u32 {
    with_slot(name, |slot| slot.as_mut().ok_or(Code::NotInitialized).and_then(call))
}

/// As [`with_driver`], for the calls that make the driver.
pub(crate) fn with_slot(name: &str, call: impl FnOnce(&mut Option<Driver>) -> Result) -> u32 {
    if in_callback() {
        eprintln!("cuda-emu: {name} called from a function that runs in stream order");
        return Code::NotPermitted as u32;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // A panic was reported as `Unknown`; the state is changed in steps that leave it usable.
        let mut slot = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut slot)
    }));
    let code = match outcome {
        Ok(Ok(())) => Code::Success,
        Ok(Err(code)) => code,
        Err(_) => {
            eprintln!("cuda-emu: internal error in {name}");
            Code::Unknown
        }
    };
    code as u32
}

impl Driver {
    pub fn new(settings: Settings) -> Self {
        let journal = SharedJournal::new(&settings);
        Driver {
            settings: Arc::new(settings),
            journal,
            contexts: BTreeMap::new(),
            next_context: 1,
            primary: None,
            pinned: BTreeMap::new(),
        }
    }

    /// Replaces the settings; contexts made from now on use them.
    pub fn set_settings(&mut self, settings: Settings) {
        self.journal.configure(&settings);
        self.settings = Arc::new(settings);
    }

    /// Reports a wrong call and returns its code.
    pub fn misuse<T>(&self, code: Code, message: String) -> Result<T> {
        self.journal.finding(Finding::host(FindingKind::InvalidCall, None, message));
        Err(code)
    }

    // Contexts

    /// # Errors
    /// `OutOfMemory` when the numbers that fit a handle are used up; none is given out twice.
    pub fn create_context(&mut self) -> Result<u64> {
        let number = self.next_context;
        if number > u32::from(u16::MAX) {
            return Err(Code::OutOfMemory);
        }
        self.next_context += 1;
        self.contexts.insert(number, Context::new(self.settings.clone(), self.journal.clone()));
        Ok(Handle { kind: Kind::Context, context: number, serial: 0 }.to_raw())
    }

    pub fn destroy_context(&mut self, raw: u64) -> Result {
        let handle = Handle::from_raw(raw, Kind::Context).ok_or(Code::InvalidContext)?;
        let mut context = self.contexts.remove(&handle.context).ok_or(Code::InvalidContext)?;
        context.close();
        let orphans: Vec<usize> =
            self.pinned.iter().filter(|(_, (_, owner))| *owner == handle.context).map(|(&address, _)| address).collect();
        for address in orphans {
            // Not given back to the host: the program may still use it.
            if let Some((layout, _)) = self.pinned.remove(&address)
                && context.sticky.is_none()
            {
                let message = format!("{} bytes of page-locked memory at {address:#x} were never freed", layout.size());
                self.journal.finding(Finding::host(FindingKind::Leak, None, message));
            }
        }
        self.journal.save();
        if current_raw() == raw {
            set_current_raw(0);
        }
        Ok(())
    }

    pub fn retain_primary(&mut self) -> Result<u64> {
        let (number, count) = match self.primary {
            Some(primary) => primary,
            None => {
                let raw = self.create_context()?;
                (Handle::from_raw(raw, Kind::Context).ok_or(Code::InvalidContext)?.context, 0)
            }
        };
        self.primary = Some((number, count + 1));
        Ok(Handle { kind: Kind::Context, context: number, serial: 0 }.to_raw())
    }

    pub fn release_primary(&mut self) -> Result {
        let (number, count) = self.primary.ok_or(Code::InvalidContext)?;
        if count > 1 {
            self.primary = Some((number, count - 1));
            return Ok(());
        }
        self.primary = None;
        self.destroy_context(Handle { kind: Kind::Context, context: number, serial: 0 }.to_raw())
    }

    /// Whether `raw` is the primary context, which is released, not destroyed.
    pub fn is_primary(&self, raw: u64) -> bool {
        let number = Handle::from_raw(raw, Kind::Context).map(|handle| handle.context);
        self.primary.is_some_and(|(primary, _)| Some(primary) == number)
    }

    pub fn exists(&self, raw: u64) -> bool {
        Handle::from_raw(raw, Kind::Context).is_some_and(|handle| self.contexts.contains_key(&handle.context))
    }

    /// Number and state of the calling thread's context, errors that stay included.
    pub fn current(&mut self) -> Result<(u32, &mut Context)> {
        let (number, context) = self.current_even_if_failed()?;
        context.alive()?;
        Ok((number, context))
    }

    pub fn current_even_if_failed(&mut self) -> Result<(u32, &mut Context)> {
        let raw = current_raw();
        if raw == 0 {
            return Err(Code::InvalidContext);
        }
        let handle = Handle::from_raw(raw, Kind::Context).ok_or(Code::InvalidContext)?;
        let context = self.contexts.get_mut(&handle.context).ok_or(Code::ContextIsDestroyed)?;
        Ok((handle.context, context))
    }

    pub fn context(&mut self, raw: u64) -> Result<&mut Context> {
        let handle = Handle::from_raw(raw, Kind::Context).ok_or(Code::InvalidContext)?;
        self.contexts.get_mut(&handle.context).ok_or(Code::InvalidContext)
    }

    /// The context and serial number of an object; a stale or invented handle is reported.
    pub fn object(&mut self, raw: u64, kind: Kind) -> Result<(&mut Context, u32)> {
        let found = Handle::from_raw(raw, kind).filter(|handle| self.contexts.contains_key(&handle.context));
        let Some(handle) = found else {
            return self.misuse(Code::InvalidHandle, format!("{raw:#x} is no {kind:?} handle of a live context"));
        };
        let context = self.contexts.get_mut(&handle.context).ok_or(Code::InvalidHandle)?;
        let known = match kind {
            Kind::Context => true,
            Kind::Stream => context.queues.kind(handle.serial).is_some(),
            Kind::Event => context.events.contains_key(&handle.serial),
            Kind::Module => context.modules.contains_key(&handle.serial),
            Kind::Function => context.functions.contains_key(&handle.serial),
            Kind::Graph => context.graphs.contains_key(&handle.serial),
            Kind::GraphExec => context.graph_execs.contains_key(&handle.serial),
        };
        if !known {
            let message = format!("{kind:?} handle {raw:#x} was destroyed");
            return context.misuse(Code::InvalidHandle, FindingKind::InvalidCall, None, message);
        }
        Ok((context, handle.serial))
    }

    /// The context and number of a stream: a handle, or one of the two that always exist (null or 1: legacy, 2: the thread's own).
    pub fn stream(&mut self, raw: u64) -> Result<(&mut Context, u32)> {
        match raw {
            0 | 1 => Ok((self.current()?.1, LEGACY)),
            2 => {
                let (_, context) = self.current()?;
                let thread = thread();
                let stream = match context.thread_streams.get(&thread) {
                    Some(&stream) => stream,
                    None => {
                        let stream = context.add_stream(StreamKind::Blocking);
                        context.thread_streams.insert(thread, stream);
                        stream
                    }
                };
                Ok((context, stream))
            }
            _ => {
                let (context, stream) = self.object(raw, Kind::Stream)?;
                context.alive()?;
                Ok((context, stream))
            }
        }
    }

    // Page-locked memory

    /// `mapped`: kernels may reach it.
    pub fn alloc_pinned(&mut self, bytes: usize, mapped: bool) -> Result<usize> {
        let (number, _) = self.current()?;
        let room = if mapped { bytes.next_multiple_of(8) } else { bytes };
        let layout = Layout::from_size_align(room, 4096).map_err(|_| Code::OutOfMemory)?;
        if bytes == 0 {
            return Err(Code::InvalidValue);
        }
        // SAFETY: the layout is not empty.
        let address = unsafe { std::alloc::alloc_zeroed(layout) } as usize;
        if address == 0 {
            return Err(Code::OutOfMemory);
        }
        if mapped {
            let (_, context) = self.current()?;
            // SAFETY: allocated above with room for whole words, at a multiple of 4096; given back by `free_pinned` alone, which ends
            // the mapping first.
            unsafe { context.memory.map(address as u64, bytes as u64) }.map_err(|_| Code::OutOfMemory)?;
        }
        self.pinned.insert(address, (layout, number));
        Ok(address)
    }

    pub fn free_pinned(&mut self, address: usize) -> Result {
        let Some(&(layout, _)) = self.pinned.get(&address) else {
            return self.misuse(Code::InvalidValue, format!("{address:#x} is no page-locked memory"));
        };
        let span = HostSpan::new(address, layout.size())?;
        for context in self.contexts.values_mut().filter(|context| context.queues.any(|op| op.touches(&span))) {
            let message = format!("page-locked memory at {address:#x} freed while a queued copy uses it");
            self.journal.finding(Finding::host(FindingKind::UseAfterFree, None, message));
            let _ = context.synchronize_all();
            context.sticky = context.sticky.or(context.verdict());
        }
        self.pinned.remove(&address);
        self.contexts.values().for_each(|context| context.memory.unmap(address as u64));
        // SAFETY: allocated with this layout by `alloc_pinned`, and forgotten in the line above; no queued work names it any more.
        unsafe { std::alloc::dealloc(address as *mut u8, layout) };
        Ok(())
    }

    /// Whether all of `span` is page-locked memory.
    pub fn is_pinned(&self, span: &HostSpan) -> bool {
        let below = self.pinned.range(..=span.address()).next_back();
        below.is_some_and(|(&address, (layout, _))| HostSpan::new(address, layout.size()).is_ok_and(|own| own.contains(span)))
    }
}
