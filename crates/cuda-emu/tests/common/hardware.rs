//! The machine's own GPU in the place of the software device, so that the tests of instructions say of both the same.

#![allow(unsafe_code, reason = "the driver's interface")]

use std::ffi::{CString, c_void};
use std::sync::OnceLock;

use cudarc::driver::result::{self, ctx, device, module, primary_ctx};
use cudarc::driver::sys::{self, CUcontext, CUfunction_attribute, CUmodule};

/// Names the device of the instruction tests: `gpu`, or nothing for software.
const CHOICE: &str = "CUDA_EMU_TEST_DEVICE";

/// Whether the tests run on the machine's GPU.
pub fn is_chosen() -> bool {
    match std::env::var(CHOICE) {
        Ok(choice) if choice == "gpu" => true,
        Ok(choice) if !choice.is_empty() => panic!("{CHOICE}: unknown device `{choice}`; known: gpu"),
        _ => false,
    }
}

/// The first GPU's context, kept for the process.
struct Context {
    handle: usize,
    capability: i32,
}

fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    let context = CONTEXT.get_or_init(|| {
        // SAFETY: loading runs the driver's initialisers; the calls below are in the order that the driver asks for, and their
        // results are checked.
        unsafe {
            assert!(sys::is_culib_present(), "{CHOICE}=gpu, but there is no CUDA driver (libcuda) here");
            result::init().expect("the driver starts");
            let device = device::get(0).expect("a first GPU");
            let attribute = |attribute| device::get_attribute(device, attribute).expect("an attribute");
            let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
            let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
            let context = primary_ctx::retain(device).expect("a context");
            Context { handle: context as usize, capability: 10 * major + minor }
        }
    });
    // SAFETY: the context lives as long as the process. Contexts are current by thread, and tests have a thread each.
    unsafe { ctx::set_current(context.handle as CUcontext).expect("the context can be used") };
    context
}

/// A module on the GPU.
pub struct Hardware {
    module: CUmodule,
}

impl Hardware {
    /// Loads PTX, compiled for the GPU that is there if that is older than what the text asks for.
    pub fn load(ptx: &str) -> Self {
        let capability = context().capability;
        let ptx =
            if capability < 90 { ptx.replace(".target sm_90", &format!(".target sm_{capability}")) } else { ptx.to_owned() };
        let text = CString::new(ptx).unwrap();
        // SAFETY: the text ends with NUL, and a context is current.
        let module = unsafe { module::load_data(text.as_ptr().cast()) }.expect("the driver takes the kernel");
        Self { module }
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        // SAFETY: a context is current. Tests are short; what they allocate goes with the process.
        unsafe { result::malloc_sync(bytes.max(1)) }.expect("room on the GPU")
    }

    pub fn write(&self, address: u64, data: &[u8]) {
        // SAFETY: `address` is from `alloc`, for at least as many bytes.
        unsafe { result::memcpy_htod_sync(address, data) }.expect("a copy to the GPU");
    }

    pub fn read(&self, address: u64, data: &mut [u8]) {
        // SAFETY: `address` is from `alloc`, for at least as many bytes.
        unsafe { result::memcpy_dtoh_sync(data, address) }.expect("a copy from the GPU");
    }

    /// Runs a kernel to its end; `args` are the bytes of each argument.
    pub fn launch(&self, name: &str, grid: [u32; 3], block: [u32; 3], shared: u32, args: &mut [Vec<u8>]) {
        let mut pointers: Vec<*mut c_void> = args.iter_mut().map(|bytes| bytes.as_mut_ptr().cast()).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]));
        // SAFETY: the module is loaded in the current context; the arguments have the sizes that the test's kernel declares, which
        // the software device checks.
        unsafe {
            let function = module::get_function(self.module, CString::new(name).unwrap()).expect("the kernel");
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, most, shared as i32).expect("that much shared memory");
            result::launch_kernel(function, grid, block, shared, std::ptr::null_mut(), &mut pointers).expect("a launch");
            ctx::synchronize().expect("the kernel ends well");
        }
    }
}
