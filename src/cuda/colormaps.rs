//! Every colormap in device memory, for overlays that are drawn there.

use std::sync::Arc;

use cudarc::driver::CudaStream;

use super::arena::{Arena, Layout, Region};
use super::{CudaError, Span};
use crate::render::Colormap;

pub(super) struct Colormaps {
    arena: Arena,
    places: Vec<Region>, // as `Colormap::ALL`
}

impl Colormaps {
    /// Uploads all of them: a few KB. They are there for every stream once the stream is idle.
    ///
    /// # Errors
    /// For lack of memory, or what else the driver says.
    pub(super) fn upload(stream: &Arc<CudaStream>) -> Result<Self, CudaError> {
        let mut layout = Layout::default();
        let bytes = |colormap: Colormap| colormap.table().as_flattened();
        let places: Vec<Region> = Colormap::ALL.iter().map(|&colormap| layout.place::<u8>(bytes(colormap).len())).collect();
        let mut arena = Arena::new(stream, &layout, "the colormaps")?;
        for (&colormap, &place) in Colormap::ALL.iter().zip(&places) {
            arena.write(place, bytes(colormap))?;
        }
        Ok(Self { arena, places })
    }

    /// `[256, 3]`.
    pub(super) fn span(&self, colormap: Colormap) -> Span<'_, u8> {
        // `ALL` lists the variants in the order of their declaration, which a test of the colormaps checks.
        self.arena.span(self.places[colormap as usize])
    }
}
