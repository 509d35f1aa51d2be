//! What a pass over a batch leaves behind.

use image::RgbImage;

use super::{Enlarged, Map};

/// Scores and maps of a batch, image by image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    logits: Vec<Vec<f32>>,
    maps: Vec<Vec<(usize, Map)>>,
    enlarged: Vec<Vec<Enlarged>>,
    overlays: Vec<Vec<RgbImage>>,
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

    /// The same maps drawn over the image, in the same order; none if that was not asked for, or could not be done there.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn overlays(&self, image: usize) -> &[RgbImage] {
        &self.overlays[image]
    }

    /// Adds an image. `enlarged` and `overlays` hold one for each map, or none.
    pub(crate) fn push(&mut self, logits: &[f32], maps: Vec<(usize, Map)>, enlarged: Vec<Enlarged>, overlays: Vec<RgbImage>) {
        self.logits.push(logits.to_vec());
        self.maps.push(maps);
        self.enlarged.push(enlarged);
        self.overlays.push(overlays);
    }

    /// Adds the images of `other`.
    #[cfg(feature = "cuda")]
    pub(crate) fn append(&mut self, other: Self) {
        self.logits.extend(other.logits);
        self.maps.extend(other.maps);
        self.enlarged.extend(other.enlarged);
        self.overlays.extend(other.overlays);
    }

    /// The images, taken apart.
    pub(crate) fn into_images(self) -> impl Iterator<Item = FoundImage> {
        let images = self.logits.into_iter().zip(self.maps).zip(self.enlarged).zip(self.overlays);
        let image = |(((logits, maps), enlarged), overlays)| FoundImage {
            logits,
            maps,
            enlarged,
            overlays,
            parts: Vec::new(),
            forwards: 1,
        };
        images.map(image)
    }
}

/// Scores and maps of one image.
pub(crate) struct FoundImage {
    pub logits: Vec<f32>,
    pub maps: Vec<(usize, Map)>,
    /// One for each map, or none.
    pub enlarged: Vec<Enlarged>,
    /// One for each map, or none.
    pub overlays: Vec<RgbImage>,
    /// For each map those that it is the mean of, or nothing.
    pub parts: Vec<Vec<Map>>,
    /// Images that the network saw for it.
    pub forwards: usize,
}
