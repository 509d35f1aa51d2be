//! What a map explains: a class, or classes weighed against each other.

use super::{Score, Softmax};

/// One class of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Row of the classifier.
    pub class: usize,
    /// What its score is multiplied by: 1 for, -1 against.
    pub factor: f64,
}

/// A number that a network computes and a map explains: the scores of some classes, each times its factor, added up. One class,
/// a contrast of two (`tabby - beagle`), a counterfactual (`-tabby`: what speaks against it), or a sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    terms: Vec<Term>,
    score: Score,
}

/// Terms that are no target.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing to explain.
    #[error("a target needs a class")]
    Empty,
    /// A class that stands there twice.
    #[error("class {class} stands in one target twice")]
    Twice {
        /// Its index.
        class: usize,
    },
    /// A factor that leaves nothing, or no number.
    #[error("class {class} has the factor {factor}, expected a finite number other than 0")]
    Factor {
        /// Its index.
        class: usize,
        /// The factor.
        factor: f64,
    },
}

/// A derivative by the logits, `[K]`, in three parts of which the latter two are shared by all targets of an image:
/// `v = sum terms + softmax * p + slope * p'`, see [`Softmax`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Derivative {
    /// Entries of single classes.
    pub terms: Vec<(usize, f64)>,
    pub softmax: f64,
    pub slope: f64,
}

impl Target {
    /// One class's logit.
    pub fn of_class(class: usize) -> Self {
        Self { terms: vec![Term { class, factor: 1.0 }], score: Score::Logit }
    }

    /// `terms` added up.
    ///
    /// # Errors
    /// Without a term, with a class twice, or with a factor that is 0 or not finite.
    pub fn new(terms: Vec<Term>, score: Score) -> Result<Self, TargetError> {
        for (at, &Term { class, factor }) in terms.iter().enumerate() {
            if !factor.is_finite() || factor == 0.0 {
                return Err(TargetError::Factor { class, factor });
            }
            if terms[..at].iter().any(|before| before.class == class) {
                return Err(TargetError::Twice { class });
            }
        }
        if terms.is_empty() { Err(TargetError::Empty) } else { Ok(Self { terms, score }) }
    }

    /// The same classes by another score.
    pub fn with_score(self, score: Score) -> Self {
        Self { score, ..self }
    }

    /// The classes and their factors; at least one.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// What of the classes is explained.
    pub fn score(&self) -> Score {
        self.score
    }

    /// The class, if there is only one and it is asked for, not against.
    pub fn class(&self) -> Option<usize> {
        match self.terms[..] {
            [Term { class, factor: 1.0 }] => Some(class),
            _ => None,
        }
    }

    /// The target's value for given logits `[K]`, in f64.
    ///
    /// # Panics
    /// If a class is not among the logits.
    pub fn value(&self, logits: &[f32]) -> f64 {
        match self.score {
            Score::Logit => self.sum(|class| f64::from(logits[class])),
            Score::Probability | Score::Rest => self.value_in(&Softmax::new(logits), |class| f64::from(logits[class])),
        }
    }

    /// The value where the logits are `logit` and their softmax has the normaliser of `softmax`.
    pub(crate) fn value_in(&self, softmax: &impl Normaliser, logit: impl Fn(usize) -> f64) -> f64 {
        match self.score {
            Score::Logit => self.sum(logit),
            Score::Probability => self.sum(|class| softmax.log_probability(logit(class)).exp()),
            Score::Rest => self.sum(|class| logit(class) + softmax.log_probability(logit(class))),
        }
    }

    fn sum(&self, score: impl Fn(usize) -> f64) -> f64 {
        self.terms.iter().map(|term| term.factor * score(term.class)).sum()
    }

    /// The value's gradient by the logits.
    pub(crate) fn gradient(&self, softmax: &Softmax) -> Derivative {
        let p = |term: &Term| softmax.probability(term.class);
        let terms =
            |weight: &dyn Fn(&Term) -> f64| self.terms.iter().map(|term| (term.class, term.factor * weight(term))).collect();
        match self.score {
            Score::Logit => Derivative { terms: terms(&|_| 1.0), ..Derivative::default() },
            // d p[c] = p[c] (e[c] - p)
            Score::Probability => {
                let total = -self.terms.iter().map(|term| term.factor * p(term)).sum::<f64>();
                Derivative { terms: terms(&p), softmax: total, slope: 0.0 }
            }
            // d (y[c] + ln p[c]) = 2 e[c] - p
            Score::Rest => {
                let total = -self.terms.iter().map(|term| term.factor).sum::<f64>();
                Derivative { terms: terms(&|_| 2.0), softmax: total, slope: 0.0 }
            }
        }
    }

    /// The gradient's derivative along the direction of `softmax`'s slope: the second derivative times that direction.
    pub(crate) fn curvature(&self, softmax: &Softmax) -> Derivative {
        let slope = |term: &Term| softmax.slope(term.class);
        match self.score {
            Score::Logit => Derivative::default(),
            Score::Probability => {
                let against = -self.terms.iter().map(|term| term.factor * slope(term)).sum::<f64>();
                let shared = -self.terms.iter().map(|term| term.factor * softmax.probability(term.class)).sum::<f64>();
                let terms = self.terms.iter().map(|term| (term.class, term.factor * slope(term))).collect();
                Derivative { terms, softmax: against, slope: shared }
            }
            Score::Rest => Derivative { slope: -self.terms.iter().map(|term| term.factor).sum::<f64>(), ..Derivative::default() },
        }
    }
}

/// What turns a logit into the logarithm of a probability.
pub(crate) trait Normaliser {
    /// `logit - ln sum exp`.
    fn log_probability(&self, logit: f64) -> f64;
}
