//! Smoother maps, as pytorch-grad-cam offers them for every method.

use super::{Library, Map, MapError, Method, MethodError};

/// What is done for a smoother map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Smoothing {
    /// The first principal component of the weighted features instead of their sum.
    pub eigen: bool,
    /// The mean of six maps: of the image and its mirror image, each in three strengths.
    pub augment: bool,
}

/// One of the images whose maps are averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variant {
    /// Left and right change places.
    pub mirrored: bool,
    /// What normalised values are multiplied by.
    pub factor: f32,
}

/// The image itself.
const PLAIN: Variant = Variant { mirrored: false, factor: 1.0 };

impl Smoothing {
    /// The images that maps are made of; the first is the image itself.
    pub(crate) fn variants(self) -> &'static [Variant] {
        const ALL: [Variant; 6] = [
            PLAIN,
            Variant { mirrored: false, factor: 0.9 },
            Variant { mirrored: false, factor: 1.1 },
            Variant { mirrored: true, factor: 1.0 },
            Variant { mirrored: true, factor: 0.9 },
            Variant { mirrored: true, factor: 1.1 },
        ];
        if self.augment { &ALL } else { &ALL[..1] }
    }

    /// Whether `method`'s maps can be smoothed so, as `library` does it if one is named.
    ///
    /// # Errors
    /// [`MethodError`] says why not.
    pub fn serves(self, method: Method, library: Option<Library>) -> Result<(), MethodError> {
        if self.eigen && matches!(method, Method::EigenCam | Method::EigenGradCam) {
            return Err(MethodError::EigenTwice { method });
        }
        match library {
            Some(library @ Library::TorchCam) if self != Self::default() => Err(MethodError::NotSmoothed { library, method }),
            // It takes the option, and leaves the map as it is.
            Some(library @ Library::GradCam) if self.eigen && method == Method::Fem => {
                Err(MethodError::NotSmoothed { library, method })
            }
            // It does not take it.
            Some(library @ Library::GradCam) if self.augment && method == Method::FinerCam => {
                Err(MethodError::NotSmoothed { library, method })
            }
            _ => Ok(()),
        }
    }
}

impl Variant {
    /// `image` `[h, w, 3]` changed so.
    pub(crate) fn apply(self, image: &[f32], w: usize, out: &mut [f32]) {
        let lines = image.chunks_exact((w * 3).max(1)).zip(out.chunks_exact_mut((w * 3).max(1)));
        for (from, to) in lines {
            for (x, to) in to.chunks_exact_mut(3).enumerate() {
                let from = &from[3 * if self.mirrored { w - 1 - x } else { x }..];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = self.factor * from);
            }
        }
    }

    /// The map of such an image, the right way round.
    pub(crate) fn undo(self, map: Map) -> Map {
        if !self.mirrored || map.w() == 0 {
            return map;
        }
        let data = map.data().chunks_exact(map.w()).flat_map(|row| row.iter().rev().copied()).collect();
        Map::new(map.h(), map.w(), data)
    }
}

/// The mean of maps of one size; of one map that map.
///
/// # Panics
/// Without a map, or if sizes differ.
pub(crate) fn mean(maps: &[Map]) -> Map {
    let (first, share) = (&maps[0], 1.0 / maps.len() as f64);
    let data = (0..first.data().len()).map(|at| (maps.iter().map(|map| f64::from(map.data()[at])).sum::<f64>() * share) as f32);
    Map::new(first.h(), first.w(), data.collect())
}

impl Library {
    /// A method's map as the library shows it, at the size of the features and at `h` x `w`: [`Library::normalise`], then
    /// [`Library::enlarge`]. Of several maps, those of one image's variants, the mean of what is shown of each.
    ///
    /// # Errors
    /// As [`Library::normalise`].
    ///
    /// # Panics
    /// Without a map, or if sizes differ.
    pub fn show(self, method: Method, maps: &[Map], h: usize, w: usize) -> Result<(Map, Map), MapError> {
        let cells = maps.iter().map(|map| self.normalise(method, map)).collect::<Result<Vec<_>, _>>()?;
        let shown: Vec<Map> = cells.iter().map(|map| self.enlarge(map, h, w)).collect();
        Ok((mean(&cells), mean(&shown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_undone() {
        let image: Vec<f32> = (0..2 * 5 * 3).map(|v| v as f32).collect();
        for variant in (Smoothing { eigen: false, augment: true }).variants() {
            let mut out = vec![f32::NAN; image.len()];
            variant.apply(&image, 5, &mut out);
            assert_eq!(out[3], variant.factor * if variant.mirrored { 9.0 } else { 3.0 });
            // The first channel as a map.
            let map = Map::new(2, 5, out.iter().step_by(3).map(|v| v / variant.factor).collect());
            for (got, want) in variant.undo(map).data().iter().zip(image.iter().step_by(3)) {
                assert!((got - want).abs() < 1e-5);
            }
        }
        assert_eq!(Smoothing::default().variants(), [PLAIN]);
        assert_eq!(mean(&[Map::new(1, 2, vec![1.0, 5.0]), Map::new(1, 2, vec![2.0, -1.0])]), Map::new(1, 2, vec![1.5, 2.0]));
    }
}
