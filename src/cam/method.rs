//! Which map is computed.

use super::choice::impl_choice;
use super::{Library, Normalisation, Score, Target};

/// A way to explain a score by a map over `layer4`, spelt as in pytorch-grad-cam.
///
/// Between `layer4` and the scores there are a mean over positions and one linear layer, so that the gradient of a score at
/// `layer4` is the same at every position and known without a backward pass: `g[c] = v . W[:, c] / (h w)`, where `v` is the
/// score's gradient by the logits (see [`Target`]). Most of these methods therefore need no more than the forward pass;
/// [`Method::masks`] tells the others.
///
/// In the formulas, `A` are the features (never negative, as `layer4` ends in a ReLU), `a[c]` and `S[c]` their mean and sum over
/// positions, `r[c] = h w g[c]`, and `[x]` is `max(x, 0)`. What is computed is signed; where the paper ends with a ReLU,
/// [`Method::normalisation`] has it, and the raw map keeps the negative evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `sum r A`: Zhou et al., CVPR 2016, eq. 2.
    #[default]
    Cam,
    /// `sum g A`: Selvaraju et al., ICCV 2017, eq. 1 and 2.
    GradCam,
    /// `sum g A`, element by element: Draelos and Carin, 2020. Equal to Grad-CAM here.
    HiResCam,
    /// `sum g A`: Fu et al., BMVC 2020, eq. 8; its weights are averages of the gradient, which is constant here.
    XGradCam,
    /// `sum w A`, `w = [r] / (2 + r a)`: Chattopadhyay et al., WACV 2018, eq. 5, 7 and 19.
    GradCamPlusPlus,
    /// `sum [g] A`: Jiang et al., TIP 2021, eq. 6 and 7.
    LayerCam,
    /// `sum [g A]`: pytorch-grad-cam's. Equal to Layer-CAM here.
    GradCamElementWise,
    /// `sum w A`, `w[c] = (y - y without channel c) / y`: Desai and Ramaswamy, WACV 2020, eq. 2. Without channel `c` a logit is
    /// smaller by `W[c] a[c]`, so that no forward pass is needed.
    AblationCam,
    /// The first principal component of the features' channels: Muhammad and Yeasin, IJCNN 2020. No class takes part but in the
    /// sign, which is such that the map correlates with the class activation map.
    EigenCam,
    /// The first principal component of `g A`: pytorch-grad-cam's. Sign as above.
    EigenGradCam,
    /// `sum g A` of the score less 0.6 times the mean of the three scores nearest to it: Zhang et al., CVPR 2025.
    FinerCam,
    /// `sum (g - H A / 2) A`, `H` the score's second derivative by `A`: Cai, 2025. Equal to Grad-CAM for a logit.
    ShapleyCam,
    /// `sum w A`, `w[c]` the share of positions above mean + 2 standard deviations: Fuad et al., IPTA 2020. No class takes part.
    Fem,
    /// `sum w A`, `w` uniform in -1..1, always the same: what a method has to beat. No class takes part.
    RandomCam,
    /// `sum w A`, `w` the softmax over channels of the score that the image has when all but what the channel shows is dimmed: Wang
    /// et al., CVPR Workshops 2020, algorithm 1. A forward pass for every channel that is not constant.
    ScoreCam,
    /// Score-CAM with the mean score under noise on the mask: Wang et al., arXiv 2006.14255. 35 passes a channel.
    SsCam,
    /// Score-CAM with the mean score over shares of the mask from nothing to all: Naidu et al., arXiv 2010.03023. 10 passes a
    /// channel.
    IsCam,
}

impl_choice!(Method, "method");

/// Why a method and what it was asked for do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// A method that looks at no class was asked about more than one, or about something other than the logit.
    #[error(
        "method `{method}` looks at no class, so it cannot tell classes apart: ask for one class and its logit, or take gradcam"
    )]
    NoClass {
        /// The method.
        method: Method,
    },
    /// Finer-CAM makes a contrast of its own.
    #[error("method `{method}` compares one class's logit with its nearest; ask for one class and its logit, or take gradcam")]
    OwnContrast {
        /// The method.
        method: Method,
    },
    /// Finer-CAM with nothing to compare.
    #[error("method `{method}` needs a network of two classes or more, this one has {classes}")]
    OneClass {
        /// The method.
        method: Method,
        /// Classes of the network.
        classes: usize,
    },
    /// Smoothing of a map that is a principal component itself.
    #[error("method `{method}` is a principal component already: leave it out, or leave out the smoothing by one")]
    EigenTwice {
        /// The method.
        method: Method,
    },
    /// Smoothing that a library does not have, at all or for the method.
    #[error("{library} does not smooth maps of `{method}` so; leave out the smoothing or the library")]
    NotSmoothed {
        /// The library to be reproduced.
        library: Library,
        /// The method.
        method: Method,
    },
    /// A method whose map one forward pass does not tell.
    #[error(
        "method `{method}` weighs channels by the scores of masked images, which take passes of their own: ask `Engine::explain`, or \
         take gradcam"
    )]
    Masks {
        /// The method.
        method: Method,
    },
    /// A target of another network.
    #[error("class {class} is to be explained, but the classifier has {classes} classes, from 0 on")]
    NoSuchClass {
        /// Its index.
        class: usize,
        /// Classes that there are.
        classes: usize,
    },
    /// Features or logits of another network, or of no image.
    #[error(
        "image {image} of features {features:?} (N H W C) with {logits} logits is to be explained, but the classifier has {classes} \
         classes of {channels} channels"
    )]
    OtherHead {
        /// Which image.
        image: usize,
        /// Shape of the features.
        features: [usize; 4],
        /// Number of logits.
        logits: usize,
        /// Channels that the classifier weighs.
        channels: usize,
        /// Classes that it has.
        classes: usize,
    },
    /// A library without the method.
    #[error("{library} has no method `{method}`; it has {}", .library.methods().iter().map(|m| m.name()).collect::<Vec<_>>().join(", "))]
    NotOffered {
        /// The library to be reproduced.
        library: Library,
        /// The method.
        method: Method,
    },
}

impl Method {
    /// Every method, in the order shown to users.
    pub const ALL: &'static [Self] = &[
        Self::Cam,
        Self::GradCam,
        Self::HiResCam,
        Self::XGradCam,
        Self::GradCamPlusPlus,
        Self::LayerCam,
        Self::GradCamElementWise,
        Self::AblationCam,
        Self::EigenCam,
        Self::EigenGradCam,
        Self::FinerCam,
        Self::ShapleyCam,
        Self::Fem,
        Self::RandomCam,
        Self::ScoreCam,
        Self::SsCam,
        Self::IsCam,
    ];

    /// Those that one forward pass is enough for: all but the ones that score masked images, in the same order.
    pub const ONE_PASS: &'static [Self] = Self::ALL.split_at(Self::ALL.len() - 3).0;

    /// The spelling on the command line and in manifests: pytorch-grad-cam's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cam => "cam",
            Self::GradCam => "gradcam",
            Self::HiResCam => "hirescam",
            Self::XGradCam => "xgradcam",
            Self::GradCamPlusPlus => "gradcam++",
            Self::LayerCam => "layercam",
            Self::GradCamElementWise => "gradcamelementwise",
            Self::AblationCam => "ablationcam",
            Self::EigenCam => "eigencam",
            Self::EigenGradCam => "eigengradcam",
            Self::FinerCam => "finercam",
            Self::ShapleyCam => "shapleycam",
            Self::Fem => "fem",
            Self::RandomCam => "randomcam",
            Self::ScoreCam => "scorecam",
            Self::SsCam => "sscam",
            Self::IsCam => "iscam",
        }
    }

    /// How its map is shown unless the user says otherwise: with the ReLU at the end wherever the method's paper has one.
    pub fn normalisation(self) -> Normalisation {
        match self {
            Self::Cam => Normalisation::MinMax,
            _ => Normalisation::ReluMinMax,
        }
    }

    /// Whether it scores masked images, so that [`crate::Engine`] alone can compute its map, from many forward passes.
    pub fn masks(self) -> bool {
        matches!(self, Self::ScoreCam | Self::SsCam | Self::IsCam)
    }

    /// Whether the map depends on the class.
    pub fn looks_at_classes(self) -> bool {
        !matches!(self, Self::EigenCam | Self::Fem | Self::RandomCam)
    }

    /// Whether the method can explain `target` in a network of `classes` classes, by `library`'s formulas if one is named.
    ///
    /// # Errors
    /// [`MethodError`] says why not.
    pub fn serves(self, target: &Target, classes: usize, library: Option<Library>) -> Result<(), MethodError> {
        if let Some(library) = library
            && !library.methods().contains(&self)
        {
            return Err(MethodError::NotOffered { library, method: self });
        }
        let plain = target.class().is_some() && target.score() == Score::Logit;
        match self {
            Self::FinerCam if !plain => Err(MethodError::OwnContrast { method: self }),
            Self::FinerCam if classes < 2 => Err(MethodError::OneClass { method: self, classes }),
            _ if !self.looks_at_classes() && !plain => Err(MethodError::NoClass { method: self }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let error = "gradcamm".parse::<Method>().unwrap_err().to_string();
        assert!(error.starts_with("unknown method `gradcamm`, did you mean `gradcam`?"), "{error}");
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(*method));
            assert_eq!(method.masks(), !Method::ONE_PASS.contains(method));
        }
    }
}
