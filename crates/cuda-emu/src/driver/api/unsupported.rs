//! Calls that clients bind but this device does not offer. They say so instead of missing, which would end the program.

use crate::driver::code::Code;
use crate::driver::state::with_driver;

/// Exports functions without looking at their arguments: under the C calling conventions of 64-bit systems the caller clears the
/// arguments away, so a function may ignore them.
macro_rules! unsupported {
    ($($name:ident)*) => {
        $(
            /// Not supported: returns `CUDA_ERROR_NOT_SUPPORTED` and reports the call.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> u32 {
                with_driver(stringify!($name), |driver| driver.misuse(Code::NotSupported, concat!(stringify!($name), " is not supported").into()))
            }
        )*
    };
}

unsupported! {
    cuLaunchCooperativeKernel
    cuMemAllocManaged cuMemPrefetchAsync cuMemPrefetchAsync_v2 cuMemAdvise cuMemAdvise_v2 cuStreamAttachMemAsync
    cuMemAllocFromPoolAsync cuMemPoolCreate cuMemPoolDestroy cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemPoolTrimTo
    cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceSetMemPool
    cuImportExternalMemory cuExternalMemoryGetMappedBuffer cuDestroyExternalMemory
    cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize
    cuProfilerStart cuProfilerStop
}
