//! Exact arithmetic on integers scaled by powers of two, and its rounding to binary formats: the reference of floating-point instructions.

#![allow(clippy::precedence, clippy::double_comparisons, reason = "formulas as the manual writes them")]

#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Nearest,
    Zero,
    Down,
    Up,
}

pub const MODES: [(&str, Mode); 4] = [("rn", Mode::Nearest), ("rz", Mode::Zero), ("rm", Mode::Down), ("rp", Mode::Up)];

/// A binary format: bits of exponent and of fraction.
#[derive(Clone, Copy)]
pub struct Format {
    pub exponent: u32,
    pub fraction: u32,
}

pub const F32: Format = Format { exponent: 8, fraction: 23 };
pub const F16: Format = Format { exponent: 5, fraction: 10 };
pub const BF16: Format = Format { exponent: 8, fraction: 7 };

/// `number * 2^scale`, exactly.
#[derive(Clone, Copy)]
pub struct Exact {
    pub number: i128,
    pub scale: i32,
}

impl Format {
    pub fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The value of finite bits.
    pub fn decode(self, bits: u64) -> Exact {
        let fraction = (bits & ((1 << self.fraction) - 1)) as i128;
        let exponent = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let number = if exponent == 0 { fraction } else { fraction | 1 << self.fraction };
        let sign = if bits >> (self.exponent + self.fraction) & 1 == 1 { -1 } else { 1 };
        Exact { number: sign * number, scale: exponent.max(1) - self.bias() - self.fraction as i32 }
    }

    /// The bits of the rounded value; a zero is positive.
    pub fn encode(self, value: Exact, mode: Mode) -> u64 {
        let negative = value.number < 0;
        let magnitude = value.number.unsigned_abs();
        if magnitude == 0 {
            return 0;
        }
        let length = 128 - magnitude.leading_zeros() as i32;
        // Exponent of the last kept bit: by precision, or the least that there is.
        let last = (value.scale + length - 1 - self.fraction as i32).max(1 - self.bias() - self.fraction as i32);
        let drop = last - value.scale;
        let (mut kept, rest, half) = if drop <= 0 {
            (magnitude << -drop, 0, 1)
        } else if drop > 120 {
            (0, 1, 2)
        } else {
            (magnitude >> drop, magnitude & ((1 << drop) - 1), 1u128 << (drop - 1))
        };
        let up = match mode {
            Mode::Nearest => rest > half || rest == half && kept & 1 == 1,
            Mode::Zero => false,
            Mode::Down => negative && rest != 0,
            Mode::Up => !negative && rest != 0,
        };
        kept += u128::from(up);
        // Adding the exponent to the number carries as it should.
        let steps = (last + self.bias() + self.fraction as i32 - 1) as u128;
        let mut bits = kept + (steps << self.fraction);
        let infinity = ((1u128 << self.exponent) - 1) << self.fraction;
        if bits >= infinity {
            let toward = match mode {
                Mode::Nearest => true,
                Mode::Zero => false,
                Mode::Down => negative,
                Mode::Up => !negative,
            };
            bits = if toward { infinity } else { infinity - 1 };
        }
        bits as u64 | u64::from(negative) << (self.exponent + self.fraction)
    }
}

pub fn product(a: Exact, b: Exact) -> Exact {
    Exact { number: a.number * b.number, scale: a.scale + b.scale }
}

pub fn sum(a: Exact, b: Exact) -> Exact {
    let scale = a.scale.min(b.scale);
    assert!(a.scale - scale < 80 && b.scale - scale < 80, "test values too far apart");
    Exact { number: (a.number << (a.scale - scale)) + (b.number << (b.scale - scale)), scale }
}

/// f32 values whose sums and products stay exact in 128 bits.
pub fn singles() -> Vec<u64> {
    let mut random = super::Random(11);
    let mut out: Vec<u64> = [1.0f32, -1.0, 1.5, 3.0, -0.1, 1.0 + f32::EPSILON, 1.0 - f32::EPSILON / 2.0, 16_777_215.0, -65_537.0]
        .iter()
        .map(|v| u64::from(v.to_bits()))
        .collect();
    for _ in 0..12 {
        // Exponents -10 to 10.
        out.push((random.next() & 0x807f_ffff) | (117 + random.next() % 21) << 23);
    }
    out
}

/// `a / b` to 60 bits, the last of which says whether more follow.
pub fn quotient(a: Exact, b: Exact) -> Exact {
    let (n, m) = (a.number << 80, b.number);
    let number = (n / m) << 1 | i128::from(n % m != 0);
    // A negative inexact quotient is truncated towards zero: the sticky bit must grow its magnitude.
    let number = if n % m != 0 && (n < 0) != (m < 0) { ((n / m) << 1) - 1 } else { number };
    Exact { number, scale: a.scale - b.scale - 81 }
}

pub fn root(a: Exact) -> Exact {
    let shift = if (a.scale & 1) == 0 { 60 } else { 61 };
    let n = (a.number as u128) << shift;
    let r = n.isqrt();
    Exact { number: (r << 1 | u128::from(r * r != n)) as i128, scale: (a.scale - shift) / 2 - 1 }
}

/// Finite values of a 16-bit format, thinned out.
pub fn halves(format: Format) -> Vec<u64> {
    let infinity = ((1u64 << format.exponent) - 1) << format.fraction;
    (0..infinity).step_by(997).flat_map(|v| [v, v | 0x8000]).chain([1, infinity - 1, 1 << format.fraction]).collect()
}
