//! Decoded pictures on their way to the device.

use std::sync::Arc;

use cudarc::driver::{CudaStream, PinnedHostSlice};

use super::arena::{Arena, Layout, Region};
use super::source::Planned;
use super::{CudaError, PreprocessTables, Span, SpanMut};
use crate::share::share;

/// Bytes that are worth a thread: they take some hundred microseconds to copy, the start of a thread some tens.
const SHARE: usize = 4 << 20;

/// Pinned host memory and device memory for the pictures of one batch and the tables that their size asks for, kept from one
/// batch to the next and enlarged where that is needed. The stream that uses it is idle when it is filled.
#[derive(Default)]
pub(super) struct Staging {
    arena: Option<Arena>,
    capacity: usize,
    host: Option<PinnedHostSlice<u8>>,
}

/// One picture in the device memory of a [`Staging`].
pub(super) struct Staged<'a> {
    pub tables: &'a PreprocessTables,
    words: Region,
    window: Region,
    between: Region,
}

impl Staging {
    /// Copies the part of each picture that its crop shows to pinned memory, on several threads where that is much, and enqueues
    /// one copy of everything to the device.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], or what else the driver says.
    pub(super) fn upload<'a>(
        &mut self,
        stream: &Arc<CudaStream>,
        pictures: &'a [Planned<'a>],
    ) -> Result<Vec<Staged<'a>>, CudaError> {
        let tables = || pictures.iter().map(|picture| &picture.tables);
        let mut layout = Layout::default();
        let place =
            |tables: &PreprocessTables| (layout.place::<i32>(tables.words().len()), layout.place::<u8>(tables.window_bytes()));
        let places: Vec<(Region, Region)> = tables().map(place).collect();
        let uploaded = layout.whole();
        // One picture follows the other on the stream, so that they share what lies between the passes.
        let between = layout.place::<u8>(tables().map(PreprocessTables::between_bytes).max().unwrap_or(0));
        self.make_room(stream, &layout, uploaded.bytes())?;
        let (Some(arena), Some(host)) = (&mut self.arena, &mut self.host) else { return Ok(Vec::new()) };

        let mut rest = &mut host.as_mut_slice()?[..uploaded.bytes()];
        let mut done = 0;
        let mut parts = Vec::with_capacity(places.len());
        for (words, window) in &places {
            let (words, window) = (words.within(uploaded), window.within(uploaded));
            let (part, after) = rest.split_at_mut(window.end - done);
            let (of_words, of_window) = part.split_at_mut(window.start - done);
            parts.push((&mut of_words[words.start - done..words.end - done], of_window));
            (rest, done) = (after, window.end);
        }
        let jobs: Vec<_> = parts.into_iter().zip(pictures).collect();
        share(jobs, uploaded.bytes() / SHARE, |((words, window), Planned { photograph, tables })| {
            words.copy_from_slice(bytemuck::cast_slice(tables.words()));
            tables.copy_window(&photograph.rgb, window);
        });
        stream.memcpy_htod(&host.as_slice()?[..uploaded.bytes()], &mut arena.bytes_mut(uploaded))?;
        let staged = tables().zip(places).map(|(tables, (words, window))| {
            let between = between.first(tables.between_bytes());
            Staged { tables, words, window, between }
        });
        Ok(staged.collect())
    }

    /// The tables, the window and the room between the passes of one picture, for launches on the stream of the upload.
    pub(super) fn spans(&self, staged: &Staged<'_>) -> Option<(Span<'_, i32>, Span<'_, u8>, SpanMut<'_, u8>)> {
        let arena = self.arena.as_ref()?;
        Some((arena.span(staged.words), arena.span(staged.window), arena.span_mut(staged.between)))
    }

    /// Whether it has no memory.
    pub(super) fn is_empty(&self) -> bool {
        self.arena.is_none() && self.host.is_none()
    }

    fn make_room(&mut self, stream: &Arc<CudaStream>, layout: &Layout, uploaded: usize) -> Result<(), CudaError> {
        if self.host.as_ref().is_none_or(|host| host.len() < uploaded) {
            self.host = None;
            // SAFETY: what is copied to the device is written before; gaps between the parts may have any value.
            #[allow(unsafe_code)]
            let host = unsafe { stream.context().alloc_pinned_with_flags(uploaded.max(1), 0) }?;
            self.host = Some(host);
        }
        if self.capacity < layout.bytes() || self.arena.is_none() {
            (self.arena, self.capacity) = (None, 0);
            self.arena = Some(Arena::new(stream, layout, "a batch's pictures")?);
            self.capacity = layout.bytes();
        }
        Ok(())
    }
}
