//! Maps at the size of what the network saw, ready to be shown.

use half::f16;

use super::{Map, Normalisation};

/// How a map becomes a picture's worth of values: up-sampled as [`Map::upsample`] does, then normalised by its own range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enlarge {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// From values to `0..=1`.
    pub normalisation: Normalisation,
    /// What the values are stored in.
    pub levels: Levels,
}

/// What enlarged values are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Levels {
    /// The values.
    F32,
    /// The values, rounded.
    F16,
    /// Entries of a colormap: `trunc(256 v)`, the ends for values beyond them, 0 for NaN.
    U8,
}

impl Levels {
    /// How kernels' names spell it.
    #[cfg(feature = "cuda")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U8 => "u8",
        }
    }
}

/// An enlarged map `[h, w]`, row after row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Enlarged {
    /// Values.
    F32(Vec<f32>),
    /// Values, rounded.
    F16(Vec<f16>),
    /// Entries of a colormap.
    U8(Vec<u8>),
}

impl Enlarge {
    /// Enlarges `map`. One with a value that is not finite has no range, and becomes NaN throughout unless it is left alone.
    pub fn apply(&self, map: &Map) -> Enlarged {
        let map = map.upsample(self.h, self.w);
        let values = match (map.normalise(self.normalisation), self.normalisation) {
            (Ok(shown), _) => shown.data().to_vec(),
            (Err(_), Normalisation::None) => map.data().to_vec(),
            (Err(_), _) => vec![f32::NAN; map.data().len()],
        };
        match self.levels {
            Levels::F32 => Enlarged::F32(values),
            Levels::F16 => Enlarged::F16(values.into_iter().map(f16::from_f32).collect()),
            // The conversion cuts the fraction off, keeps to the range and turns NaN to 0.
            Levels::U8 => Enlarged::U8(values.into_iter().map(|value| (value * 256.0) as u8).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_a_ramp() {
        let map = Map::new(1, 4, vec![0.0, 1.0, 2.0, 4.0]);
        let enlarged = |normalisation, levels| Enlarge { h: 1, w: 4, normalisation, levels }.apply(&map);
        assert_eq!(enlarged(Normalisation::MinMax, Levels::U8), Enlarged::U8(vec![0, 64, 128, 255]));
        assert_eq!(enlarged(Normalisation::None, Levels::F32), Enlarged::F32(vec![0.0, 1.0, 2.0, 4.0]));
        let bad = Enlarge { h: 1, w: 2, normalisation: Normalisation::MinMax, levels: Levels::U8 };
        assert_eq!(bad.apply(&Map::new(1, 2, vec![f32::NAN, 1.0])), Enlarged::U8(vec![0, 0]));
    }
}
