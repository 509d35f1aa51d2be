//! Attributes of the device, by the numbers of `CUdevice_attribute`.

use crate::profile::Profile;

/// The value of an attribute; `None` for numbers that are not known here.
pub(crate) fn device(profile: &Profile, attribute: i32) -> Option<i32> {
    let value = match attribute {
        1 => Profile::THREADS_PER_BLOCK,
        2..=4 => Profile::BLOCK_DIM[(attribute - 2) as usize],
        5..=7 => Profile::GRID_DIM[(attribute - 5) as usize],
        8 => Profile::SHARED_DEFAULT,
        9 => 64 << 10, // constant memory
        10 => Profile::WARP,
        11 => i32::MAX as u32, // pitch of copies
        12 | 82 => Profile::REGISTERS,
        13 => profile.clock_khz,
        14 | 30 => 512, // alignment of textures and surfaces
        15 => 1,        // copies overlap kernels
        16 => profile.sm_count,
        17 | 18 | 20 | 32 | 35 => 0, // run time limit, integrated, compute mode, ECC, TCC
        19 => 1,                     // kernels may reach host memory
        31 => 1,                     // concurrent kernels
        33 | 34 | 50 => 0,           // PCI place
        36 => profile.memory_clock_khz,
        37 => profile.bus_bits,
        38 => profile.l2_bytes,
        39 => profile.threads_per_sm,
        40 => 2, // copy engines
        41 => 1, // unified addressing
        51 => 32,
        75 => profile.compute.0,
        76 => profile.compute.1,
        78 => 1, // stream priorities
        79 | 80 => 1,
        81 => profile.shared_per_sm,
        83..=86 | 88..=89 | 91..=94 | 98..=105 => 0, // managed memory, host page tables, memory operations, virtual memory
        87 => {
            if profile.compute == (8, 0) || profile.compute == (9, 0) {
                2
            } else {
                32
            }
        }
        90 => 1,
        95 | 96 => 0, // cooperative launches
        97 => profile.shared_optin,
        106 => profile.blocks_per_sm,
        107..=110 | 112..=114 | 116..=119 => 0,
        111 => profile.shared_reserved,
        115 => 0, // no memory pools: allocations are then made and freed one by one, where mistakes show
        _ => return None,
    };
    i32::try_from(value).ok()
}

/// Sixteen bytes, the same for every process.
pub(crate) fn uuid(profile: &Profile) -> [u8; 16] {
    let mut uuid = *b"cuda-emu        ";
    for (byte, letter) in uuid[8..].iter_mut().zip(profile.name.bytes()) {
        *byte = letter;
    }
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_attributes() {
        let a100 = Profile::by_name("A100").unwrap();
        let expected = [(2, 1024), (4, 64), (5, i32::MAX), (7, 65535), (16, 108), (75, 8), (76, 0), (97, 166_912), (115, 0)];
        for (attribute, value) in expected {
            assert_eq!(device(a100, attribute), Some(value), "attribute {attribute}");
        }
        assert_eq!((device(a100, 0), device(a100, 9999)), (None, None));
    }
}
