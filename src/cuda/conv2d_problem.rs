//! What one launch of a convolution computes.

use crate::network::Conv2dShape;

/// A convolution, and with it, in the same sums, the 1x1 convolution of its residual block's shortcut (He et al. 2015, eq. 2):
/// a product of matrices whose depth is that of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dProblem {
    /// The convolution that ends the block's residual branch, or any other.
    pub shape: Conv2dShape,
    /// The shortcut's, `[N, H0, W0, C0]` to the same outputs.
    pub projection: Option<Conv2dShape>,
}

impl From<Conv2dShape> for Conv2dProblem {
    fn from(shape: Conv2dShape) -> Self {
        Self { shape, projection: None }
    }
}

impl From<&Conv2dShape> for Conv2dProblem {
    fn from(shape: &Conv2dShape) -> Self {
        Self::from(*shape)
    }
}

impl From<&Conv2dProblem> for Conv2dProblem {
    fn from(problem: &Conv2dProblem) -> Self {
        *problem
    }
}

impl Conv2dProblem {
    /// `N * P * Q`.
    pub fn gemm_m(&self) -> usize {
        self.shape.gemm_m()
    }

    /// `K`.
    pub fn gemm_n(&self) -> usize {
        self.shape.gemm_n()
    }

    /// `R * S * C`, and `C0` more with a projection.
    pub fn gemm_k(&self) -> usize {
        self.shape.gemm_k() + self.projection.map_or(0, |projection| projection.gemm_k())
    }

    /// Why the projection is none, or `Ok`.
    pub(super) fn check_projection(&self) -> Result<(), String> {
        let Some(projection) = self.projection else { return Ok(()) };
        let (r, s, pad) = (projection.r(), projection.s(), projection.pad());
        if (r, s, pad) != (1, 1, 0) {
            return Err(format!("a shortcut of {r}x{s} taps with a border of {pad}, expected 1x1 without one"));
        }
        if projection.output() != self.shape.output() {
            return Err(format!("a shortcut to {:?}, expected {:?}", projection.output(), self.shape.output()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Window;

    #[test]
    fn a_shortcut_is_one_tap_to_the_same_outputs() {
        let shape = |image, k, size, stride, pad| Conv2dShape::new(image, k, Window { size: (size, size), stride, pad }).unwrap();
        let conv = shape([2, 7, 5, 64], 24, 3, 1, 1);
        let with = |projection| Conv2dProblem { shape: conv, projection: Some(projection) };
        assert_eq!(Conv2dProblem::from(conv).check_projection(), Ok(()));
        let good = with(shape([2, 13, 10, 32], 24, 1, 2, 0));
        assert_eq!(good.check_projection(), Ok(()));
        assert_eq!((good.gemm_m(), good.gemm_n(), good.gemm_k()), (70, 24, 9 * 64 + 32));
        let refused = |projection| with(projection).check_projection().unwrap_err();
        assert_eq!(
            refused(shape([2, 7, 5, 64], 24, 3, 1, 1)),
            "a shortcut of 3x3 taps with a border of 1, expected 1x1 without one"
        );
        assert_eq!(refused(shape([2, 13, 10, 32], 16, 1, 2, 0)), "a shortcut to [2, 7, 5, 16], expected [2, 7, 5, 24]");
        assert_eq!(refused(shape([2, 15, 10, 32], 24, 1, 2, 0)), "a shortcut to [2, 8, 5, 24], expected [2, 7, 5, 24]");
    }
}
