//! What the kernels are compiled to.

use std::env;

use super::present;
use super::variants::Unit;

/// One form of the code; capabilities are `10 * major + minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Intermediate code: the driver compiles it for any device of this capability or a later one.
    Ptx(u32),
    /// Machine code for devices of this major version and at least this minor one.
    Cubin(u32),
}

/// The oldest device that is supported.
const OLDEST: u32 = 75;

/// Bases of the intermediate code: Turing, Ampere (and Ada), Hopper (and later).
const PTX: [u32; 3] = [75, 80, 90];

/// All targets, or what is wrong with `CAMSHAFT_CUDA_ARCHS`.
pub fn all() -> Result<Vec<Target>, String> {
    let cubins = match env::var("CAMSHAFT_CUDA_ARCHS") {
        Ok(list) => parse(&list)?,
        // A GPU that is too old asks for nothing.
        Err(_) => present::capabilities().into_iter().filter(|capability| *capability >= OLDEST).collect(),
    };
    Ok(PTX.map(Target::Ptx).into_iter().chain(cubins.into_iter().map(Target::Cubin)).collect())
}

impl Target {
    pub fn suits(self, unit: &Unit) -> bool {
        let (Self::Ptx(capability) | Self::Cubin(capability)) = self;
        (unit.capabilities.0..=unit.capabilities.1).contains(&capability)
    }

    /// As the compiler writes it.
    pub fn architecture(self) -> String {
        match self {
            Self::Ptx(capability) => format!("compute_{capability}"),
            Self::Cubin(capability) => format!("sm_{capability}"),
        }
    }
}

/// `86,89`, `8.6 8.9`, `sm_86`: capabilities, each once.
fn parse(list: &str) -> Result<Vec<u32>, String> {
    let mut capabilities = vec![];
    for item in list.split([',', ';', ' ']).filter(|item| !item.is_empty()) {
        let digits = item.trim_start_matches("sm_").replace('.', "");
        match digits.parse() {
            Ok(capability @ OLDEST..=999) => capabilities.push(capability),
            _ => {
                return Err(format!(
                    "CAMSHAFT_CUDA_ARCHS: `{item}` is no compute capability from 7.5 up; write for example 86,89"
                ));
            }
        }
    }
    capabilities.sort_unstable();
    capabilities.dedup();
    Ok(capabilities)
}
