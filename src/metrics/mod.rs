//! How good a map is: what the network makes of images that are changed by it, and whether it is where the object is.
//!
//! | [`Metric`] | better | of | source |
//! |---|---|---|---|
//! | average drop | lower | the image times the map | Chattopadhyay et al., WACV 2018, section 5.1 |
//! | increase in confidence | higher | the same | the same |
//! | insertion | higher | the area under the score while pixels come in | Petsiuk et al., BMVC 2018, section 4.2 |
//! | deletion | lower | the same while they go | the same |
//! | ROAD | higher | scores without the least and without the most relevant pixels | Rong et al., ICML 2022 |
//! | pointing game | higher | the greatest value's place | Zhang et al., IJCV 2018 |
//! | box overlap | higher | the box at a fifth of the greatest value | Zhou et al., CVPR 2016, section 3.2 |
//! | MaxBoxAcc | higher | boxes at all thresholds | Choi et al., CVPR 2020, eq. 2 and 3 |
//! | mask overlap | higher | the pixels above a fifth of the greatest value | the same rule for masks |
//!
//! The first five need no more than the network; all their changed images go through the engine in full batches, made where they are
//! read, so that memory does not depend on how many there are. What several maps or classes ask of one image is asked once. The others need to be told where objects are ([`Truth`]).
//!
//! ```
//! use camshaft::input::Picture;
//! use camshaft::metrics::{Metric, Options, Probe, measure};
//! use camshaft::{Engine, Request};
//!
//! let engine = Engine::builder().build()?;
//! let picture = Picture::open("assets/demo/meadow.jpg".as_ref())?;
//! let explanation = &engine.explain(&[picture], &Request::top(1))?[0];
//! let class = explanation.predictions[0].class;
//! let probe = Probe::new(&engine, explanation, class);
//! let measured = measure(&probe, &[&explanation.maps[0]], None, &[Metric::AverageDrop], &Options::default())?;
//! assert!(measured[0].value(Metric::AverageDrop).is_some_and(|drop| drop < 0.5));
//! # Ok::<(), camshaft::Error>(())
//! ```

mod annotation_forms;
mod annotations;
mod blur;
mod changes;
mod confidence;
mod curve;
mod grid;
mod impute;
mod locate;
mod mask_file;
mod measure;
mod metric;
mod multigrid;
mod order;
mod probe;
mod road;
mod summary;
mod truth;

pub use annotations::{Annotated, AnnotationError, Annotations, MaskFile, Object};
pub use confidence::Confidence;
pub use curve::{Baseline, Curve};
pub use locate::{BoxAccuracy, Locator};
pub use measure::{Measured, Options, Subject, measure, measure_each};
pub use metric::Metric;
pub use probe::Probe;
pub use road::Road;
pub use summary::Summary;
pub use truth::{Mask, Truth};

use crate::cam::{MapError, PixelBox};

/// Why a map cannot be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The map is empty or not finite.
    #[error(transparent)]
    Map(#[from] MapError),
    /// An object without a place.
    #[error("there is no pixel of the object, expected a box, or a mask with at least one pixel set")]
    NoExtent,
    /// A box that is no part of its picture.
    #[error(
        "the box from ({}, {}) to ({}, {}) has no area in a picture of {}x{} pixels, expected its left upper corner first, then its \
         right lower one", .found.x0, .found.y0, .found.x1, .found.y1, .original.0, .original.1
    )]
    Box {
        /// The box.
        found: PixelBox,
        /// Width and height of the picture.
        original: (u32, u32),
    },
    /// A mask of another picture.
    #[error(
        "the mask is {}x{} pixels, expected the picture's {}x{} (upright), or the {}x{} that the network saw",
        .found.0, .found.1, .original.0, .original.1, .crop.0, .crop.1
    )]
    MaskSize {
        /// Its width and height.
        found: (u32, u32),
        /// Those of the picture.
        original: (u32, u32),
        /// Those of the crop.
        crop: (u32, u32),
    },
    /// Somebody wanted it no longer, see [`Probe::stop_when`].
    #[error("the measurement was stopped")]
    Stopped,
    /// A share that leaves no pixel, or all of them.
    #[error("{found} % of the pixels are to be removed, expected more than 0 and less than 100")]
    Percent {
        /// What was asked for.
        found: f64,
    },
}
