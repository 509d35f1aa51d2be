//! Where the network runs.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "cuda")]
use crate::cuda::CudaError;
use crate::tensor::Precision;

/// Where the network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The first CUDA device; where none can be used the processor, and [`super::Engine::fallback`] tells why.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

/// Why the network cannot run where it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The CUDA backend.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// A build without the CUDA backend.
    #[error("this program was built without the `cuda` feature; build with it, or use the cpu")]
    NoCuda,
    /// A precision that the processor does not have.
    #[error("the cpu computes in f32 only; for {precision} use a CUDA device")]
    Precision {
        /// What was asked for.
        precision: Precision,
    },
    /// No device's name.
    #[error("unknown device `{name}`; known: auto, cpu, cuda, cuda:0, cuda:1, ...")]
    Name {
        /// What was given.
        name: String,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    /// `auto`, `cpu`, `cuda` (the first one) or `cuda:N`.
    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
                ordinal.map(Self::Cuda).ok_or_else(|| DeviceError::Name { name: name.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(12)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(bad.parse::<Device>().unwrap_err().to_string().contains("known: auto"), "{bad}");
        }
    }
}
