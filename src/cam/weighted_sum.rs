//! The class activation map itself.

use super::Map;
use crate::tensor::Nhwc;

/// Class activation map (Zhou et al. 2016, eq. 2): `M[y, x] = sum_c weights[c] * features[y, x, c]`, signed, without bias.
///
/// `features` is `layer4`, `[N, h, w, C]`, `image` picks one of the batch, `weights` `[C]` is the class's row of `fc`; returns
/// `[h, w]`. With mean pooling the map's mean plus the class's bias is the class's logit.
///
/// # Panics
/// If `weights` has another length than `features` has channels.
pub fn class_activation_map(features: &Nhwc, image: usize, weights: &[f32]) -> Map {
    let [_, h, w, c] = features.shape();
    assert_eq!(weights.len(), c, "one weight per channel");
    let dot = |cell: &[f32]| cell.iter().zip(weights).map(|(&a, &w)| f64::from(a) * f64::from(w)).sum::<f64>() as f32;
    Map::new(h, w, features.image(image).chunks_exact(c).map(dot).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_image_and_weighs_each_channel() {
        let features = Nhwc::new([2, 1, 2, 3], (0..12).map(|v| v as f32).collect());
        let map = class_activation_map(&features, 1, &[1.0, -10.0, 100.0]);
        assert_eq!(map, Map::new(1, 2, vec![6.0 - 70.0 + 800.0, 9.0 - 100.0 + 1100.0]));
    }
}
