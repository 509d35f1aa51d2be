//! Every kernel that a network of one precision needs, loaded once.

use super::real::{Convolutions, Real};
use super::{
    BatchNorm, CamEigen, CamRows, CamUpsample, CudaError, GlobalAvgPool, Linear, MaskImage, MaxPool2d, Modules, Preprocess,
    SoftmaxTopk, Stem,
};
use crate::tensor::Precision;

pub(super) struct Operators<T: Real> {
    /// For `T::CHANNELS`.
    padded: Preprocess<T>,
    /// For the stem, which reads 3.
    packed: Option<Preprocess<T>>,
    padded_masks: MaskImage<T>,
    packed_masks: Option<MaskImage<T>>,
    pub convolutions: T::Convolutions,
    /// Where the precision has one.
    pub stem: Option<Stem<T>>,
    pub batch_norm: BatchNorm<T>,
    pub max_pool: MaxPool2d<T>,
    pub avg_pool: GlobalAvgPool<T>,
    pub linear: Linear<T>,
    pub top: SoftmaxTopk,
    pub cam_rows: CamRows<T>,
    pub cam_eigen: CamEigen<T>,
    pub cam: CamUpsample<T>,
}

impl<T: Real> Operators<T> {
    /// Loads those of a precision that stores `T` into the modules' context.
    ///
    /// # Errors
    /// If the build has no code for the device, or the driver refuses it.
    pub(super) fn load(modules: &Modules, precision: Precision) -> Result<Self, CudaError> {
        Ok(Self {
            padded: Preprocess::new(modules, T::CHANNELS)?,
            packed: T::HAS_STEM.then(|| Preprocess::new(modules, 3)).transpose()?,
            padded_masks: MaskImage::new(modules, T::CHANNELS)?,
            packed_masks: T::HAS_STEM.then(|| MaskImage::new(modules, 3)).transpose()?,
            convolutions: T::Convolutions::new(modules, precision)?,
            stem: T::HAS_STEM.then(|| Stem::new(modules)).transpose()?,
            batch_norm: BatchNorm::new(modules)?,
            max_pool: MaxPool2d::new(modules)?,
            avg_pool: GlobalAvgPool::new(modules)?,
            linear: Linear::new(modules)?,
            top: SoftmaxTopk::new(modules)?,
            cam_rows: CamRows::new(modules)?,
            cam_eigen: CamEigen::new(modules)?,
            cam: CamUpsample::new(modules)?,
        })
    }

    /// The kernel of masked images for images of so many channels.
    pub(super) fn mask_image(&self, channels: usize) -> &MaskImage<T> {
        self.packed_masks.as_ref().filter(|_| channels == 3).unwrap_or(&self.padded_masks)
    }

    /// The preprocessing for images of so many channels.
    pub(super) fn preprocess(&self, channels: usize) -> &Preprocess<T> {
        self.packed.as_ref().filter(|_| channels == 3).unwrap_or(&self.padded)
    }
}
