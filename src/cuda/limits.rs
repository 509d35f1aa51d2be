//! Bounds that several kernels share.

use super::Unsupported;
use crate::network::MAX_ELEMENTS;

/// An activation that is not empty and whose elements 31 bits can count.
pub(super) fn activation(kernel: &'static str, shape: [usize; 4]) -> Result<(), Unsupported> {
    let fault = |reason: String| Unsupported { kernel, reason };
    if shape.contains(&0) {
        return Err(fault(format!("{shape:?} is empty")));
    }
    let count = shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
    if count.is_none_or(|count| count >= MAX_ELEMENTS) {
        return Err(fault(format!("{shape:?} has 2^31 elements or more")));
    }
    Ok(())
}

/// `count` fits the second or third extent of a grid.
pub(super) fn grid(kernel: &'static str, what: &str, count: usize) -> Result<(), Unsupported> {
    if count <= 65_535 {
        return Ok(());
    }
    Err(Unsupported { kernel, reason: format!("{count} {what}, at most 65535 fit a grid") })
}

/// `c` channels are whole steps of `step`.
pub(super) fn channels(kernel: &'static str, c: usize, step: usize) -> Result<(), Unsupported> {
    if c.is_multiple_of(step) {
        return Ok(());
    }
    Err(Unsupported { kernel, reason: format!("{c} channels, expected a multiple of {step}; fill them up with zeros") })
}
