//! The embedded kernels, loaded into a context when they are first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{CUfunction_attribute_enum, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError};
use cudarc::nvrtc::Ptx;

use super::{CudaError, device};

/// One form of the code; capabilities are `10 * major + minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the build decides which forms there are")]
enum Target {
    /// Intermediate code: the driver compiles it for any device of this capability or a later one.
    Ptx(u32),
    /// Machine code for devices of this major version and at least this minor one.
    Cubin(u32),
}

struct Image {
    unit: &'static str,
    target: Target,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The compiler that made this build's kernels, or why there are none.
pub fn compiler() -> Result<&'static str, CudaError> {
    if MISSING.is_empty() { Ok(COMPILER) } else { Err(CudaError::NotBuilt { why: MISSING }) }
}

/// The kernels of one context.
pub struct Modules {
    context: Arc<CudaContext>,
    capability: u32,
    images: &'static [Image],
    loaded: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
}

impl Modules {
    /// Loads nothing yet.
    ///
    /// # Errors
    /// [`CudaError::NotBuilt`] without kernels; [`CudaError::Driver`] if the device does not tell its capability.
    pub fn new(context: Arc<CudaContext>) -> Result<Self, CudaError> {
        compiler()?;
        Self::with_images(context, IMAGES)
    }

    fn with_images(context: Arc<CudaContext>, images: &'static [Image]) -> Result<Self, CudaError> {
        let (major, minor) = context.compute_capability()?;
        let capability = u32::try_from(10 * major + minor).unwrap_or(0);
        Ok(Self { context, capability, images, loaded: Mutex::default() })
    }

    /// The device's compute capability, `10 * major + minor`.
    pub fn capability(&self) -> u32 {
        self.capability
    }

    /// Whether kernels may begin before the one before them in a graph has ended. Those that run on a device of capability 9.0 or later
    /// wait for it themselves; drivers keep such an order in graphs from CUDA 12.3 on.
    ///
    /// # Errors
    /// If the driver does not tell its version.
    pub(super) fn begin_early(&self) -> Result<bool, CudaError> {
        const GRAPHS_KEEP_IT: i32 = 12_030;
        Ok(self.capability >= 90 && device::version()? >= GRAPHS_KEEP_IT)
    }

    /// The context that the kernels are loaded into.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Entry `entry` of compilation unit `unit`, allowed `shared_bytes` of dynamic shared memory per block.
    ///
    /// # Errors
    /// [`CudaError::NoImage`] if the build holds nothing for this device, [`CudaError::Load`] if the driver refuses it.
    pub fn function(&self, unit: &str, entry: &str, shared_bytes: u32) -> Result<CudaFunction, CudaError> {
        let image = best(self.images, unit, self.capability)
            .ok_or_else(|| CudaError::NoImage { unit: unit.to_owned(), capability: self.capability })?;
        let fault = |source| CudaError::Load { unit: unit.to_owned(), source, advice: advice(&source, self.capability) };
        let mut loaded = self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let module = match loaded.get(image.unit) {
            Some(module) => module.clone(),
            None => {
                let module = self.context.load_module(image.code()).map_err(fault)?;
                loaded.insert(image.unit, module.clone());
                module
            }
        };
        let function = module.load_function(entry).map_err(fault)?;
        if shared_bytes > 0 {
            // Without it a block has 48 KiB, with what the kernel declares itself.
            let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared_bytes as i32).map_err(fault)?;
        }
        Ok(function)
    }
}

impl Image {
    fn code(&self) -> Ptx {
        match self.target {
            Target::Cubin(_) => Ptx::from_binary(self.bytes.to_vec()),
            // The compiler ends its text with NUL; cudarc adds one of its own.
            Target::Ptx(_) => Ptx::from_src(String::from_utf8_lossy(self.bytes.strip_suffix(b"\0").unwrap_or(self.bytes))),
        }
    }
}

/// Machine code that fits, the newest first; else the newest intermediate code that the device is able to run.
fn best<'a>(images: &'a [Image], unit: &str, capability: u32) -> Option<&'a Image> {
    let rank = |image: &Image| match image.target {
        Target::Cubin(made_for) => (made_for / 10 == capability / 10 && made_for <= capability).then_some((1, made_for)),
        Target::Ptx(made_for) => (made_for <= capability).then_some((0, made_for)),
    };
    images
        .iter()
        .filter(|image| image.unit == unit)
        .filter_map(|image| Some((rank(image)?, image)))
        .max_by_key(|&(rank, _)| rank)
        .map(|(_, image)| image)
}

fn advice(error: &DriverError, capability: u32) -> String {
    match error.0 {
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION | CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND => format!(
            "; the kernels were made by {COMPILER}, and this driver is older: update it to one of the same CUDA version, or build with \
             CAMSHAFT_CUDA_ARCHS={capability}, which embeds machine code for this device"
        ),
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            format!("; build with CAMSHAFT_CUDA_ARCHS={capability} on this machine")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_image_is_chosen() {
        let image = |unit, target| Image { unit, target, bytes: b"" };
        let images = [
            image("a", Target::Ptx(75)),
            image("a", Target::Ptx(80)),
            image("a", Target::Ptx(90)),
            image("a", Target::Cubin(80)),
            image("a", Target::Cubin(86)),
            image("b", Target::Ptx(80)),
        ];
        let chosen = |unit, capability| best(&images, unit, capability).map(|image| image.target);
        assert_eq!(chosen("a", 70), None);
        assert_eq!(chosen("a", 75), Some(Target::Ptx(75)));
        assert_eq!(chosen("a", 80), Some(Target::Cubin(80)));
        assert_eq!(chosen("a", 86), Some(Target::Cubin(86)));
        assert_eq!(chosen("a", 89), Some(Target::Cubin(86)));
        assert_eq!(chosen("a", 90), Some(Target::Ptx(90)));
        assert_eq!(chosen("a", 120), Some(Target::Ptx(90)));
        assert_eq!(chosen("b", 75), None);
        assert_eq!(chosen("c", 90), None);
    }

    /// The driver is given machine code where some fits, and intermediate code else. The software device refuses machine code.
    #[test]
    fn machine_code_goes_to_the_driver() {
        let _one = device::for_one_test();
        let software = cuda_emu::driver::install(&[("CUDA_EMU_DEVICE", "A100")]).unwrap(); // capability 8.0
        let context = CudaContext::new_non_primary(0, 0).unwrap(); // the findings of other tests are their own
        let ptx = best(IMAGES, "softmax_topk", 80).map(|image| image.bytes).unwrap();
        const ENTRY: &str = "softmax_topk_f32";
        let function = |cubin: u32| {
            let cubin = Image { unit: "softmax_topk", target: Target::Cubin(cubin), bytes: b"\x7fELF\x02\x01\x01\x00" };
            let images = vec![cubin, Image { unit: "softmax_topk", target: Target::Ptx(80), bytes: ptx }];
            Modules::with_images(context.clone(), images.leak()).unwrap().function("softmax_topk", ENTRY, 0)
        };
        for too_new_or_other in [86, 90, 75] {
            assert!(function(too_new_or_other).is_ok(), "{too_new_or_other}");
        }
        let error = function(80).unwrap_err();
        let CudaError::Load { unit, source, advice } = &error else { panic!("{error}") };
        assert_eq!((&**unit, source.0), ("softmax_topk", CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU));
        assert!(advice.contains("CAMSHAFT_CUDA_ARCHS=80"), "{error}");
        let findings = software.take_report()["findings"].to_string();
        assert!(findings.contains("machine code"), "{findings}");
    }

    #[test]
    fn an_old_driver_gets_a_way_out() {
        let advice = advice(&DriverError(CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION), 86);
        assert!(advice.contains("CAMSHAFT_CUDA_ARCHS=86") && advice.contains("update"), "{advice}");
    }
}
