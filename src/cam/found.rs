//! What a pass over a batch leaves behind.

use super::{Enlarged, Map};

/// Scores and maps of a batch, image by image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    logits: Vec<Vec<f32>>,
    maps: Vec<Vec<(usize, Map)>>,
    enlarged: Vec<Vec<Enlarged>>,
}

impl Found {
    /// Images that are finished.
    pub fn images(&self) -> usize {
        self.logits.len()
    }

    /// Class scores of an image before the softmax, `[K]`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn logits(&self, image: usize) -> &[f32] {
        &self.logits[image]
    }

    /// Of an image the selected classes with their class activation maps, raw.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn maps(&self, image: usize) -> &[(usize, Map)] {
        &self.maps[image]
    }

    /// The same maps enlarged, in the same order; none if that was not asked for.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn enlarged(&self, image: usize) -> &[Enlarged] {
        &self.enlarged[image]
    }

    /// Adds an image. `enlarged` holds one for each map, or none.
    pub(crate) fn push(&mut self, logits: &[f32], maps: Vec<(usize, Map)>, enlarged: Vec<Enlarged>) {
        self.logits.push(logits.to_vec());
        self.maps.push(maps);
        self.enlarged.push(enlarged);
    }

    /// The images, taken apart.
    pub(crate) fn into_images(self) -> impl Iterator<Item = FoundImage> {
        let images = self.logits.into_iter().zip(self.maps).zip(self.enlarged);
        images.map(|((logits, maps), enlarged)| FoundImage { logits, maps, enlarged })
    }
}

/// Scores and maps of one image.
pub(crate) struct FoundImage {
    pub logits: Vec<f32>,
    pub maps: Vec<(usize, Map)>,
    /// One for each map, or none.
    pub enlarged: Vec<Enlarged>,
}
