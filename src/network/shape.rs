//! Geometry of a convolution, computed here and nowhere else.

use super::NetworkError;

/// The most elements that one activation may have: keeps every index and byte count far inside 64 bits, and every index of
/// one image inside the 31 bits that kernels count in.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// A window that slides over an image: what convolutions and poolings share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows of the window (R) and columns (S).
    pub size: (usize, usize),
    /// Step in both directions.
    pub stride: usize,
    /// Rows and columns of border on every side.
    pub pad: usize,
}

impl Window {
    /// Output extent (P or Q) along a side of `extent` for a window side of `size`; `None` where the window does not fit or
    /// the stride is 0.
    fn output(&self, extent: usize, size: usize) -> Option<usize> {
        let room = extent.checked_add(self.pad.checked_mul(2)?)?.checked_sub(size)?;
        (size > 0).then(|| room.checked_div(self.stride))?.map(|steps| steps + 1)
    }

    /// Output extents `(P, Q)` for an image `(H, W)`.
    pub fn outputs(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        Some((self.output(h, self.size.0)?, self.output(w, self.size.1)?))
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (r, s) = self.size;
        write!(f, "{r}x{s} with stride {} and border {}", self.stride, self.pad)
    }
}

/// 2-D convolution problem: image `N H W C`, filter `K R S C`, output `N P Q K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    k: usize,
    window: Window,
    p: usize,
    q: usize,
}

impl Conv2dShape {
    /// Rejects empty extents, `stride == 0`, filters larger than the padded image, and problems beyond [`MAX_ELEMENTS`].
    pub fn new([n, h, w, c]: [usize; 4], k: usize, window: Window) -> Result<Self, NetworkError> {
        let fault = |reason| NetworkError::Geometry { image: [n, h, w, c], k, window, reason };
        if [n, h, w, c, k].contains(&0) {
            return Err(fault("an extent is 0"));
        }
        let (p, q) = window.outputs(h, w).ok_or_else(|| fault("the window does not fit the padded image, or does not move"))?;
        let fits = |factors: &[usize]| {
            factors.iter().try_fold(1usize, |all, &f| all.checked_mul(f)).is_some_and(|all| all <= MAX_ELEMENTS)
        };
        if !fits(&[n, h, w, c]) || !fits(&[n, p, q, k]) || !fits(&[k, window.size.0, window.size.1, c]) {
            return Err(fault("more than 2^31 elements; use a smaller image or batch"));
        }
        Ok(Self { n, h, w, c, k, window, p, q })
    }

    /// Images.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Input rows.
    pub fn h(&self) -> usize {
        self.h
    }
    /// Input columns.
    pub fn w(&self) -> usize {
        self.w
    }
    /// Input channels.
    pub fn c(&self) -> usize {
        self.c
    }
    /// Output channels.
    pub fn k(&self) -> usize {
        self.k
    }
    /// Filter rows.
    pub fn r(&self) -> usize {
        self.window.size.0
    }
    /// Filter columns.
    pub fn s(&self) -> usize {
        self.window.size.1
    }
    /// Step.
    pub fn stride(&self) -> usize {
        self.window.stride
    }
    /// Border.
    pub fn pad(&self) -> usize {
        self.window.pad
    }
    /// Output rows.
    pub fn p(&self) -> usize {
        self.p
    }
    /// Output columns.
    pub fn q(&self) -> usize {
        self.q
    }
    /// Output activations, `[N, P, Q, K]`.
    pub fn output(&self) -> [usize; 4] {
        [self.n, self.p, self.q, self.k]
    }
    /// Rows of the implicit GEMM, `N*P*Q`.
    pub fn gemm_m(&self) -> usize {
        self.n * self.p * self.q
    }
    /// Columns of the implicit GEMM, `K`.
    pub fn gemm_n(&self) -> usize {
        self.k
    }
    /// Depth of the implicit GEMM, `R*S*C`.
    pub fn gemm_k(&self) -> usize {
        self.r() * self.s() * self.c
    }
    /// Floating-point operations: 2 per multiply-add, taps on the border included.
    pub fn flops(&self) -> u64 {
        2 * self.gemm_m() as u64 * self.gemm_n() as u64 * self.gemm_k() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEM: Window = Window { size: (7, 7), stride: 2, pad: 3 };

    #[test]
    fn the_stem_of_resnet18() {
        let shape = Conv2dShape::new([1, 224, 224, 3], 64, STEM).unwrap();
        assert_eq!(shape.output(), [1, 112, 112, 64]);
        assert_eq!((shape.gemm_m(), shape.gemm_n(), shape.gemm_k()), (12544, 64, 147));
        assert_eq!(shape.flops(), 2 * 118_013_952);
    }

    #[test]
    fn every_letter_is_kept_apart() {
        let shape = Conv2dShape::new([2, 11, 13, 5], 7, Window { size: (3, 4), stride: 2, pad: 1 }).unwrap();
        assert_eq!([shape.n(), shape.h(), shape.w(), shape.c(), shape.k(), shape.r(), shape.s()], [2, 11, 13, 5, 7, 3, 4]);
        assert_eq!((shape.p(), shape.q()), (6, 6));
    }

    #[test]
    fn outputs_agree_with_counting() {
        for extent in 1..20 {
            for size in 1..8 {
                for stride in 1..4 {
                    for pad in 0..4 {
                        let counted = (0..).map(|i| i * stride).take_while(|start| start + size <= extent + 2 * pad).count();
                        let window = Window { size: (size, 1), stride, pad };
                        assert_eq!(
                            window.output(extent, size),
                            (counted > 0).then_some(counted),
                            "{extent} {size} {stride} {pad}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_problems_are_refused() {
        let fault = |image, k, window| Conv2dShape::new(image, k, window).unwrap_err().to_string();
        assert!(fault([1, 2, 9, 3], 8, Window { size: (5, 5), stride: 1, pad: 1 }).contains("does not fit"));
        assert!(fault([1, 8, 8, 3], 8, Window { size: (3, 3), stride: 0, pad: 1 }).contains("does not move"));
        assert!(fault([1, 8, 8, 0], 8, STEM).contains("extent is 0"));
        assert!(fault([1, 1 << 20, 1 << 20, 3], 8, STEM).contains("2^31"));
        assert!(fault([1, usize::MAX, 8, 3], 8, STEM).contains("does not fit"));
        assert!(fault([1, 8, 8, 3], 8, Window { pad: usize::MAX, ..STEM }).contains("7x7 with stride 2 and border 1844"));
    }
}
