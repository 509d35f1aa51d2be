//! The changed images of one image that several maps are measured by, each seen once.

use super::confidence::Masked;
use super::curve::{Steps, Way};
use super::order::Order;
use super::probe::{Asked, Trial};
use super::road::Removals;
use super::{Baseline, Confidence, Measured, Metric, Options, Probe};
use crate::Error;
use crate::cam::{Library, Map, MapError, Normalisation, Target};
use crate::engine::ClassMap;

/// A map at the size of the image.
pub(super) struct Shown {
    /// What pixels are ranked and objects are found by.
    pub map: Map,
    /// What makes it a mask.
    pub normalisation: Normalisation,
}

impl Shown {
    /// The raw, signed map, enlarged to `h` x `w`; or what `library` shows.
    pub fn new(map: &ClassMap, library: Option<Library>, (h, w): (usize, usize)) -> Result<Self, MapError> {
        map.map.stats()?; // whatever is asked: what is no map has no measure
        Ok(match library {
            None => Self { map: map.map.upsample(h, w), normalisation: map.method.normalisation() },
            Some(library) => {
                let parts = if map.parts.is_empty() { std::slice::from_ref(&map.map) } else { &map.parts };
                Self { map: library.show(map.method, parts, h, w)?.1, normalisation: Normalisation::None }
            }
        })
    }
}

/// What the changed images are made from.
pub(super) struct Plan {
    /// Images without anything of the image left, `[h, w, 3]`, where they are used.
    baselines: Vec<Blank>,
    insertion: Option<usize>,
    deletion: Option<usize>,
    /// For each map, the order of its pixels and its mask, where they are used.
    maps: Vec<(Option<Order>, Option<Masked>)>,
    size: (usize, usize),
    road: bool,
    options: Options,
}

impl Plan {
    pub fn new(probe: &Probe<'_>, shown: &[Shown], metrics: &[Metric], options: &Options) -> Result<Self, MapError> {
        let asked = |metric: Metric| metrics.contains(&metric);
        let mut baselines: Vec<Blank> = Vec::new();
        let mut place = |metric, baseline: Baseline| {
            asked(metric).then(|| {
                let found = baselines.iter().position(|blank| blank.baseline == baseline);
                found.unwrap_or_else(|| {
                    baselines.push(Blank { baseline, values: baseline.of(probe.image(), probe.size()) });
                    baselines.len() - 1
                })
            })
        };
        let insertion = place(Metric::Insertion, options.insertion);
        let deletion = place(Metric::Deletion, options.deletion);
        let road = asked(Metric::Road);
        let ranked = road || insertion.is_some() || deletion.is_some();
        let masked = asked(Metric::AverageDrop) || asked(Metric::Increase);
        let of_map = |shown: &Shown| {
            let order = ranked.then(|| Order::new(&shown.map)).transpose()?;
            let mask = masked.then(|| shown.map.normalise(shown.normalisation)).transpose()?;
            Ok((order, mask.map(|mask| Masked { mask })))
        };
        let maps = shown.iter().map(of_map).collect::<Result<_, _>>()?;
        Ok(Self { baselines, insertion, deletion, maps, size: probe.size(), road, options: options.clone() })
    }

    /// The changed images of map `at`.
    fn changes(&self, at: usize) -> Changes<'_> {
        let (order, masked) = &self.maps[at];
        let Options { steps, ref removed, noise, seed, .. } = self.options;
        let curve = |way, baseline: Option<usize>| {
            let (order, baseline) = order.as_ref().zip(baseline)?;
            Some(Steps { way, order, baseline: &self.baselines[baseline].values, steps })
        };
        let removals = |order| Removals { order, size: self.size, percents: removed, noise, seed };
        Changes {
            masked: masked.as_ref(),
            insertion: curve(Way::Insertion, self.insertion),
            deletion: curve(Way::Deletion, self.deletion),
            road: order.as_ref().filter(|_| self.road).map(removals),
        }
    }

    /// What the network makes of all changed images, by the scores that are asked of each map.
    ///
    /// # Errors
    /// As [`Probe::scores`].
    pub fn scores<'a>(&'a self, probe: &Probe<'_>, scores: &'a [Vec<&'a Target>]) -> Result<FoundScores<'a>, Error> {
        let mut all: Vec<&Target> = Vec::new();
        for &target in scores.iter().flatten() {
            if !all.contains(&target) {
                all.push(target);
            }
        }
        let changes: Vec<Changes<'_>> = (0..self.maps.len()).map(|at| self.changes(at)).collect();
        let mut asked: Vec<Asked<'_>> =
            self.baselines.iter().map(|blank| Asked { trial: blank as &dyn Trial, scores: &all }).collect();
        for (changes, scores) in changes.iter().zip(scores) {
            asked.extend(changes.trials().map(|trial| Asked { trial, scores }));
        }
        let mut found = probe.scores(&asked)?;
        let of_maps = found.split_off(self.baselines.len());
        Ok(FoundScores { plan: self, scores, blank: found, all, of_maps })
    }
}

/// What the network makes of the images of a [`Plan`]: for each trial, for each score, one number an image.
pub(super) struct FoundScores<'a> {
    plan: &'a Plan,
    scores: &'a [Vec<&'a Target>],
    all: Vec<&'a Target>,
    blank: Vec<Vec<Vec<f64>>>,
    of_maps: Vec<Vec<Vec<f64>>>,
}

impl FoundScores<'_> {
    /// The measures of map `at` by one of its scores, which the image as it is gives `intact` of.
    pub fn measured(&self, at: usize, score: &Target, intact: f64) -> Measured {
        let place = |scores: &[&Target]| scores.iter().position(|other| *other == score).unwrap_or_default(); // it is there
        let changes = self.plan.changes(at);
        let first: usize = (0..at).map(|before| self.plan.changes(before).trials().count()).sum();
        let mut trials = self.of_maps[first..].iter().map(|trial| trial[place(&self.scores[at])].as_slice());
        let mut next = || trials.next().unwrap_or_default(); // one for each trial
        let blank = |baseline: Option<usize>| baseline.map_or(0.0, |at| self.blank[at][place(&self.all)][0]);
        Measured {
            confidence: changes.masked.and_then(|_| Some(Confidence { intact, masked: *next().first()? })),
            insertion: changes.insertion.as_ref().map(|steps| steps.curve(intact, blank(self.plan.insertion), next())),
            deletion: changes.deletion.as_ref().map(|steps| steps.curve(intact, blank(self.plan.deletion), next())),
            road: changes.road.as_ref().map(|removals| removals.road(next())),
            ..Measured::default()
        }
    }
}

/// An image of which nothing is left.
struct Blank {
    baseline: Baseline,
    values: Vec<f32>,
}

impl Trial for Blank {
    fn count(&self) -> usize {
        1
    }

    fn make(&self, _: usize, _: &[f32], out: &mut [f32]) {
        out.copy_from_slice(&self.values);
    }
}

/// The changed images of one map.
struct Changes<'a> {
    masked: Option<&'a Masked>,
    insertion: Option<Steps<'a>>,
    deletion: Option<Steps<'a>>,
    road: Option<Removals<'a>>,
}

impl Changes<'_> {
    /// In the order of [`FoundScores::measured`].
    fn trials(&self) -> impl Iterator<Item = &dyn Trial> {
        fn trial<T: Trial>(trial: &Option<T>) -> Option<&dyn Trial> {
            trial.as_ref().map(|trial| trial as &dyn Trial)
        }
        let masked = self.masked.map(|masked| masked as &dyn Trial);
        [masked, trial(&self.insertion), trial(&self.deletion), trial(&self.road)].into_iter().flatten()
    }
}
