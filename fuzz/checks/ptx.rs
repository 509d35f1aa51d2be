//! What must hold for any bytes that are loaded as PTX. Shared by the fuzz target and the test `fuzz_seeds`.

use cuda_emu::ptx::Module;

/// Loads `data` as a module.
///
/// # Panics
/// If a kernel cannot be found by its own name, if its parameters overlap or leave its parameter block, or if an error names a
/// line that the text does not have.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let module = match Module::parse(&text) {
        Ok(module) => module,
        Err(error) => {
            let lines = text.lines().count() as u32;
            assert!(error.line <= lines + 1, "line {} of {lines}: {error}", error.line);
            return;
        }
    };
    for kernel in module.kernels() {
        assert_eq!(module.kernel(&kernel.name).map(|found| found.name.clone()).as_deref(), Some(kernel.name.as_str()));
        let mut end = 0;
        for parameter in &kernel.params {
            assert!(parameter.offset >= end, "parameter `{}` overlaps the one before", parameter.name);
            end = parameter.offset + parameter.bytes;
        }
        assert!(end <= kernel.param_bytes, "parameters end at {end} of {}", kernel.param_bytes);
    }
}
