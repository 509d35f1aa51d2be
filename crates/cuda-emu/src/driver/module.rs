//! Modules: PTX that was loaded, with memory for its variables.

use std::collections::HashMap;
use std::sync::Arc;

use crate::memory::{AllocKind, AllocLabel, Memory};
use crate::profile::Profile;
use crate::ptx::{Kernel, Module};

use super::code::{Code, Result};

/// A module on the device.
#[derive(Debug)]
pub(crate) struct LoadedModule {
    module: Module,
    /// Address and size of each variable.
    globals: HashMap<String, (u64, u64)>,
}

/// A kernel that was looked up, with its attributes.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub module: u32,
    pub loaded: Arc<LoadedModule>,
    pub kernel: Arc<Kernel>,
    /// Dynamic shared memory that a launch may ask for.
    pub max_dynamic_shared: u32,
}

/// Why an image was refused: the code and a sentence.
pub(crate) type Refusal = (Code, String);

impl LoadedModule {
    /// Parses `image`, which starts with PTX text, and sets its variables up in `memory`.
    pub fn load(
        image: &[u8],
        profile: &Profile,
        max_ptx: Option<(u32, u32)>,
        memory: &Memory,
    ) -> std::result::Result<Self, Refusal> {
        let text = text(image)?;
        if let (Some(max), Some(version)) = (max_ptx, version(text))
            && version > max
        {
            let ((a, b), (c, d)) = (version, max);
            return Err((Code::UnsupportedPtxVersion, format!("PTX {a}.{b} is newer than the {c}.{d} that CUDA_EMU_PTX allows")));
        }
        let module = Module::parse(text).map_err(|error| (Code::InvalidPtx, error.to_string()))?;
        if !runs_on(module.target(), profile.compute) {
            let (major, minor) = profile.compute;
            let (target, name) = (module.target(), profile.name);
            return Err((Code::InvalidPtx, format!("PTX for {target} does not run on the {name} profile (sm_{major}{minor})")));
        }
        let mut globals = HashMap::new();
        for variable in module.globals() {
            let bytes = u64::from(variable.bytes);
            let init = if variable.init.is_empty() { vec![0; variable.bytes as usize] } else { variable.init.clone() };
            let name = variable.name.as_str().into();
            let kind = if variable.constant { AllocKind::Constant(name) } else { AllocKind::Global(name) };
            let label = AllocLabel { sequence: 0, kind };
            let address = memory.alloc(bytes, label).map_err(|error| (Code::OutOfMemory, error.to_string()))?;
            memory.write(address, &init).map_err(|fault| (Code::Unknown, fault.to_string()))?;
            globals.insert(variable.name.clone(), (address, bytes));
        }
        Ok(LoadedModule { module, globals })
    }

    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.module.kernel(name)
    }

    /// Address and size of a variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.globals.get(name).copied()
    }

    /// Gives the memory of the variables back.
    pub fn free(&self, memory: &Memory) -> Result {
        self.globals.values().try_for_each(|&(address, _)| memory.free(address).map_err(|_| Code::Unknown))
    }

    /// The `.version` as one number, 80 for 8.0.
    pub fn ptx_version(&self) -> u32 {
        let (major, minor) = self.module.version();
        major * 10 + minor
    }
}

/// The text of an image, if it is text.
fn text(image: &[u8]) -> std::result::Result<&str, Refusal> {
    const ELF: &[u8] = b"\x7FELF";
    const FATBIN: &[u8] = &[0x50, 0xED, 0x55, 0xBA];
    const FATBIN_WRAPPER: &[u8] = &[0xB1, 0x43, 0x62, 0x46];
    if [ELF, FATBIN, FATBIN_WRAPPER].iter().any(|magic| image.starts_with(magic)) {
        return Err((Code::NoBinaryForGpu, "the image is machine code; a software device runs PTX only".into()));
    }
    std::str::from_utf8(image).map_err(|_| (Code::InvalidImage, "the image is neither PTX text nor machine code".into()))
}

/// The `.version` of PTX text, found before parsing: text that is too new may not parse.
fn version(text: &str) -> Option<(u32, u32)> {
    let line = text.lines().map(str::trim_start).find(|line| line.starts_with(".version"))?;
    let (major, minor) = line[".version".len()..].trim().split_once('.')?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major.parse().ok()?, minor[..digits].parse().ok()?))
}

/// Whether a device of this compute capability runs PTX for `target`: for any older one, but for `sm_90a` only that very one.
fn runs_on(target: &str, (major, minor): (u32, u32)) -> bool {
    let Some(number) = target.strip_prefix("sm_") else { return false };
    let digits = number.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let Ok(wanted) = digits.parse::<u32>() else { return false };
    let own = major * 10 + minor;
    if digits.len() == number.len() { wanted <= own } else { wanted == own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart() {
        for (image, code) in [
            (&b"\x7FELF\x02\x01"[..], Code::NoBinaryForGpu),
            (&[0x50, 0xED, 0x55, 0xBA, 1], Code::NoBinaryForGpu),
            (&[0xFF, 0xFE, 1], Code::InvalidImage),
        ] {
            assert_eq!(text(image).unwrap_err().0, code);
        }
    }

    #[test]
    fn versions_and_targets() {
        assert_eq!(version("//\n// x\n\n  .version 8.8\n.target sm_80"), Some((8, 8)));
        assert_eq!(version("no"), None);
        assert!(runs_on("sm_75", (8, 0)) && runs_on("sm_80", (8, 0)) && runs_on("sm_90a", (9, 0)));
        assert!(!runs_on("sm_90", (8, 9)) && !runs_on("sm_80a", (9, 0)) && !runs_on("compute", (9, 0)));
    }
}
