//! Numbers that only look random: the same for the same counter, in every run and on every device.

/// What splitmix64 (Steele et al., OOPSLA 2014) adds from one number to the next.
pub(super) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that splitmix64 makes of a state: every bit depends on every bit.
pub(super) fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
