//! The first principal component of weighted features.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par, Side};

use super::super::Evidence;

/// The projection of each position's channels, each channel times its weight and less its mean over the positions, on their first
/// principal component: `s u`, with `s` the largest singular value of the `[h w, C]` matrix and `u` its left vector. Zeros where
/// every channel is constant. The sign, which the component leaves open, is that of the projection's covariance with the map of
/// `row`; where that is 0, the cell of the largest magnitude is positive.
///
/// It is worked out in f64 from the eigenvectors of the smaller of the matrix's two Gram matrices.
pub(in crate::cam) fn first_component(evidence: &Evidence<'_>, weights: &[f64], row: &[f64]) -> Vec<f32> {
    let (features, means, channels) = (evidence.features(), evidence.means(), weights.len());
    let cells = evidence.h() * evidence.w();
    let mut matrix = Mat::from_fn(cells, channels, |i, k| weights[k] * (f64::from(features[i * channels + k]) - means[k]));
    // Squares of the smallest f32 are lost in f64's range, too: the largest entry becomes 1.
    let largest = matrix.col_iter().flat_map(|column| column.iter().copied()).fold(0.0, |m: f64, v| m.max(v.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return vec![if largest == 0.0 { 0.0 } else { f32::NAN }; cells];
    }
    matrix *= faer::Scale(largest.recip());
    let side = cells.min(channels);
    let mut gram = Mat::zeros(side, side);
    let (left, right) =
        if cells <= channels { (matrix.as_ref(), matrix.transpose()) } else { (matrix.transpose(), matrix.as_ref()) };
    matmul(gram.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    let Ok(eigen) = gram.self_adjoint_eigen(Side::Lower) else {
        return vec![f32::NAN; cells]; // only what is not finite keeps the iteration from its end
    };
    // Eigenvalues do not fall, so that the last is the largest.
    let first = eigen.U().col(side - 1);
    let projection: Vec<f64> = if cells <= channels {
        let singular = eigen.S()[side - 1].max(0.0).sqrt();
        first.iter().map(|u| u * singular * largest).collect()
    } else {
        (0..cells).map(|i| matrix.row(i).iter().zip(first.iter()).map(|(m, v)| m * v).sum::<f64>() * largest).collect()
    };
    let sign = sign(&projection, features, row);
    projection.into_iter().map(|value| (sign * value) as f32).collect()
}

/// 1 or -1.
fn sign(projection: &[f64], features: &[f32], row: &[f64]) -> f64 {
    // The projection's mean is 0, so that the sum of products is the covariance.
    let map = features.chunks_exact(row.len()).map(|cell| cell.iter().zip(row).map(|(&a, w)| f64::from(a) * w).sum::<f64>());
    let covariance: f64 = projection.iter().zip(map).map(|(p, m)| p * m).sum();
    let outstanding = projection.iter().copied().fold(0.0, |most: f64, v| if v.abs() > most.abs() { v } else { most });
    let decisive = if covariance == 0.0 { outstanding } else { covariance };
    if decisive < 0.0 { -1.0 } else { 1.0 }
}
