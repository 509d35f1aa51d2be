//! What a pass over a batch leaves behind.

use super::Map;

/// Scores and maps of a batch, image by image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    logits: Vec<Vec<f32>>,
    maps: Vec<Vec<(usize, Map)>>,
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

    /// Adds an image.
    pub(crate) fn push(&mut self, logits: &[f32], maps: Vec<(usize, Map)>) {
        self.logits.push(logits.to_vec());
        self.maps.push(maps);
    }

    /// The images, taken apart.
    pub(crate) fn into_images(self) -> impl Iterator<Item = (Vec<f32>, Vec<(usize, Map)>)> {
        self.logits.into_iter().zip(self.maps)
    }
}
