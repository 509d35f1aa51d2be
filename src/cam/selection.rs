//! Which maps are computed.

use super::{Enlarge, Enlarged, Evidence, Library, Map, Masking, Method, MethodError, Normalisation, Score, Smoothing, Target};

/// The maps that are computed from a forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Selection<'a> {
    /// Class activation maps, for each image those of the largest logits, best first, equal ones by index; all classes if there
    /// are fewer.
    Top(usize),
    /// Class activation maps of these classes, for every image, in this order.
    Classes(&'a [usize]),
    /// Maps of any method and target.
    Asked(&'a Asked),
}

/// Maps of every target by every method: those of the first target first, in the order of the methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What is explained.
    pub targets: Targets,
    /// By which methods. Each must serve every target, see [`Method::serves`].
    pub methods: Vec<Method>,
    /// Whose formulas; the papers' if nobody's.
    pub library: Option<Library>,
    /// Whether maps are shown with their method's own normalisation ([`Method::normalisation`]), whatever the style or the
    /// enlargement asks for.
    pub own_normalisation: bool,
    /// Whether maps are smoothed, which is [`crate::Engine`]'s work: a backend does not.
    pub smoothing: Smoothing,
    /// Choices of methods that score masked images, which are the engine's work as well.
    pub masking: Masking,
}

/// What is explained of each image.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// The classes with the largest logits, as [`Selection::Top`], by this score.
    Top(usize, Score),
    /// These, of every image.
    Given(Vec<Target>),
}

impl Targets {
    /// The targets of an image with these logits.
    pub fn of(&self, logits: &[f32]) -> Vec<Target> {
        match self {
            Self::Given(targets) => targets.clone(),
            Self::Top(k, score) => {
                ranking(logits).into_iter().take(*k).map(|class| Target::of_class(class).with_score(*score)).collect()
            }
        }
    }

    /// The largest class named, if any is.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the device is asked about classes before it computes"))]
    pub(crate) fn largest_class(&self) -> Option<usize> {
        match self {
            Self::Given(targets) => targets.iter().flat_map(Target::terms).map(|term| term.class).max(),
            Self::Top(..) => None,
        }
    }
}

impl Asked {
    /// Whether nothing but class activation maps by the paper is asked for, apart from the targets.
    pub(crate) fn is_plain(&self) -> bool {
        self.methods == [Method::Cam] && self.library.is_none() && self.smoothing == Smoothing::default()
    }

    /// Whether maps come from features in the host's memory: those that are smoothed, and those that take several passes.
    pub(crate) fn by_host(&self) -> bool {
        self.smoothing != Smoothing::default() || self.methods.iter().any(|method| method.masks())
    }

    /// How maps of `method` are normalised where the style or the enlargement asks for `normalisation`.
    pub(crate) fn shown(&self, method: Method, normalisation: Normalisation) -> Normalisation {
        if self.own_normalisation { method.normalisation() } else { normalisation }
    }

    /// The classes, if every target is one class's logit.
    pub(crate) fn plain_classes(&self) -> Option<Vec<usize>> {
        let Targets::Given(targets) = &self.targets else { return None };
        let class = |target: &Target| target.class().filter(|_| target.score() == Score::Logit);
        targets.iter().map(class).collect()
    }
}

impl Selection<'_> {
    /// The largest class that is named, if any is: a network has to have it.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the device is asked about classes before it computes"))]
    pub(crate) fn largest_class(&self) -> Option<usize> {
        match self {
            Self::Top(_) => None,
            Self::Classes(classes) => classes.iter().copied().max(),
            Self::Asked(asked) => asked.targets.largest_class(),
        }
    }

    /// The maps of an image, enlarged.
    pub(crate) fn enlarged(&self, enlarge: Enlarge, maps: &[(usize, Map)]) -> Vec<Enlarged> {
        let of = |(at, (_, map)): (usize, &(usize, Map))| match self {
            Self::Asked(asked) => {
                let method = asked.methods[at % asked.methods.len()];
                Enlarge { normalisation: asked.shown(method, enlarge.normalisation), ..enlarge }.apply(map)
            }
            Self::Top(_) | Self::Classes(_) => enlarge.apply(map),
        };
        maps.iter().enumerate().map(of).collect()
    }

    /// The selected maps of an image, each with the (first) class that it is about.
    ///
    /// # Errors
    /// As [`Evidence::map`].
    pub(crate) fn maps(&self, evidence: &Evidence<'_>) -> Result<Vec<(usize, Map)>, MethodError> {
        let class_map = |class| Ok((class, evidence.class_activation_map(class)?));
        match self {
            Self::Top(k) => ranking(evidence.logits()).into_iter().take(*k).map(class_map).collect(),
            Self::Classes(classes) => classes.iter().copied().map(class_map).collect(),
            Self::Asked(asked) => {
                let targets = asked.targets.of(evidence.logits());
                let of_target = |target: &Target| {
                    let class = target.terms()[0].class;
                    let map = |&method| Ok((class, evidence.map(method, target, asked.library)?));
                    asked.methods.iter().map(map).collect::<Vec<_>>()
                };
                targets.iter().flat_map(of_target).collect()
            }
        }
    }
}

/// Classes by falling logit, equal ones by index.
pub(crate) fn ranking(logits: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a])); // stable: equal ones stay in class order
    classes
}
