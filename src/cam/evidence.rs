//! What one forward pass tells about one image, and the maps that follow from it.

use std::cell::OnceCell;

use super::methods::{self, Form};
use super::softmax::Softmax;
use super::target::Derivative;
use super::{Head, Library, Map, Method, MethodError, Target, class_activation_map};
use crate::tensor::Nhwc;

/// The features and logits of one image, with the classifier between them. What several maps share is worked out once.
pub struct Evidence<'a> {
    head: &'a Head,
    features: &'a Nhwc,
    image: usize,
    logits: &'a [f32],
    means: OnceCell<Vec<f64>>,
    softmax: OnceCell<Softmax>,
    softmax_row: OnceCell<Vec<f64>>,
    slope_row: OnceCell<Vec<f64>>,
}

impl<'a> Evidence<'a> {
    /// Image `image` of `features` (`layer4`, `[N, h, w, C]`) and its logits `[K]`, which `head` computed from them.
    ///
    /// # Errors
    /// [`MethodError::OtherHead`] if there is no such image, or its sizes are not those of `head`.
    pub fn new(head: &'a Head, features: &'a Nhwc, image: usize, logits: &'a [f32]) -> Result<Self, MethodError> {
        let [images, .., channels] = features.shape();
        if image >= images || (channels, logits.len()) != (head.channels(), head.classes()) {
            let (features, logits) = (features.shape(), logits.len());
            let (channels, classes) = (head.channels(), head.classes());
            return Err(MethodError::OtherHead { image, features, logits, channels, classes });
        }
        Ok(Self {
            head,
            features,
            image,
            logits,
            means: OnceCell::new(),
            softmax: OnceCell::new(),
            softmax_row: OnceCell::new(),
            slope_row: OnceCell::new(),
        })
    }

    /// The class activation map of `class`.
    ///
    /// # Errors
    /// [`MethodError::NoSuchClass`] if the head does not have it.
    pub fn class_activation_map(&self, class: usize) -> Result<Map, MethodError> {
        self.head.has(class)?;
        Ok(class_activation_map(self.features, self.image, self.head.row(class)))
    }

    /// The map of `target` by `method`: the paper's formula, or `library`'s. Signed and raw: before any ReLU and normalisation.
    /// Finite wherever features, weights and logits are.
    ///
    /// # Errors
    /// [`MethodError::Masks`] if the method scores masked images ([`Method::masks`]), which only [`crate::Engine`] can do, and
    /// [`MethodError::NoSuchClass`] if the target names a class that the head does not have.
    pub fn map(&self, method: Method, target: &Target, library: Option<Library>) -> Result<Map, MethodError> {
        Ok(self.map_of(methods::form(self, method, target, library)?, false))
    }

    /// As [`Evidence::map`], but the first principal component of the weighted features instead of their sum, where the method
    /// weighs them: smoother, and pytorch-grad-cam's `eigen_smooth`. Its sign is such that it covaries with the sum.
    ///
    /// # Errors
    /// As [`Evidence::map`].
    pub fn eigen_map(&self, method: Method, target: &Target, library: Option<Library>) -> Result<Map, MethodError> {
        Ok(self.map_of(methods::form(self, method, target, library)?, true))
    }

    fn map_of(&self, form: Form, eigen: bool) -> Map {
        match form {
            Form::Row(row) => self.weighted(&row, eigen),
            Form::Cells(cells) => Map::new(self.h(), self.w(), cells),
        }
    }

    /// The features' weighted sum, or with `eigen` their first principal component. `row`: the weights `[C]`.
    pub(crate) fn weighted(&self, row: &[f32], eigen: bool) -> Map {
        if eigen {
            let row: Vec<f64> = row.iter().map(|&weight| weight.into()).collect();
            Map::new(self.h(), self.w(), methods::first_component(self, &row, &row))
        } else {
            class_activation_map(self.features, self.image, row)
        }
    }

    /// The weights `[C]` of the channels whose weighted sum is the map, for methods of that form.
    ///
    /// # Errors
    /// As [`Evidence::map`].
    pub fn row(&self, method: Method, target: &Target, library: Option<Library>) -> Result<Option<Vec<f32>>, MethodError> {
        Ok(match methods::form(self, method, target, library)? {
            Form::Row(row) => Some(row),
            Form::Cells(_) => None,
        })
    }

    /// The logits.
    pub fn logits(&self) -> &[f32] {
        self.logits
    }

    pub(crate) fn head(&self) -> &Head {
        self.head
    }

    /// The image's features, `[h, w, C]`.
    pub(crate) fn features(&self) -> &[f32] {
        self.features.image(self.image)
    }

    pub(crate) fn h(&self) -> usize {
        self.features.shape()[1]
    }

    pub(crate) fn w(&self) -> usize {
        self.features.shape()[2]
    }

    /// Positions of the features, at least one.
    pub(crate) fn cells(&self) -> f64 {
        (self.h() * self.w()) as f64
    }

    /// Mean of each channel over the positions, `[C]`.
    pub(crate) fn means(&self) -> &[f64] {
        self.means.get_or_init(|| {
            let mut sums = vec![0.0; self.head.channels()];
            for cell in self.features().chunks_exact(sums.len().max(1)) {
                cell.iter().zip(&mut sums).for_each(|(&value, sum)| *sum += f64::from(value));
            }
            sums.iter().map(|sum| sum / self.cells()).collect()
        })
    }

    /// The softmax, with its derivative along the features: what scaling all of them up does to the logits, which is `y - bias`.
    pub(crate) fn softmax(&self) -> &Softmax {
        self.softmax.get_or_init(|| {
            let direction = self.logits.iter().zip(self.head.bias()).map(|(&y, &bias)| f64::from(y) - f64::from(bias));
            Softmax::new(self.logits).along(direction)
        })
    }

    /// The derivative by the features' means `[C]` that belongs to one by the logits: `v . W`.
    pub(crate) fn row_of(&self, derivative: &Derivative) -> Vec<f64> {
        let mut row = vec![0.0; self.head.channels()];
        for &(class, factor) in &derivative.terms {
            self.head.row(class).iter().zip(&mut row).for_each(|(&weight, sum)| *sum += factor * f64::from(weight));
        }
        let mut add = |factor: f64, shared: &OnceCell<Vec<f64>>, factors: &[f64]| {
            if factor != 0.0 {
                let shared = shared.get_or_init(|| self.mixture(factors));
                shared.iter().zip(&mut row).for_each(|(value, sum)| *sum += factor * value);
            }
        };
        add(derivative.softmax, &self.softmax_row, self.softmax().probabilities());
        add(derivative.slope, &self.slope_row, self.softmax().slopes());
        row
    }

    /// All rows of the head, each times its factor.
    fn mixture(&self, factors: &[f64]) -> Vec<f64> {
        let mut row = vec![0.0; self.head.channels()];
        for (weights, factor) in self.head.weights().chunks_exact(row.len().max(1)).zip(factors) {
            weights.iter().zip(&mut row).for_each(|(&weight, sum)| *sum += factor * f64::from(weight));
        }
        row
    }
}
