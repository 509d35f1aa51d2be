//! What to explain.

use crate::cam::{Enlarge, Levels, Normalisation};
use crate::render::Style;

/// Which classes get a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// The most probable ones, best first.
    Top(usize),
    /// These, by index or name, in this order.
    Named(Vec<String>),
}

/// What to explain about each picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    classes: Classes,
    enlarge: Option<(Normalisation, Levels)>,
    overlay: Option<Style>,
}

impl Request {
    /// Maps of the `k` most probable classes; all of them if there are fewer.
    pub fn top(k: usize) -> Self {
        Self { classes: Classes::Top(k), enlarge: None, overlay: None }
    }

    /// Maps of these classes, by index (`"281"`) or name (`"tabby"`); one asked for twice counts once.
    pub fn classes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { classes: Classes::Named(names.into_iter().map(Into::into).collect()), enlarge: None, overlay: None }
    }

    /// Asks for each map at the size of the crop as well, normalised, stored as `levels`: on a CUDA device by the kernel that
    /// computes the map.
    pub fn enlarged(mut self, normalisation: Normalisation, levels: Levels) -> Self {
        self.enlarge = Some((normalisation, levels));
        self
    }

    /// Asks for each map drawn over the crop in this style, as [`crate::render::Scene::overlay`] draws it, byte for byte: on a
    /// CUDA device by the kernel that computes the map, so that nothing but finished pictures comes back.
    pub fn overlay(mut self, style: Style) -> Self {
        self.overlay = Some(style);
        self
    }

    /// How maps are drawn.
    pub(crate) fn style(&self) -> Option<Style> {
        self.overlay
    }

    /// What becomes of maps for inputs of `h` x `w`.
    pub(crate) fn enlarge(&self, h: usize, w: usize) -> Option<Enlarge> {
        self.enlarge.map(|(normalisation, levels)| Enlarge { h, w, normalisation, levels })
    }

    /// What was asked for.
    pub(crate) fn selection(&self) -> &Classes {
        &self.classes
    }
}
