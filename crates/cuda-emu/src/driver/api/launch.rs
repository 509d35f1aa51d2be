//! Launching kernels.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;

use super::driver_calls;
use super::pointer::read_own;
use crate::driver::code::{Code, Result};
use crate::driver::handle::Kind;
use crate::driver::launch::{self, KernelLaunch, Shape};
use crate::driver::op::Op;
use crate::driver::state::Driver;
use crate::ptx::Kernel;
use crate::report::FindingKind;

/// Copies the parameters: an array of pointers, one for each parameter of the kernel.
fn parameters(kernel: &Kernel, pointers: usize) -> std::result::Result<Vec<u8>, String> {
    let mut block = vec![0; kernel.param_bytes as usize];
    for (i, param) in kernel.params.iter().enumerate() {
        let count = kernel.params.len();
        let missing =
            || format!("parameter {i} ({}, {} bytes) of {count} cannot be read: are all of them given?", param.name, param.bytes);
        let slot = read_own(pointers.wrapping_add(i * size_of::<usize>()), size_of::<usize>()).filter(|_| pointers != 0);
        let pointer = slot.and_then(|bytes| Some(usize::from_ne_bytes(bytes.try_into().ok()?))).ok_or_else(missing)?;
        let value = read_own(pointer, param.bytes as usize).ok_or_else(missing)?;
        let place = param.offset as usize..param.offset as usize + value.len();
        block.get_mut(place).ok_or_else(missing)?.copy_from_slice(&value);
    }
    Ok(block)
}

/// How a launch is to be done, beside its shape.
#[derive(Clone, Copy)]
struct Manner {
    stream: u64,
    programmatic: bool,
}

/// The extended form of a launch, as the driver's header lays it out.
struct Extended {
    shape: Shape,
    stream: u64,
    /// Identifier and first word of the value.
    attributes: Vec<(u32, u32)>,
}

impl Extended {
    /// Reads 56 bytes of configuration and 72 bytes an attribute; `None` where they cannot be read.
    fn read(config: usize) -> Option<Self> {
        let bytes = read_own(config, 56)?;
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let shape =
            Shape { grid: [word(0)?, word(4)?, word(8)?], block: [word(12)?, word(16)?, word(20)?], dynamic_shared: word(24)? };
        let first = usize::try_from(long(40)?).ok()?;
        let attribute = |index: u32| {
            let bytes = read_own(first.wrapping_add(72 * index as usize), 72)?;
            let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
            Some((word(0)?, word(8)?))
        };
        let attributes = (0..word(48)?).map(attribute).collect::<Option<_>>()?;
        Some(Extended { shape, stream: long(32)?, attributes })
    }
}

const ATTRIBUTE_IGNORE: u32 = 0;
const ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;

fn enqueue(driver: &mut Driver, function: u64, shape: Shape, manner: Manner, pointers: *mut *mut c_void) -> Result {
    let Manner { stream, programmatic } = manner;
    let profile = driver.settings.profile;
    let (context, serial) = driver.object(function, Kind::Function)?;
    context.alive()?;
    let function = context.functions.get(&serial).cloned().ok_or(Code::InvalidHandle)?;
    let kernel = function.kernel.clone();
    let checked = launch::check(&function, &shape, profile)
        .and_then(|()| parameters(&kernel, pointers as usize).map_err(|why| (Code::InvalidValue, why)));
    let params = match checked {
        Ok(params) => params,
        Err((code, why)) => {
            let message = format!("launch of kernel {}: {why}", kernel.name);
            return context.misuse(code, FindingKind::InvalidLaunch, None, message);
        }
    };
    let (context, stream) = driver.stream(stream)?;
    if !context.functions.get(&serial).is_some_and(|own| Arc::ptr_eq(&own.loaded, &function.loaded)) {
        return driver.misuse(Code::InvalidHandle, format!("kernel {} is launched in a stream of another context", kernel.name));
    }
    let Shape { grid, block, dynamic_shared } = shape;
    context.submit(
        stream,
        Op::Launch(Arc::new(KernelLaunch { loaded: function.loaded, kernel, grid, block, dynamic_shared, params, programmatic })),
    )
}

driver_calls! {
    /// Enqueues a kernel. Parameters are copied now.
    #[allow(clippy::too_many_arguments)]
    fn cuLaunchKernel(
        function: u64,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        dynamic_shared: c_uint,
        stream: u64,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) |driver| {
        if !extra.is_null() {
            return driver.misuse(Code::NotSupported, "parameters given as one packed buffer are not supported".into());
        }
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], dynamic_shared };
        enqueue(driver, function, shape, Manner { stream, programmatic: false }, parameters)
    }

    /// As `cuLaunchKernel`, with attributes, of which programmatic stream serialization is known. Before capability 9.0 it is accepted
    /// and has no effect, as with the real driver: kernels begin one after the other there.
    fn cuLaunchKernelEx(config: *const c_void, function: u64, parameters: *mut *mut c_void, extra: *mut *mut c_void) |driver| {
        if !extra.is_null() {
            return driver.misuse(Code::NotSupported, "parameters given as one packed buffer are not supported".into());
        }
        let Extended { shape, stream, attributes } = Extended::read(config as usize).ok_or(Code::InvalidValue)?;
        let mut programmatic = false;
        for (attribute, value) in attributes {
            match attribute {
                ATTRIBUTE_IGNORE => {}
                ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION => programmatic = value != 0,
                _ => return driver.misuse(Code::NotSupported, format!("launch attribute {attribute} is not supported")),
            }
        }
        programmatic &= driver.settings.profile.compute >= (9, 0);
        enqueue(driver, function, shape, Manner { stream, programmatic }, parameters)
    }
}
