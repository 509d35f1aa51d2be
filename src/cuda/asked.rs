//! What a pass is asked for, as the kernels read it (twins of `kernels/cam_asked.cuh`).

use std::ops::Range;

use super::{Show, Unsupported};
use crate::cam::{Asked, Enlarge, Library, Method, Normalisation, Score, Targets};
use crate::render::Style;

/// Bytes of the kernels' `Term`, `Target` and `Method`.
const TERM: usize = 16;
const TARGET: usize = 16;
const METHOD: usize = 8;

/// Words after the weights of a row.
pub(super) const ROW_END: usize = 4;

/// The formulas of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Cam = 0,
    Gradient = 1,
    WeightedMean = 2,
    PlusPlus = 3,
    Positive = 4,
    Ablation = 5,
    Eigen = 6,
    EigenGradient = 7,
    Finer = 8,
    Shapley = 9,
    Fem = 10,
    Random = 11,
}

impl Form {
    /// That of a method. Where the gradient is the same at every position and features are not negative, several are one.
    ///
    /// # Errors
    /// For a method that scores masked images.
    fn of(method: Method, library: Option<Library>) -> Result<Self, Unsupported> {
        Ok(match method {
            Method::Cam => Self::Cam,
            Method::XGradCam if library.is_some() => Self::WeightedMean,
            Method::GradCam | Method::HiResCam | Method::XGradCam => Self::Gradient,
            Method::GradCamPlusPlus => Self::PlusPlus,
            Method::LayerCam | Method::GradCamElementWise => Self::Positive,
            Method::AblationCam => Self::Ablation,
            Method::EigenCam => Self::Eigen,
            Method::EigenGradCam => Self::EigenGradient,
            Method::FinerCam => Self::Finer,
            Method::ShapleyCam => Self::Shapley,
            Method::Fem => Self::Fem,
            Method::RandomCam => Self::Random,
            Method::ScoreCam | Method::SsCam | Method::IsCam => {
                let reason = format!("`{method}` scores masked images, which is an engine's work and no formula of one pass");
                return Err(Unsupported { kernel: "cam_rows", reason });
            }
        })
    }
}

/// The shape of an [`Asked`]: what a recorded graph has fixed of it. The rest is data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedShape {
    /// Targets of each image.
    pub targets: usize,
    /// Classes of all targets together; `None` where the device chooses one for each target.
    pub terms: Option<usize>,
    /// Methods, of each a map for every target.
    pub methods: usize,
    /// Methods that take an eigenvector.
    pub eigens: usize,
    /// Bit `f`: some method has form `f` of the kernels.
    pub(super) wanted: u32,
    /// Whose formulas.
    pub(super) library: Option<Library>,
}

impl AskedShape {
    /// For a network of `classes` classes.
    ///
    /// # Errors
    /// If a method scores masked images ([`Method::masks`]).
    pub fn of(asked: &Asked, classes: usize) -> Result<Self, Unsupported> {
        let of = |&method: &Method| Form::of(method, asked.library);
        let forms = asked.methods.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let (targets, terms) = match &asked.targets {
            Targets::Top(k, _) => ((*k).min(classes), None),
            Targets::Given(targets) => (targets.len(), Some(targets.iter().map(|target| target.terms().len()).sum())),
        };
        Ok(Self {
            targets,
            terms,
            methods: asked.methods.len(),
            eigens: forms.iter().filter(|form| matches!(form, Form::Eigen | Form::EigenGradient)).count(),
            wanted: forms.iter().fold(0, |bits, &form| bits | 1 << form as u32),
            library: asked.library,
        })
    }

    /// Maps of each image.
    pub fn maps(&self) -> usize {
        self.targets * self.methods
    }

    /// Bytes of [`encode`].
    pub fn bytes(&self) -> usize {
        self.methods_at().end
    }

    pub(super) fn terms_at(&self) -> Range<usize> {
        0..TERM * self.terms.unwrap_or(0)
    }

    pub(super) fn targets_at(&self) -> Range<usize> {
        let start = self.terms_at().end;
        start..start + TARGET * self.targets
    }

    pub(super) fn methods_at(&self) -> Range<usize> {
        let start = self.targets_at().end;
        start..start + METHOD * self.methods
    }
}

/// `asked` as the kernels read it, for maps that are shown like this.
///
/// # Errors
/// As [`AskedShape::of`].
pub fn encode(asked: &Asked, classes: usize, show: Option<Show>) -> Result<Vec<u8>, Unsupported> {
    let (mut terms, mut targets) = (Vec::new(), Vec::new());
    let mut target = |first: usize, count: usize, score: Score| {
        for word in [first as i32, count as i32, score_number(score), 0] {
            targets.extend(word.to_ne_bytes());
        }
    };
    match &asked.targets {
        Targets::Top(k, score) => (0..(*k).min(classes)).for_each(|_| target(0, 1, *score)),
        Targets::Given(given) => {
            let mut first = 0;
            for each in given {
                target(first, each.terms().len(), each.score());
                first += each.terms().len();
                for term in each.terms() {
                    terms.extend(term.factor.to_ne_bytes());
                    terms.extend((term.class as i32).to_ne_bytes());
                    terms.extend(0i32.to_ne_bytes());
                }
            }
        }
    }
    let style = match show {
        None => None,
        Some(Show::Enlarged(Enlarge { normalisation, .. }) | Show::Overlay(Style { normalisation, .. })) => Some(normalisation),
    };
    let mut bytes = terms;
    bytes.extend(targets);
    for &method in &asked.methods {
        let normalisation = style.map_or(Normalisation::None, |style| asked.shown(method, style));
        bytes.extend((Form::of(method, asked.library)? as i32).to_ne_bytes());
        bytes.extend(normalisation_number(normalisation).to_ne_bytes());
    }
    Ok(bytes)
}

fn score_number(score: Score) -> i32 {
    match score {
        Score::Logit => 0,
        Score::Probability => 1,
        Score::Rest => 2,
    }
}

/// The kernels' number of a normalisation.
pub(super) fn normalisation_number(normalisation: Normalisation) -> i32 {
    match normalisation {
        Normalisation::None => 0,
        Normalisation::MinMax => 1,
        Normalisation::ReluMinMax => 2,
    }
}

/// The kernels' number of a library.
pub(super) fn library_number(library: Option<Library>) -> i32 {
    match library {
        None => 0,
        Some(Library::TorchCam) => 1,
        Some(Library::GradCam) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cam::{Masking, Smoothing, Target, Term};

    #[test]
    fn what_is_asked_lies_where_the_kernels_read_it() {
        let target = Target::new(vec![Term { class: 3, factor: 0.5 }, Term { class: 7, factor: -2.0 }], Score::Rest).unwrap();
        let targets = Targets::Given(vec![Target::of_class(9), target]);
        let methods = vec![Method::GradCamElementWise, Method::EigenCam];
        let (smoothing, masking) = (Smoothing::default(), Masking::default());
        let asked = Asked { targets, methods, library: None, own_normalisation: true, smoothing, masking };
        let shape = AskedShape::of(&asked, 10).unwrap();
        assert_eq!((shape.targets, shape.terms, shape.maps(), shape.eigens), (2, Some(3), 4, 1));
        assert_eq!(shape.wanted, 1 << Form::Positive as u32 | 1 << Form::Eigen as u32);
        let bytes = encode(&asked, 10, Some(Show::Overlay(Style::default()))).unwrap();
        assert_eq!(bytes.len(), shape.bytes());
        let word = |at: usize| i32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let factor = |at: usize| f64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((factor(0), word(8), factor(16), word(24), factor(32), word(40)), (1.0, 9, 0.5, 3, -2.0, 7));
        let words: Vec<i32> = (shape.targets_at().start..bytes.len()).step_by(4).map(word).collect();
        assert_eq!(words, [0, 1, 0, 0, 1, 2, 2, 0, 4, 2, 6, 2]);
        let ranked = Asked { targets: Targets::Top(20, Score::Logit), ..asked };
        let shape = AskedShape::of(&ranked, 10).unwrap();
        assert_eq!(shape.targets, 10, "of ten classes");
        assert_eq!(encode(&ranked, 10, None).unwrap().len(), shape.bytes());
        let masked = Asked { methods: vec![Method::Cam, Method::ScoreCam], ..ranked };
        assert!(AskedShape::of(&masked, 10).unwrap_err().to_string().contains("`scorecam` scores masked images"));
        assert!(encode(&masked, 10, None).is_err());
    }
}
