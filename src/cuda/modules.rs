//! The embedded kernels, loaded into a context when they are first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{CUfunction_attribute_enum, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError};
use cudarc::nvrtc::Ptx;
use miniz_oxide::inflate::decompress_to_vec;

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
    /// The code, deflated: it is text for the most part, and a run needs a tenth of it.
    packed: &'static [u8],
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
                let module = image.code().and_then(|code| self.context.load_module(code)).map_err(fault)?;
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
    /// # Errors
    /// If the program is damaged.
    fn code(&self) -> Result<Ptx, DriverError> {
        let damaged = DriverError(CUresult::CUDA_ERROR_INVALID_IMAGE);
        let code = decompress_to_vec(self.packed).map_err(|_| damaged)?;
        Ok(match self.target {
            Target::Cubin(_) => Ptx::from_binary(code),
            // The compiler ends its text with NUL; cudarc adds one of its own.
            Target::Ptx(_) => Ptx::from_src(String::from_utf8_lossy(code.strip_suffix(b"\0").unwrap_or(&code))),
        })
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
    use miniz_oxide::deflate::compress_to_vec;

    use super::*;

    #[test]
    fn the_closest_image_is_chosen() {
        let image = |unit, target| Image { unit, target, packed: b"" };
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
        let ptx = best(IMAGES, "softmax_topk", 80).map(|image| image.packed).unwrap();
        const ENTRY: &str = "softmax_topk_f32";
        let function = |cubin: u32| {
            let elf = compress_to_vec(b"\x7fELF\x02\x01\x01\x00", 1).leak();
            let cubin = Image { unit: "softmax_topk", target: Target::Cubin(cubin), packed: elf };
            let images = vec![cubin, Image { unit: "softmax_topk", target: Target::Ptx(80), packed: ptx }];
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

    /// A kernel that does not wait would make the ones after it begin too early, and one without a step would not be named.
    #[test]
    fn every_kernel_waits_and_tells_its_step_before_it_touches_memory() {
        let touches = |line: &str| {
            let line = line.trim_start();
            let line = line.strip_prefix('@').and_then(|guarded| guarded.split_once(' ')).map_or(line, |(_, rest)| rest);
            ["ld.global", "st.global", "atom", "red.", "cp.async."].iter().any(|name| line.starts_with(name))
                && !line.contains(".prefetch.")
        };
        let is_mark = |line: &&str| line.contains("st.relaxed.sys.global.u32");
        let mut kernels = 0;
        for image in IMAGES {
            let Target::Ptx(base) = image.target else { continue };
            let code = String::from_utf8(decompress_to_vec(image.packed).unwrap()).unwrap();
            for entry in code.split(".visible .entry ").skip(1) {
                let (parameters, body) = entry.split_once("\n)").unwrap();
                let name = format!("{} for {base}", parameters.lines().next().unwrap_or_default());
                let last = parameters.lines().last().unwrap_or_default();
                assert!(last.contains(".align 8 .b8") && last.ends_with("[16]"), "{name}: {last} is not a step");
                let place = |found: &dyn Fn(&&str) -> bool| body.lines().position(|line| found(&line)).unwrap_or(usize::MAX);
                let first = place(&|line| touches(line));
                assert!(place(&is_mark) < first, "{name}: memory before the mark");
                if base >= 90 {
                    let wait = place(&|line| line.contains("griddepcontrol.wait"));
                    assert!(wait < place(&is_mark), "{name}: no wait before the mark");
                    assert!(place(&|line| line.contains("griddepcontrol.launch_dependents")) != usize::MAX, "{name}");
                }
                kernels += 1;
            }
        }
        assert!(kernels > 250, "{kernels}");
        let bases = |unit| IMAGES.iter().filter(|image| image.unit == unit).map(|image| image.target).collect::<Vec<_>>();
        assert_eq!(bases("softmax_topk"), [Target::Ptx(75), Target::Ptx(90)], "a base of its own where kernels wait");
    }

    #[test]
    fn a_damaged_program_is_an_error() {
        let image = Image { unit: "a", target: Target::Ptx(75), packed: b"\xff\xff\xff" };
        assert_eq!(image.code().unwrap_err().0, CUresult::CUDA_ERROR_INVALID_IMAGE);
    }

    #[test]
    fn an_old_driver_gets_a_way_out() {
        let advice = advice(&DriverError(CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION), 86);
        assert!(advice.contains("CAMSHAFT_CUDA_ARCHS=86") && advice.contains("update"), "{advice}");
    }
}
