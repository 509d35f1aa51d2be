//! All measures of several maps of one score, in one go.

use serde::Serialize;

use super::confidence::Masked;
use super::curve::{Steps, Way};
use super::order::Order;
use super::probe::Trial;
use super::road::Removals;
use super::{Baseline, Confidence, Curve, Locator, Metric, MetricsError, Probe, Road, Truth};
use crate::Error;
use crate::cam::{MapError, PAPER_THRESHOLD};
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

/// Measures `maps`, all of the score of `probe`, by several methods perhaps, with one run of the engine over all changed images.
/// Maps are masked and normalised as their methods say ([`crate::cam::Method::normalisation`]). Without `truth`, the measures that
/// need one are left out.
///
/// # Errors
/// [`MetricsError`] for a map that is empty or not finite and for options without sense; else as [`crate::Engine::explain`].
pub fn measure(
    probe: &Probe<'_>,
    maps: &[&ClassMap],
    truth: Option<&Truth>,
    metrics: &[Metric],
    options: &Options,
) -> Result<Vec<Measured>, Error> {
    if let Some(&found) = options.removed.iter().find(|percent| !(**percent > 0.0 && **percent < 100.0)) {
        return Err(MetricsError::Percent { found }.into());
    }
    let (distinct, places) = distinct(maps);
    let mut measured = changed(probe, &distinct, metrics, options)?;
    if let Some(truth) = truth.filter(|_| metrics.iter().any(|metric| metric.needs_truth())) {
        for (map, measured) in distinct.iter().zip(&mut measured) {
            locate(map, probe.transform(), truth, metrics, options, measured).map_err(MetricsError::from)?;
        }
    }
    Ok(places.into_iter().map(|place| measured[place].clone()).collect())
}

/// The maps without those that are equal to one before them, as those of several methods are, and for each map its place there.
fn distinct<'a>(maps: &[&'a ClassMap]) -> (Vec<&'a ClassMap>, Vec<usize>) {
    let mut distinct: Vec<&ClassMap> = Vec::new();
    let mut places = Vec::with_capacity(maps.len());
    for &map in maps {
        let same = |other: &&ClassMap| other.map == map.map && other.method.normalisation() == map.method.normalisation();
        places.push(distinct.iter().position(same).unwrap_or(distinct.len()));
        if places.last() == Some(&distinct.len()) {
            distinct.push(map);
        }
    }
    (distinct, places)
}

/// The measures by place.
fn locate(
    map: &ClassMap,
    transform: &CropTransform,
    truth: &Truth,
    metrics: &[Metric],
    options: &Options,
    measured: &mut Measured,
) -> Result<(), MapError> {
    let locator = Locator::new(&map.map, transform)?;
    for metric in metrics {
        match metric {
            Metric::Pointing => measured.pointing = Some(locator.points_at(truth, options.tolerance)?),
            Metric::BoxIou => measured.box_iou = Some(locator.box_iou(truth, options.threshold)?),
            Metric::MaxBoxAcc => {
                measured.box_ious = Some(locator.box_ious(truth, map.method.normalisation(), options.levels)?);
            }
            Metric::MaskIou => measured.mask_iou = locator.mask_iou(truth, options.threshold)?,
            _ => {}
        }
    }
    Ok(())
}

/// The measures by changed images.
fn changed(probe: &Probe<'_>, maps: &[&ClassMap], metrics: &[Metric], options: &Options) -> Result<Vec<Measured>, Error> {
    let plan = Plan::new(probe, maps, metrics, options).map_err(MetricsError::from)?;
    let changes: Vec<Changes<'_>> =
        (0..maps.len()).map(|at| plan.changes(at)).collect::<Result<_, _>>().map_err(MetricsError::from)?;
    let trials: Vec<&dyn Trial> = changes.iter().flat_map(Changes::trials).collect();
    let mut scores = probe.scores(&trials)?.into_iter();
    Ok(changes.iter().map(|changes| changes.measured(probe.intact(), &mut scores)).collect())
}

/// What the changed images of all maps are made from.
struct Plan<'a> {
    maps: &'a [&'a ClassMap],
    metrics: &'a [Metric],
    options: &'a Options,
    size: (usize, usize),
    /// For each map, if pixels are to be ranked; else none.
    orders: Vec<Order>,
    /// `[h, w, 3]`, where they are used.
    insertion: Option<Vec<f32>>,
    deletion: Option<Vec<f32>>,
}

impl<'a> Plan<'a> {
    fn new(probe: &Probe<'_>, maps: &'a [&'a ClassMap], metrics: &'a [Metric], options: &'a Options) -> Result<Self, MapError> {
        // Whatever is asked: what is no map has no measure.
        maps.iter().try_for_each(|map| map.map.stats().map(drop))?;
        let size = probe.size();
        let baseline = |metric, baseline: Baseline| metrics.contains(&metric).then(|| baseline.of(probe.image(), size));
        let (insertion, deletion) =
            (baseline(Metric::Insertion, options.insertion), baseline(Metric::Deletion, options.deletion));
        let ranked = insertion.is_some() || deletion.is_some() || metrics.contains(&Metric::Road);
        let orders = maps.iter().filter(|_| ranked).map(|map| Order::new(&map.map, size)).collect::<Result<_, _>>()?;
        Ok(Self { maps, metrics, options, size, orders, insertion, deletion })
    }

    /// The changed images of map `at`.
    fn changes(&self, at: usize) -> Result<Changes<'_>, MapError> {
        let (map, order, size) = (self.maps[at], self.orders.get(at), self.size);
        let Options { steps, ref removed, noise, seed, .. } = *self.options;
        let asked = |metric: Metric| self.metrics.contains(&metric);
        let mask = || map.map.upsample(size.0, size.1).normalise(map.method.normalisation());
        let masked = asked(Metric::AverageDrop) || asked(Metric::Increase);
        let curve = |way, baseline| order.zip(baseline).map(|(order, baseline)| Steps { way, order, baseline, steps });
        let road = order.filter(|_| asked(Metric::Road));
        Ok(Changes {
            masked: if masked { Some(Masked { mask: mask()? }) } else { None },
            insertion: curve(Way::Insertion, self.insertion.as_deref()),
            deletion: curve(Way::Deletion, self.deletion.as_deref()),
            road: road.map(|order| Removals { order, size, percents: removed, noise, seed }),
        })
    }
}

/// The changed images of one map.
struct Changes<'a> {
    masked: Option<Masked>,
    insertion: Option<Steps<'a>>,
    deletion: Option<Steps<'a>>,
    road: Option<Removals<'a>>,
}

impl Changes<'_> {
    fn trials(&self) -> impl Iterator<Item = &dyn Trial> {
        fn trial<T: Trial>(trial: &Option<T>) -> Option<&dyn Trial> {
            trial.as_ref().map(|trial| trial as &dyn Trial)
        }
        [trial(&self.masked), trial(&self.insertion), trial(&self.deletion), trial(&self.road)].into_iter().flatten()
    }

    /// Takes the scores of [`Changes::trials`] from `scores`.
    fn measured(&self, intact: f64, scores: &mut impl Iterator<Item = Vec<f64>>) -> Measured {
        let mut next = || scores.next().unwrap_or_default(); // one for each trial
        Measured {
            confidence: self.masked.as_ref().and_then(|_| Some(Confidence { intact, masked: *next().first()? })),
            insertion: self.insertion.as_ref().map(|steps| steps.curve(intact, &next())),
            deletion: self.deletion.as_ref().map(|steps| steps.curve(intact, &next())),
            road: self.road.as_ref().map(|removals| removals.road(&next())),
            ..Measured::default()
        }
    }
}
