//! The order in which `kernels/stem.cu` keeps its filter in registers.

use super::stem::GROUP;

/// Chunks of depth, of four words each, as the comment above `Taps` in the kernel lists them.
const CHUNKS: usize = 20;
/// Matrix instructions along the depth, two chunks each.
const STEPS: usize = CHUNKS / 2;
/// Pairs of channels that a lane has.
const PAIRS: usize = 4;
const LANES: usize = 32;
/// Extents of the filter.
const R: usize = 7;
const S: usize = 7;
const C: usize = 3;

/// Elements of a packed filter of `k` channels.
pub(super) fn len(k: usize) -> usize {
    k.div_ceil(GROUP) * GROUP * CHUNKS * 8
}

/// Packs `filter`, `[K, 7, 7, 3]`, as [`Stem`](super::Stem) wants it: `[group of 32 channels][register / 4][lane][register % 4][2]`,
/// with zeros where depth or channels are filled up.
///
/// # Panics
/// If its length is no multiple of `7 * 7 * 3`.
pub fn stem_filter(filter: &[f32]) -> Vec<f32> {
    assert!(filter.len().is_multiple_of(R * S * C), "{} values are no filters of 7x7x3", filter.len());
    let k = filter.len() / (R * S * C);
    let mut packed = Vec::with_capacity(len(k));
    for group in 0..k.div_ceil(GROUP) {
        for four in 0..STEPS * PAIRS * 2 / 4 {
            for lane in 0..LANES {
                for register in 4 * four..4 * four + 4 {
                    // Registers are counted as `b[step][n][half]` of the kernel. Column `column` of its product `n` is a lane's
                    // own channel in the accumulators, where each lane has two columns of every product next to each other.
                    let (step, n, half) = (register / (2 * PAIRS), register / 2 % PAIRS, register % 2);
                    let (column, t) = (lane / 4, lane % 4);
                    let channel = group * GROUP + column / 2 * 2 * PAIRS + 2 * n + column % 2;
                    for element in 0..2 {
                        let tap = tap(2 * step + half, t, element).filter(|_| channel < k);
                        packed.push(tap.map_or(0.0, |tap| filter[channel * R * S * C + tap]));
                    }
                }
            }
        }
    }
    packed
}

/// Which of a filter's `7 * 7 * 3` values meets element `element` of the word that lane `t` of four reads for `chunk`.
fn tap(chunk: usize, t: usize, element: usize) -> Option<usize> {
    let (row, word) = match chunk {
        0..14 => (chunk / 2, chunk % 2 * 4 + t),
        14..17 => (t, chunk - 14 + 8),
        _ => (4 + t, chunk - 17 + 8),
    };
    let within = 2 * word + element;
    (row < R && within < S * C).then_some(row * S * C + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_one_place() {
        for k in [8, 32, 40, 64] {
            let filter: Vec<f32> = (1..=k * R * S * C).map(|value| value as f32).collect();
            let mut packed = stem_filter(&filter);
            assert_eq!(packed.len(), len(k));
            packed.retain(|&value| value != 0.0);
            packed.sort_by(f32::total_cmp);
            assert_eq!(packed, filter, "{k} channels");
        }
    }
}
