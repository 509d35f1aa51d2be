//! matplotlib's jet, from its piecewise linear definition: the seed view needs the colours before they are cut to bytes.

/// Straight pieces of one channel: `(position, value)`, positions from 0 to 1.
type Channel = &'static [(f64, f64)];

const RED: Channel = &[(0.0, 0.0), (0.35, 0.0), (0.66, 1.0), (0.89, 1.0), (1.0, 0.5)];
const GREEN: Channel = &[(0.0, 0.0), (0.125, 0.0), (0.375, 1.0), (0.64, 1.0), (0.91, 0.0), (1.0, 0.0)];
const BLUE: Channel = &[(0.0, 0.5), (0.11, 1.0), (0.34, 1.0), (0.65, 0.0), (1.0, 0.0)];

/// matplotlib's jet before it is cut to bytes, `0.0..=1.0`.
pub(super) static MATPLOTLIB: [[f64; 3]; 256] = matplotlib();

const fn matplotlib() -> [[f64; 3]; 256] {
    let mut table = [[0.0; 3]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [piecewise(RED, i), piecewise(GREEN, i), piecewise(BLUE, i)];
        i += 1;
    }
    table
}

/// Value of entry `i` of 256, whose position is `i / 255`.
const fn piecewise(channel: Channel, i: usize) -> f64 {
    let x = i as f64;
    let mut piece = 1;
    while channel[piece].0 * 255.0 < x {
        piece += 1;
    }
    let ((x0, y0), (x1, y1)) = (channel[piece - 1], channel[piece]);
    y0 + (y1 - y0) * ((x - x0 * 255.0) / (x1 * 255.0 - x0 * 255.0))
}

/// matplotlib cuts off the fraction, hence 127 at the ends.
pub(super) const fn matplotlib_bytes() -> [[u8; 3]; 256] {
    let (levels, mut table) = (matplotlib(), [[0; 3]; 256]);
    let mut i = 0;
    while i < 256 {
        let [r, g, b] = levels[i];
        table[i] = [(r * 255.0) as u8, (g * 255.0) as u8, (b * 255.0) as u8];
        i += 1;
    }
    table
}
