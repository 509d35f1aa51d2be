//! What a GPU can do at most, from what its driver says of it.

use super::Limits;
use crate::tensor::Precision;

/// Facts about a device, as the driver gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuFacts {
    /// Its name, such as `NVIDIA A100-SXM4-80GB`.
    pub name: String,
    /// `10 * major + minor`.
    pub capability: u32,
    /// Streaming multiprocessors.
    pub sms: u32,
    /// The highest clock of the multiprocessors.
    pub clock_khz: u32,
    /// The highest clock of the memory.
    pub memory_clock_khz: u32,
    /// Width of the memory's bus.
    pub bus_bits: u32,
    /// Bytes of its second-level cache.
    pub l2_bytes: u64,
    /// Shared memory that a block may have, in bytes.
    pub shared_bytes: u32,
    /// The newest CUDA version that the driver serves, as `1000 * major + 10 * minor`.
    pub driver: i32,
}

impl GpuFacts {
    /// Operations that a multiprocessor does in a clock, 2 per multiply-add: of f32 outside, of f16 with f32 sums on the tensor
    /// cores. GeForce cards have half of the latter from 7.5 up, unless the sums are f16. `None` for capabilities that are not known here.
    ///
    /// Source: NVIDIA's architecture papers (Turing, GA100, GA102, AD102, GH100, GB202), peak rates divided by clock and count.
    fn per_clock(&self, precision: Precision) -> Option<f64> {
        let tensor = |flops: f64| if self.name.contains("GeForce") { flops / 2.0 } else { flops };
        Some(match (self.capability, precision) {
            (75, Precision::F32) => 128.0,
            (75, Precision::F16) => tensor(1024.0),
            (75, Precision::F16Fast) => 1024.0,
            (80, Precision::F32) => 128.0,
            (80, Precision::F16 | Precision::F16Fast | Precision::Bf16) => 2048.0,
            (86 | 87 | 89 | 120, Precision::F32) => 256.0,
            (86 | 87 | 89 | 120, Precision::F16 | Precision::Bf16) => tensor(1024.0),
            (86 | 87 | 89 | 120, Precision::F16Fast) => 1024.0,
            (90, Precision::F32) => 256.0,
            (90, Precision::F16 | Precision::F16Fast | Precision::Bf16) => 4096.0,
            _ => return None,
        })
    }

    /// Peak rates at the highest clocks; `None` where they are not known here. Memory moves two words a clock.
    pub fn limits(&self, precision: Precision) -> Option<Limits> {
        let flops = self.per_clock(precision)? * f64::from(self.sms) * f64::from(self.clock_khz) * 1e3;
        let bytes = 2.0 * f64::from(self.memory_clock_khz) * 1e3 * f64::from(self.bus_bits) / 8.0;
        (flops > 0.0 && bytes > 0.0).then_some(Limits { flops, bytes })
    }

    /// Whether the driver says that its device is a program: its clock tells nothing about a GPU.
    pub fn is_software(&self) -> bool {
        self.name.starts_with("software device")
    }
}

/// A GPU for which there is a forecast: the vendor's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownGpu {
    /// As its driver calls it.
    pub name: &'static str,
    capability: u32,
    sms: u32,
    clock_mhz: u32,
    memory_clock_mhz: u32,
    bus_bits: u32,
    l2_mib: u64,
    shared_kib: u32,
}

/// GPUs for which `bench --forecast` prints a forecast.
pub const GPUS: &[KnownGpu] = &[
    known("Tesla T4", 75, (40, 1590), (5001, 256), 4, 64),
    known("NVIDIA L4", 89, (58, 2040), (6251, 192), 48, 99),
    known("NVIDIA A100-SXM4-80GB", 80, (108, 1410), (1593, 5120), 40, 163),
    known("NVIDIA GeForce RTX 4090", 89, (128, 2520), (10501, 384), 72, 99),
    known("NVIDIA H100 80GB HBM3", 90, (132, 1830), (2619, 5120), 50, 227),
];

const fn known(
    name: &'static str,
    capability: u32,
    (sms, clock_mhz): (u32, u32),
    (memory_clock_mhz, bus_bits): (u32, u32),
    l2_mib: u64,
    shared_kib: u32,
) -> KnownGpu {
    KnownGpu { name, capability, sms, clock_mhz, memory_clock_mhz, bus_bits, l2_mib, shared_kib }
}

impl KnownGpu {
    /// What its driver would say.
    pub fn facts(&self) -> GpuFacts {
        GpuFacts {
            name: self.name.to_owned(),
            capability: self.capability,
            sms: self.sms,
            clock_khz: self.clock_mhz * 1000,
            memory_clock_khz: self.memory_clock_mhz * 1000,
            bus_bits: self.bus_bits,
            l2_bytes: self.l2_mib << 20,
            shared_bytes: self.shared_kib << 10,
            driver: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, capability: u32, sms: u32, clock_mhz: u32, memory_mhz: u32, bus_bits: u32) -> GpuFacts {
        let (clock_khz, memory_clock_khz) = (clock_mhz * 1000, memory_mhz * 1000);
        GpuFacts {
            name: name.to_owned(),
            capability,
            sms,
            clock_khz,
            memory_clock_khz,
            bus_bits,
            l2_bytes: 0,
            shared_bytes: 0,
            driver: 12_090,
        }
    }

    /// Against the vendor's published peaks: TFLOP/s of f16 with f32 sums, GB/s.
    #[test]
    fn published_peaks() {
        let published = [(65.0, 320.0), (121.0, 300.0), (312.0, 2039.0), (165.2, 1008.0), (989.4, 3352.0)];
        for (gpu, (tflops, gigabytes)) in GPUS.iter().map(KnownGpu::facts).zip(published) {
            let limits = gpu.limits(Precision::F16).unwrap();
            assert!((limits.flops / 1e12 / tflops - 1.0).abs() < 0.01, "{}: {limits:?}", gpu.name);
            assert!((limits.bytes / 1e9 / gigabytes - 1.0).abs() < 0.01, "{}: {limits:?}", gpu.name);
        }
        assert_eq!(gpu("a card of tomorrow", 130, 200, 3000, 10_000, 512).limits(Precision::F16), None);
        assert_eq!(gpu("NVIDIA L4", 89, 58, 0, 6251, 192).limits(Precision::F16), None, "newer drivers may not tell clocks");
    }

    #[test]
    fn software_is_no_gpu() {
        assert!(gpu("software device (A100 profile)", 80, 108, 1410, 1593, 5120).is_software());
        assert!(!gpu("NVIDIA L4", 89, 58, 2040, 6251, 192).is_software());
    }
}
