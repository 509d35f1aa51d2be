//! Instruction sets with vector kernels of their own, chosen at run time.

use pulp::WithSimd;

/// Instruction set that the convolutions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Whatever the program was compiled for: im2col and a matrix product.
    Portable,
    /// AVX2 and FMA (x86-64-v3): 16 registers of 8 numbers.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL (x86-64-v4): 32 registers of 16 numbers.
    Avx512,
    /// Advanced SIMD of 64-bit ARM: 32 registers of 4 numbers.
    Neon,
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// The best one of this machine.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        self == Self::Portable || Vectors::new(self).is_some()
    }

    /// As in the names of kernels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

/// Proof that this machine has an instruction set. Architectures without one here have no value of this type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Vectors {
    pub(super) fn new(isa: Isa) -> Option<Self> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pulp::x86::V3::try_new().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pulp::x86::V4::try_new().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pulp::aarch64::Neon::try_new().map(Self::Neon),
            _ => None,
        }
    }

    pub(super) fn isa(self) -> Isa {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Isa::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => Isa::Neon,
        }
    }

    /// Numbers in a register.
    pub(super) fn lanes(self) -> usize {
        match self.isa() {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Neon => 4,
            Isa::Portable => 1,
        }
    }

    /// Runs `op`, compiled for the instruction set. All that is to be vectorised has to be inlined into it.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_variables))]
    pub(super) fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => pulp::Simd::vectorize(simd, op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => pulp::Simd::vectorize(simd, op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => pulp::Simd::vectorize(simd, op),
        }
    }
}

#[cfg(all(test, target_arch = "aarch64"))]
mod tests {
    use super::*;

    /// Every 64-bit ARM has NEON: tests over all sets that a machine has include it, and a network uses it.
    #[test]
    fn neon_is_chosen() {
        assert_eq!(Isa::detect(), Isa::Neon);
    }
}
