//! How well a warp's addresses fit the memory's units: sectors of global memory, banks of shared memory.

/// Bytes of a sector, the unit of traffic to global memory.
const SECTOR: u64 = 32;
/// Bytes that shared memory delivers in one wavefront: 32 banks of 4 bytes.
const WAVEFRONT: u32 = 128;

/// Different 32-byte sectors touched by the lanes in `mask`, each at `bytes` bytes from its address.
pub fn sectors(addresses: &[u64; 32], mask: u32, bytes: u32) -> u32 {
    let mut touched = [0u64; 64];
    let mut count = 0;
    let mut newest = u64::MAX;
    let mut ascending = true;
    for (lane, &address) in addresses.iter().enumerate() {
        if mask & (1 << lane) == 0 {
            continue;
        }
        let last = address.wrapping_add(u64::from(bytes.max(1)) - 1) / SECTOR;
        for sector in [address / SECTOR, last] {
            if sector != newest {
                ascending &= newest == u64::MAX || sector > newest;
                touched[count] = sector;
                count += 1;
                newest = sector;
            }
        }
    }
    if ascending {
        return count as u32;
    }
    let touched = &mut touched[..count];
    touched.sort_unstable();
    1 + touched.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32
}

/// Sectors that the bytes of `lanes` lanes would fill if they lay together.
pub fn ideal_sectors(lanes: u32, bytes: u32) -> u32 {
    (lanes * bytes).div_ceil(SECTOR as u32)
}

/// Passes over the banks that one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wavefronts {
    /// Passes taken.
    pub actual: u32,
    /// Passes without conflicts.
    pub ideal: u32,
}

/// Wavefronts of a shared memory access of `bytes` bytes by each lane in `mask`. The lanes go in phases of at most 128 bytes: all 32 at
/// once up to 4 bytes, 16 for 8 bytes, 8 for 16 bytes. In a phase each bank serves one word per wavefront; lanes that want the same
/// word share it. Hardware may merge phases that read the same words, so for wide broadcasts this is an upper bound.
pub fn shared_wavefronts(addresses: &[u32; 32], mask: u32, bytes: u32) -> Wavefronts {
    let lanes = (WAVEFRONT / bytes.max(4)).clamp(1, 32) as usize;
    let words = bytes.div_ceil(4).max(1);
    let mut total = Wavefronts { actual: 0, ideal: 0 };
    for (phase, addresses) in addresses.chunks(lanes).enumerate() {
        let mask = mask >> (phase * lanes);
        let active = addresses.iter().enumerate().filter(|(lane, _)| mask & (1 << lane) != 0);
        let passes = passes(active.flat_map(|(_, &address)| (0..words).map(move |word| (address / 4).wrapping_add(word))));
        total.actual += passes;
        total.ideal += u32::from(passes > 0);
    }
    total
}

/// Wavefronts of an `ldmatrix` of `matrices` 8x8 matrices: one phase per matrix, of eight rows of 16 bytes. `rows` holds the address
/// of each row, eight for a matrix.
pub fn ldmatrix_wavefronts(rows: &[u32; 32], matrices: u32) -> Wavefronts {
    let lanes = (matrices * 8).min(32);
    let mask = if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 };
    shared_wavefronts(rows, mask, 16)
}

/// Wavefronts of one phase: the most different words that any bank has to deliver.
fn passes(words: impl Iterator<Item = u32> + Clone) -> u32 {
    let mut first = [0u32; 32];
    let mut used = 0u32;
    for word in words.clone() {
        let bank = word % 32;
        if used & (1 << bank) == 0 {
            used |= 1 << bank;
            first[bank as usize] = word;
        } else if first[bank as usize] != word {
            return conflicting_passes(words);
        }
    }
    u32::from(used != 0)
}

#[cold]
fn conflicting_passes(words: impl Iterator<Item = u32>) -> u32 {
    let mut words: Vec<u32> = words.collect();
    words.sort_unstable();
    words.dedup();
    let mut depth = [0u32; 32];
    for word in words {
        depth[(word % 32) as usize] += 1;
    }
    depth.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const ALL: u32 = u32::MAX;

    fn lanes<T>(address: impl Fn(u32) -> T) -> [T; 32] {
        std::array::from_fn(|lane| address(lane as u32))
    }

    fn waves(address: impl Fn(u32) -> u32, bytes: u32) -> (u32, u32) {
        let got = shared_wavefronts(&lanes(address), ALL, bytes);
        (got.actual, got.ideal)
    }

    #[test]
    fn sectors_of_known_patterns() {
        assert_eq!(sectors(&lanes(|l| u64::from(4 * l)), ALL, 4), 4);
        assert_eq!(sectors(&lanes(|l| u64::from(4 * l + 4)), ALL, 4), 5); // shifted by one word
        assert_eq!(sectors(&lanes(|l| u64::from(4 * (31 - l))), ALL, 4), 4); // reversed
        assert_eq!(sectors(&lanes(|l| u64::from(8 * l)), ALL, 4), 8); // every second word
        assert_eq!(sectors(&lanes(|l| u64::from(128 * l)), ALL, 4), 32);
        assert_eq!(sectors(&lanes(|_| 64), ALL, 4), 1);
        assert_eq!(sectors(&lanes(|l| u64::from(16 * l)), ALL, 16), 16);
        assert_eq!(sectors(&lanes(u64::from), ALL, 1), 1);
        assert_eq!(sectors(&lanes(|l| u64::from(4 * l)), 0x0000_0101, 4), 2);
        assert_eq!(sectors(&lanes(|l| u64::from(4 * l)), 0, 4), 0);
        assert_eq!((ideal_sectors(32, 4), ideal_sectors(3, 4), ideal_sectors(32, 16)), (4, 1, 16));
    }

    #[test]
    fn wavefronts_of_known_patterns() {
        assert_eq!(waves(|l| 4 * l, 4), (1, 1));
        assert_eq!(waves(|_| 20, 4), (1, 1)); // broadcast
        assert_eq!(waves(|l| 8 * l, 4), (2, 1)); // stride of two words
        assert_eq!(waves(|l| 128 * l, 4), (32, 1)); // a column of a 32-wide tile
        assert_eq!(waves(|l| 132 * l, 4), (1, 1)); // the same, padded by a word
        assert_eq!(waves(|l| 2 * l, 2), (1, 1)); // two lanes a word
        assert_eq!(waves(|l| l, 1), (1, 1));
        assert_eq!(waves(|l| 8 * l, 8), (2, 2));
        assert_eq!(waves(|l| 16 * l, 16), (4, 4));
        assert_eq!(waves(|_| 0, 16), (4, 4));
        assert_eq!(waves(|l| 256 * l, 8), (32, 2)); // 16 lanes of a phase in two banks
        assert_eq!(waves(|l| 128 * l, 16), (32, 4));
        assert_eq!(shared_wavefronts(&lanes(|l| 16 * l), 0xFF, 16), Wavefronts { actual: 1, ideal: 1 });
        assert_eq!(shared_wavefronts(&lanes(|l| 4 * l), 0, 4), Wavefronts { actual: 0, ideal: 0 });
    }

    #[test]
    fn ldmatrix_of_a_swizzled_tile_has_no_conflicts() {
        // Rows of 64 bytes, 16-byte chunks exchanged by a swizzle of two rows.
        let swizzled = lanes(|l| (l % 16) * 64 + (((l / 16) ^ ((l % 16) / 2 % 4)) * 16));
        assert_eq!(ldmatrix_wavefronts(&swizzled, 4), Wavefronts { actual: 4, ideal: 4 });
        let plain = lanes(|l| (l % 16) * 64 + (l / 16) * 16);
        assert_eq!(ldmatrix_wavefronts(&plain, 4), Wavefronts { actual: 16, ideal: 4 });
        assert_eq!(ldmatrix_wavefronts(&plain, 1), Wavefronts { actual: 4, ideal: 1 });
    }

    proptest! {
        #[test]
        fn sectors_agree_with_a_set(addresses in prop::array::uniform32(0u64..4096), mask: u32, size in 0u32..5) {
            let bytes = 1 << size;
            let addresses = addresses.map(|address| address & !(bytes as u64 - 1));
            let mut set = HashSet::new();
            for lane in (0..32).filter(|lane| mask & (1 << lane) != 0) {
                set.extend((addresses[lane]..addresses[lane] + bytes as u64).map(|byte| byte / 32));
            }
            prop_assert_eq!(sectors(&addresses, mask, bytes), set.len() as u32);
        }

        #[test]
        fn wavefronts_agree_with_sets(addresses in prop::array::uniform32(0u32..4096), mask: u32, size in 2u32..5) {
            let bytes = 1 << size;
            let addresses = addresses.map(|address| address & !(bytes - 1));
            let per_phase = 128 / bytes as usize;
            let mut want = 0;
            for phase in 0..32 / per_phase {
                let mut banks = vec![HashSet::new(); 32];
                for lane in (phase * per_phase..(phase + 1) * per_phase).filter(|lane| mask & (1 << lane) != 0) {
                    for byte in addresses[lane]..addresses[lane] + bytes {
                        banks[(byte / 4 % 32) as usize].insert(byte / 4);
                    }
                }
                want += banks.iter().map(HashSet::len).max().unwrap_or(0) as u32;
            }
            prop_assert_eq!(shared_wavefronts(&addresses, mask, bytes).actual, want);
        }
    }
}
