//! What to explain.

use crate::cam::{Enlarge, Levels, Library, Masking, Method, Normalisation, Score, Smoothing};
use crate::render::Style;

/// Which classes get a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// The most probable ones, best first.
    Top(usize),
    /// These, by index or name, or several with signs between them, in this order.
    Named(Vec<String>),
}

/// What to explain about each picture, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    classes: Classes,
    score: Score,
    methods: Vec<Method>,
    library: Option<Library>,
    smoothing: Smoothing,
    masking: Masking,
    enlarge: Option<(Normalisation, Levels)>,
    overlay: Option<Style>,
    own_normalisation: bool,
}

impl Request {
    /// Maps of the `k` most probable classes; all of them if there are fewer.
    pub fn top(k: usize) -> Self {
        Self::of(Classes::Top(k))
    }

    /// Maps of these classes, by index (`"281"`) or name (`"tabby"`); one asked for twice counts once.
    ///
    /// Several classes may be weighed against each other, with a space on both sides of each sign: `"tabby - beagle"` asks what
    /// makes it the one rather than the other, `"tabby + Siamese cat"` what speaks for either, `"-tabby"` what speaks against one.
    /// A text that is a class's name as a whole is that class, whatever signs it holds.
    pub fn classes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::of(Classes::Named(names.into_iter().map(Into::into).collect()))
    }

    /// The same about these classes, as [`Request::classes`] names them.
    pub fn about<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.classes = Classes::Named(names.into_iter().map(Into::into).collect());
        self
    }

    fn of(classes: Classes) -> Self {
        Self {
            classes,
            score: Score::default(),
            methods: vec![Method::default()],
            library: None,
            smoothing: Smoothing::default(),
            masking: Masking::default(),
            enlarge: None,
            overlay: None,
            own_normalisation: false,
        }
    }

    /// What of the classes is explained. Default: the logit.
    pub fn score(mut self, score: Score) -> Self {
        self.score = score;
        self
    }

    /// By which methods, each once; all from the same forward pass, but for those that score masked images
    /// ([`Method::masks`]). Default, and if there are none: the class activation map.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.clear();
        for method in methods {
            if !self.methods.contains(&method) {
                self.methods.push(method);
            }
        }
        if self.methods.is_empty() {
            self.methods.push(Method::default());
        }
        self
    }

    /// Asks for the formulas of a library where they differ from the papers'. [`Library::normalise`] and [`Library::enlarge`] do
    /// the rest of what it does.
    pub fn library(mut self, library: Library) -> Self {
        self.library = Some(library);
        self
    }

    /// Asks for smoother maps. Default: they are left as they are.
    pub fn smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// Choices of methods that score masked images.
    pub fn masking(mut self, masking: Masking) -> Self {
        self.masking = masking;
        self
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

    /// Asks for enlarged maps and overlays with the normalisation of each map's own method ([`Method::normalisation`]) instead of
    /// the one that [`Request::enlarged`] or the style names.
    pub fn own_normalisation(mut self) -> Self {
        self.own_normalisation = true;
        self
    }

    /// How maps of `method` are drawn.
    pub(crate) fn style(&self, method: Method) -> Option<Style> {
        self.overlay.map(|style| Style { normalisation: self.shown(method, style.normalisation), ..style })
    }

    /// What becomes of maps of `method` for inputs of `h` x `w`.
    pub(crate) fn enlarge(&self, method: Method, h: usize, w: usize) -> Option<Enlarge> {
        self.enlarge.map(|(normalisation, levels)| Enlarge { h, w, normalisation: self.shown(method, normalisation), levels })
    }

    fn shown(&self, method: Method, normalisation: Normalisation) -> Normalisation {
        if self.own_normalisation { method.normalisation() } else { normalisation }
    }

    /// Whether [`Request::own_normalisation`] was called.
    pub(crate) fn normalises_by_method(&self) -> bool {
        self.own_normalisation
    }

    /// What was asked for.
    pub(crate) fn selection(&self) -> &Classes {
        &self.classes
    }

    /// What of it.
    pub(crate) fn asked_score(&self) -> Score {
        self.score
    }

    /// By which methods; at least one.
    pub(crate) fn asked_methods(&self) -> &[Method] {
        &self.methods
    }

    /// By whose formulas.
    pub(crate) fn asked_library(&self) -> Option<Library> {
        self.library
    }

    /// How smooth.
    pub(crate) fn asked_smoothing(&self) -> Smoothing {
        self.smoothing
    }

    /// By which masks.
    pub(crate) fn asked_masking(&self) -> Masking {
        self.masking
    }
}
