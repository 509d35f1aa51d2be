//! All measures of several maps of one image, in one go.

use serde::Serialize;

use super::changes::{Plan, Shown};
use super::{Baseline, Confidence, Curve, Locator, Metric, MetricsError, Probe, Road, Truth};
use crate::Error;
use crate::cam::{Library, MapError, PAPER_THRESHOLD, Target};
use crate::engine::ClassMap;
use crate::input::CropTransform;

/// What the measures leave open.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Options {
    /// Steps of the insertion and deletion curves. Default: 20.
    pub steps: usize,
    /// What insertion starts from. Default: the blurred image, as in the paper.
    pub insertion: Baseline,
    /// What deletion ends at. Default: zero, as in the paper.
    pub deletion: Baseline,
    /// Shares of pixels that ROAD removes, in percent. Default: 10 to 90 by tens, as in pytorch-grad-cam.
    pub removed: Vec<f64>,
    /// Standard deviation of ROAD's noise in the network's input. Default: 0.01, as in the paper's code.
    pub noise: f32,
    /// Which noise; each image has the same.
    pub seed: u64,
    /// Pixels of the original by which the pointing game may miss. Default: 15, as in the paper.
    pub tolerance: f64,
    /// Share of the map's greatest value for overlaps. Default: a fifth.
    pub threshold: f32,
    /// Overlap from which on MaxBoxAcc counts a hit. Default: 0.5.
    pub overlap: f64,
    /// Thresholds that MaxBoxAcc tries. Default: 100.
    pub levels: usize,
    /// Whose maps are measured, as that library shows them ([`Library::show`]): what it enlarged and normalised takes the place of
    /// the enlarged map, and is masked with as it is. The maps have to be of its formulas. Default: nobody's.
    pub library: Option<Library>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: 20,
            insertion: Baseline::Blur,
            deletion: Baseline::Zero,
            removed: (1..10).map(|tens| f64::from(10 * tens)).collect(),
            noise: 0.01,
            seed: 0,
            tolerance: 15.0,
            threshold: PAPER_THRESHOLD,
            overlap: 0.5,
            levels: 100,
            library: None,
        }
    }
}

/// What one map is worth; what was not asked for, or needs a truth that is not there, is absent.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// For average drop and increase.
    pub confidence: Option<Confidence>,
    /// The insertion curve.
    pub insertion: Option<Curve>,
    /// The deletion curve.
    pub deletion: Option<Curve>,
    /// ROAD's scores.
    pub road: Option<Road>,
    /// Whether the map points at the object.
    pub pointing: Option<bool>,
    /// Overlap of boxes.
    pub box_iou: Option<f64>,
    /// Overlaps of boxes at all thresholds.
    pub box_ious: Option<Vec<f64>>,
    /// Overlap of pixels.
    pub mask_iou: Option<f64>,
}

impl Measured {
    /// A measure as one number, shares as 0 to 1 and yes as 1. `None` for what is absent, and for MaxBoxAcc, which is a number of many
    /// maps ([`super::Summary`]).
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let yes = |yes: bool| f64::from(u8::from(yes));
        match metric {
            Metric::AverageDrop => self.confidence.map(|confidence| confidence.drop()),
            Metric::Increase => self.confidence.map(|confidence| yes(confidence.increased())),
            Metric::Insertion => self.insertion.as_ref().map(Curve::area),
            Metric::Deletion => self.deletion.as_ref().map(Curve::area),
            Metric::Road => self.road.as_ref().map(Road::combined),
            Metric::Pointing => self.pointing.map(yes),
            Metric::BoxIou => self.box_iou,
            Metric::MaxBoxAcc => None,
            Metric::MaskIou => self.mask_iou,
        }
    }
}

/// A map to be measured.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The map, of the probe's image.
    pub map: &'a ClassMap,
    /// The score that it is measured by; the papers' measures are of the probability of the map's class.
    pub target: Target,
    /// Where the object is; without it, the measures that ask for it are left out.
    pub truth: Option<&'a Truth>,
}

/// Measures `maps`, all of them by the score of `probe`: [`measure_each`] with this score and `truth` for each.
///
/// # Errors
/// As [`measure_each`].
pub fn measure(
    probe: &Probe<'_>,
    maps: &[&ClassMap],
    truth: Option<&Truth>,
    metrics: &[Metric],
    options: &Options,
) -> Result<Vec<Measured>, Error> {
    let subjects: Vec<_> = maps.iter().map(|&map| Subject { map, target: probe.target().clone(), truth }).collect();
    measure_each(probe, &subjects, metrics, options)
}

/// Measures maps of the image of `probe`, by several methods and of several classes perhaps, with one run of the engine over all
/// changed images, each of which is seen once, whatever the number of maps and scores that ask for it. Maps are masked and
/// normalised as their methods say ([`crate::cam::Method::normalisation`]), or as the library of `options` does.
///
/// # Errors
/// [`MetricsError`] for a map that is empty or not finite, for options without sense, and for a probe that was told to stop;
/// [`crate::cam::MethodError::NoSuchClass`] for a class that the network does not have; else as [`crate::Engine::explain`].
pub fn measure_each(
    probe: &Probe<'_>,
    subjects: &[Subject<'_>],
    metrics: &[Metric],
    options: &Options,
) -> Result<Vec<Measured>, Error> {
    if let Some(&found) = options.removed.iter().find(|percent| !(**percent > 0.0 && **percent < 100.0)) {
        return Err(MetricsError::Percent { found }.into());
    }
    subjects.iter().try_for_each(|subject| probe.has(&subject.target))?;
    let (distinct, places) = distinct(subjects);
    let shown = |map: &&ClassMap| Shown::new(map, options.library, probe.size());
    let shown = distinct.iter().map(shown).collect::<Result<Vec<_>, _>>().map_err(MetricsError::from)?;
    let mut measured = changed(probe, &shown, subjects, &places, metrics, options)?;
    for ((subject, &place), measured) in subjects.iter().zip(&places).zip(&mut measured) {
        if let Some(truth) = subject.truth.filter(|_| metrics.iter().any(|metric| metric.needs_truth())) {
            locate(&shown[place], probe.transform(), truth, metrics, options, measured).map_err(MetricsError::from)?;
        }
    }
    Ok(measured)
}

/// The maps without those that are equal to one before them, as those of several methods are, and for each subject its map's place
/// there.
fn distinct<'a>(subjects: &[Subject<'a>]) -> (Vec<&'a ClassMap>, Vec<usize>) {
    let mut distinct: Vec<&ClassMap> = Vec::new();
    let mut places = Vec::with_capacity(subjects.len());
    for Subject { map, .. } in subjects {
        let same = |other: &&ClassMap| {
            let shown = |map: &ClassMap| map.method.normalisation();
            other.map == map.map && other.parts == map.parts && shown(other) == shown(map)
        };
        let place = distinct.iter().position(same).unwrap_or(distinct.len());
        if place == distinct.len() {
            distinct.push(map);
        }
        places.push(place);
    }
    (distinct, places)
}

/// The measures by place.
fn locate(
    shown: &Shown,
    transform: &CropTransform,
    truth: &Truth,
    metrics: &[Metric],
    options: &Options,
    measured: &mut Measured,
) -> Result<(), MapError> {
    let locator = Locator::new(&shown.map, transform)?;
    for metric in metrics {
        match metric {
            Metric::Pointing => measured.pointing = Some(locator.points_at(truth, options.tolerance)?),
            Metric::BoxIou => measured.box_iou = Some(locator.box_iou(truth, options.threshold)?),
            Metric::MaxBoxAcc => {
                measured.box_ious = Some(locator.box_ious(truth, shown.normalisation, options.levels)?);
            }
            Metric::MaskIou => measured.mask_iou = locator.mask_iou(truth, options.threshold)?,
            _ => {}
        }
    }
    Ok(())
}

/// The measures by changed images, for each subject. `places`: which of `shown` is its map.
fn changed(
    probe: &Probe<'_>,
    shown: &[Shown],
    subjects: &[Subject<'_>],
    places: &[usize],
    metrics: &[Metric],
    options: &Options,
) -> Result<Vec<Measured>, Error> {
    let mut scores: Vec<Vec<&Target>> = vec![Vec::new(); shown.len()]; // of each map, each once
    for (subject, &place) in subjects.iter().zip(places) {
        if !scores[place].contains(&&subject.target) {
            scores[place].push(&subject.target);
        }
    }
    let plan = Plan::new(probe, shown, metrics, options).map_err(MetricsError::from)?;
    let found = plan.scores(probe, &scores)?;
    let measured =
        |(subject, &place): (&Subject<'_>, &usize)| found.measured(place, &subject.target, probe.intact_of(&subject.target));
    Ok(subjects.iter().zip(places).map(measured).collect())
}
