//! Rounding that the processor does not do by itself: directed modes, half precision, fused operations on halves.

/// How a result is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    Zero,
    Down,
    Up,
}

impl Rounding {
    pub(crate) fn by_name(name: &str) -> Option<Rounding> {
        Some(match name {
            "rn" | "rni" => Rounding::Nearest,
            "rz" | "rzi" => Rounding::Zero,
            "rm" | "rmi" => Rounding::Down,
            "rp" | "rpi" => Rounding::Up,
            _ => return None,
        })
    }

    /// The mode whose number is in the flags.
    #[inline(always)]
    pub(crate) fn from_flags(flags: u32) -> Rounding {
        match flags >> super::ROUNDING_SHIFT & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Zero,
            2 => Rounding::Down,
            _ => Rounding::Up,
        }
    }

    pub(crate) fn flags(self) -> u32 {
        (self as u32) << super::ROUNDING_SHIFT
    }
}

/// `value + rest` as f32. The two must be a rounded f64 and its exact error; `rest` may be any number of the error's sign
/// when `value` is no f32.
pub(crate) fn single(value: f64, rest: f64, rounding: Rounding) -> f32 {
    if !value.is_finite() {
        return value as f32;
    }
    if rounding == Rounding::Nearest {
        return odd(value, rest) as f32;
    }
    let near = value as f32;
    let gap = value - f64::from(near);
    let gap = if gap == 0.0 { rest } else { gap };
    let down = match rounding {
        Rounding::Down => true,
        Rounding::Zero => value > 0.0,
        _ => false,
    };
    // One step towards the side asked for, if rounding to nearest went to the other.
    if gap < 0.0 && down {
        near.next_down()
    } else if gap > 0.0 && !down {
        near.next_up()
    } else {
        near
    }
}

/// The sum of two f64 rounded to nearest, and its exact error (Knuth's two-sum).
#[inline(always)]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// `value + rest` rounded to odd: towards zero, the last bit set if anything was lost. Rounding that again to at most 51 bits is exact.
#[inline(always)]
pub(crate) fn odd(value: f64, rest: f64) -> f64 {
    if rest == 0.0 || !value.is_finite() || value == 0.0 {
        return value;
    }
    let towards_zero = (rest < 0.0) == (value > 0.0);
    let bits = value.to_bits() - u64::from(towards_zero);
    f64::from_bits(bits | 1)
}

/// f64 to f32, rounded to odd, so that it can be rounded again to a half.
#[inline(always)]
pub(crate) fn odd_single(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    if back == value || value.is_nan() || value.is_infinite() {
        return near;
    }
    let bits = near.to_bits() - u32::from(back.abs() > value.abs());
    f32::from_bits(bits | 1)
}

/// Half precision to f32, exact.
#[inline(always)]
pub(crate) fn half_to_single(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff);
    // Scaling by 2^112 moves the exponent's bias and makes subnormal halves right as well.
    let finite = (f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000)).to_bits();
    let special = 0x7f80_0000 | magnitude << 13;
    let bits = if magnitude >= 0x7c00 { special } else { finite };
    f32::from_bits(bits | u32::from(half & 0x8000) << 16)
}

/// f32 to half precision, to nearest even; NaN becomes 0x7fff.
#[inline(always)]
pub(crate) fn single_to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the adder.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let normal = (magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13).wrapping_sub(112 << 10);
    let large = if magnitude > 0x7f80_0000 { 0x7fff } else { 0x7c00 };
    let out = if magnitude >= 0x4780_0000 {
        large
    } else if magnitude < 0x3880_0000 {
        subnormal
    } else {
        normal
    };
    let sign = if magnitude > 0x7f80_0000 { 0 } else { bits >> 16 & 0x8000 };
    (out | sign) as u16
}

/// f32 to half precision in a given mode.
pub(crate) fn single_to_half_rounded(value: f32, rounding: Rounding) -> u16 {
    let near = single_to_half(value);
    if rounding == Rounding::Nearest || value.is_nan() || value.is_infinite() {
        return near;
    }
    step_half(near, half_to_single(near), value, rounding)
}

/// bfloat16 to f32, exact.
#[inline(always)]
pub(crate) fn bfloat_to_single(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// f32 to bfloat16, to nearest even; NaN becomes 0x7fff.
#[inline(always)]
pub(crate) fn single_to_bfloat(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { 0x7fff } else { rounded as u16 }
}

/// f32 to bfloat16 in a given mode.
pub(crate) fn single_to_bfloat_rounded(value: f32, rounding: Rounding) -> u16 {
    let near = single_to_bfloat(value);
    if rounding == Rounding::Nearest || value.is_nan() || value.is_infinite() {
        return near;
    }
    step_half(near, bfloat_to_single(near), value, rounding)
}

/// Moves `near` (value `rounded`), the neighbour of `exact`, to the side that `rounding` asks for.
fn step_half(near: u16, rounded: f32, exact: f32, rounding: Rounding) -> u16 {
    let down = match rounding {
        Rounding::Down => true,
        Rounding::Zero => exact > 0.0,
        _ => false,
    };
    let wrong = if down { rounded > exact } else { rounded < exact };
    if !wrong {
        near
    } else if near & 0x7fff == 0 {
        if down { 0x8001 } else { 1 }
    } else if (near & 0x8000 == 0) == down {
        near - 1
    } else {
        near + 1
    }
}

/// f32 to tf32, ties away from zero; the 13 low bits are zero.
#[inline(always)]
pub(crate) fn single_to_tf32_away(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        0x7fff_ffff & !0x1fff
    } else if value.is_infinite() {
        bits
    } else {
        bits.wrapping_add(0x1000) & !0x1fff
    }
}

/// f32 to tf32, ties to even.
#[inline(always)]
pub(crate) fn single_to_tf32_even(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        0x7fff_ffff & !0x1fff
    } else if value.is_infinite() {
        bits
    } else {
        bits.wrapping_add(0xfff + (bits >> 13 & 1)) & !0x1fff
    }
}
