//! What happens to a convolution's sums before they are stored.

use pulp::Simd;

/// What happens to a sum before it is stored.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// Added per output channel, `[K]`.
    pub bias: &'a [f32],
    /// Added per output element, NPQK.
    pub residual: Option<&'a [f32]>,
    /// Whether negative values become 0.
    pub relu: bool,
}

impl Epilogue<'_> {
    /// Finishes `y`, whose first element is element `start` of the whole output.
    pub(super) fn apply(&self, y: &mut [f32], start: usize) {
        let relu = |v: f32| if self.relu && v < 0.0 { 0.0 } else { v };
        let k = self.bias.len();
        match self.residual {
            None => y.chunks_exact_mut(k).for_each(|y| y.iter_mut().zip(self.bias).for_each(|(y, b)| *y = relu(*y + b))),
            Some(residual) => y.chunks_exact_mut(k).zip(residual[start..].chunks_exact(k)).for_each(|(y, residual)| {
                y.iter_mut().zip(self.bias).zip(residual).for_each(|((y, b), r)| *y = relu(*y + b + r));
            }),
        }
    }

    /// Stores `sums` of `pixel`, finished, into `y`; both are channels `first..` of it.
    #[inline(always)]
    pub(super) fn store<S: Simd>(&self, simd: S, sums: &[f32], pixel: usize, first: usize, y: &mut [f32]) {
        let bias = &self.bias[first..][..y.len()];
        let residual = self.residual.map(|residual| &residual[pixel * self.bias.len() + first..][..y.len()]);
        let (vectors, rest) = S::as_mut_simd_f32s(y);
        let ((sum_vectors, sum_rest), (bias_vectors, bias_rest)) = (S::as_simd_f32s(sums), S::as_simd_f32s(bias));
        let (residual_vectors, residual_rest) = residual.map(S::as_simd_f32s).unzip();
        for i in 0..vectors.len() {
            let residual = residual_vectors.map(|residual| residual[i]);
            vectors[i] = self.finish(simd, sum_vectors[i], bias_vectors[i], residual);
        }
        for i in 0..rest.len() {
            let v = sum_rest[i] + bias_rest[i] + residual_rest.map_or(0.0, |residual| residual[i]);
            rest[i] = if self.relu && v < 0.0 { 0.0 } else { v };
        }
    }

    /// A vector of sums with its bias and residual.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(&self, simd: S, sum: S::f32s, bias: S::f32s, residual: Option<S::f32s>) -> S::f32s {
        let mut v = simd.add_f32s(sum, bias);
        if let Some(residual) = residual {
            v = simd.add_f32s(v, residual);
        }
        if self.relu {
            let zero = simd.splat_f32s(0.0);
            v = simd.select_f32s(simd.less_than_f32s(v, zero), zero, v); // a maximum would turn NaN into 0
        }
        v
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::cpu::isa::{Isa, Vectors};

    #[test]
    fn relu_keeps_nan() {
        let mut y = [f32::NAN, -1.0];
        Epilogue { bias: &[0.0, 0.0], residual: None, relu: true }.apply(&mut y, 0);
        assert!(y[0].is_nan() && y[1] == 0.0);
    }

    struct Store<'a> {
        epilogue: Epilogue<'a>,
        sums: &'a [f32],
        y: &'a mut [f32],
    }

    impl WithSimd for Store<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.epilogue.store(simd, self.sums, 0, 0, self.y);
        }
    }

    /// Bit for bit, with NaN, infinities and both zeros, in whole registers and beyond them.
    #[test]
    fn vectors_finish_as_numbers_do() {
        const SUMS: [f32; 7] = [f32::NAN, -1.0, f32::INFINITY, -0.0, f32::NEG_INFINITY, 2.5, 0.0];
        let sums: Vec<f32> = SUMS.into_iter().cycle().take(37).collect();
        let bias: Vec<f32> = (0..37).map(|k| [0.0, -3.0, 0.25][k % 3]).collect();
        let residual: Vec<f32> = (0..37).map(|k| [1.0, -0.5][k % 2]).collect();
        for (residual, relu) in [(None, true), (None, false), (Some(&residual[..]), true), (Some(&residual[..]), false)] {
            let epilogue = Epilogue { bias: &bias, residual, relu };
            let mut want = sums.clone();
            epilogue.apply(&mut want, 0);
            for vectors in Isa::ALL.into_iter().filter_map(Vectors::new) {
                let mut y = vec![7.0; 37];
                vectors.run(Store { epilogue, sums: &sums, y: &mut y });
                let same = |(got, want): (&f32, &f32)| got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(y.iter().zip(&want).all(same), "{vectors:?}: {y:?}, expected {want:?}");
            }
        }
    }
}
