//! Colormaps: 256 colours each.

use super::jet;
use crate::cam::choice::impl_choice;

/// How a value in `0..=1` becomes a colour. Every map is a table of 256 colours, those of matplotlib and OpenCV byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Colormap {
    /// matplotlib's `jet`, the colours of the CAM literature.
    #[default]
    Jet,
    /// OpenCV's `COLORMAP_JET`, which is Octave's and differs from matplotlib's.
    JetOpencv,
    /// Google's `turbo`, as matplotlib has it: like jet, without its false edges.
    Turbo,
    /// matplotlib's `viridis`: perceptually even, safe for colour-blind readers.
    Viridis,
    /// matplotlib's `inferno`.
    Inferno,
    /// matplotlib's `magma`.
    Magma,
    /// Black to white, entry `i` being grey `i` (matplotlib's `gray` skips some greys by rounding).
    Gray,
}

impl_choice!(Colormap, "colormap");

/// 256 colours, RGB.
pub type Table = [[u8; 3]; 256];

static JET: Table = jet::matplotlib_bytes();
static GRAY: Table = gray();
static JET_OPENCV: Table = colors(include_bytes!("tables/jet-opencv.bin"));
static TURBO: Table = colors(include_bytes!("tables/turbo.bin"));
static VIRIDIS: Table = colors(include_bytes!("tables/viridis.bin"));
static INFERNO: Table = colors(include_bytes!("tables/inferno.bin"));
static MAGMA: Table = colors(include_bytes!("tables/magma.bin"));

impl Colormap {
    /// Every colormap, in the order shown to users.
    pub const ALL: &'static [Self] =
        &[Self::Jet, Self::JetOpencv, Self::Turbo, Self::Viridis, Self::Inferno, Self::Magma, Self::Gray];

    /// The spelling on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jet => "jet",
            Self::JetOpencv => "jet-opencv",
            Self::Turbo => "turbo",
            Self::Viridis => "viridis",
            Self::Inferno => "inferno",
            Self::Magma => "magma",
            Self::Gray => "gray",
        }
    }

    /// The 256 colours, low values first.
    pub fn table(self) -> &'static Table {
        match self {
            Self::Jet => &JET,
            Self::JetOpencv => &JET_OPENCV,
            Self::Turbo => &TURBO,
            Self::Viridis => &VIRIDIS,
            Self::Inferno => &INFERNO,
            Self::Magma => &MAGMA,
            Self::Gray => &GRAY,
        }
    }

    /// The colour of a value: matplotlib's rule, `trunc(256 v)` with 1 the last entry. Values outside `0..=1` take the nearer
    /// end; there is no colour for NaN.
    pub fn color(self, value: f32) -> Option<[u8; 3]> {
        (!value.is_nan()).then(|| self.table()[index(value)])
    }
}

/// Table entry of a value that is not NaN.
pub(super) fn index(value: f32) -> usize {
    // The cast saturates: negative values give 0.
    ((value * 256.0) as usize).min(255)
}

const fn colors(bytes: &[u8; 768]) -> Table {
    let mut table = [[0; 3]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2]];
        i += 1;
    }
    table
}

const fn gray() -> Table {
    let mut table = [[0; 3]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [i as u8; 3];
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_in_the_order_of_their_declaration() {
        assert!(Colormap::ALL.iter().enumerate().all(|(index, &colormap)| colormap as usize == index));
    }
}
