//! Modules and functions.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::driver_calls;
use super::pointer::{Out, Text};
use crate::driver::code::{Code, Result};
use crate::driver::handle::{Handle, Kind};
use crate::driver::launch;
use crate::driver::module::{Function, LoadedModule};
use crate::driver::state::{Driver, thread};
use crate::profile::Profile;
use crate::report::FindingKind;

fn load(driver: &mut Driver, out: Out<u64>, image: &[u8]) -> Result {
    let (number, context) = driver.current()?;
    context.unsafe_call(thread(), "loading a module")?;
    let settings = context.settings.clone();
    match LoadedModule::load(image, settings.profile, settings.max_ptx, &context.memory) {
        Ok(loaded) => {
            let serial = context.serial();
            context.modules.insert(serial, Arc::new(loaded));
            out.put(Handle { kind: Kind::Module, context: number, serial }.to_raw())
        }
        Err((code, why)) => context.misuse(code, FindingKind::InvalidModule, None, why),
    }
}

const MAX_DYNAMIC_SHARED: c_int = 8;
const CARVEOUT: c_int = 9;
/// The last attribute of a function, one of those that concern clusters.
const LAST: c_int = 15;

driver_calls! {
    /// Loads a module: PTX that ends with a zero byte. Machine code is refused.
    fn cuModuleLoadData(module: Out<u64>, image: Text) |driver| { load(driver, module, image.bytes()?) }

    /// As `cuModuleLoadData`; options of the assembler change nothing.
    fn cuModuleLoadDataEx(module: Out<u64>, image: Text, _count: u32, _options: *mut c_int, _values: *mut *mut c_void) |driver| {
        load(driver, module, image.bytes()?)
    }

    /// Loads a file.
    fn cuModuleLoad(module: Out<u64>, path: Text) |driver| {
        let path = path.str()?;
        match std::fs::read(path) {
            Ok(mut image) => {
                let end = image.iter().position(|&byte| byte == 0).unwrap_or(image.len());
                image.truncate(end);
                load(driver, module, &image)
            }
            Err(error) => driver.misuse(Code::FileNotFound, format!("{path}: {error}")),
        }
    }

    /// Unloads a module. Queued launches of its kernels still run, but on variables that are gone.
    fn cuModuleUnload(module: u64) |driver| {
        let (context, module) = driver.object(module, Kind::Module)?;
        let loaded = context.modules.remove(&module).ok_or(Code::InvalidHandle)?;
        context.functions.retain(|_, function| function.module != module);
        loaded.free(&context.memory)
    }

    /// Looks a kernel up.
    fn cuModuleGetFunction(function: Out<u64>, module: u64, name: Text) |driver| {
        let number = Handle::from_raw(module, Kind::Module).map_or(0, |handle| handle.context);
        let (context, module) = driver.object(module, Kind::Module)?;
        context.alive()?;
        let loaded = context.modules.get(&module).cloned().ok_or(Code::InvalidHandle)?;
        let kernel = loaded.kernel(name.str()?).ok_or(Code::NotFound)?;
        let max_dynamic_shared = Profile::SHARED_DEFAULT.saturating_sub(kernel.static_shared);
        let serial = context.serial();
        context.functions.insert(serial, Function { module, loaded, kernel, max_dynamic_shared });
        function.put(Handle { kind: Kind::Function, context: number, serial }.to_raw())
    }

    /// Looks a variable up: address and size, either of which may be unwanted.
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: u64, name: Text) |driver| {
        let (context, module) = driver.object(module, Kind::Module)?;
        context.alive()?;
        let loaded = context.modules.get(&module).ok_or(Code::InvalidHandle)?;
        let (found, size) = loaded.global(name.str()?).ok_or(Code::NotFound)?;
        address.put_if_wanted(found)?;
        bytes.put_if_wanted(size as usize)
    }

    /// An attribute of a kernel, by number.
    fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_int, function: u64) |driver| {
        let (major, minor) = driver.settings.profile.compute;
        let (context, function) = driver.object(function, Kind::Function)?;
        let function = context.functions.get(&function).ok_or(Code::InvalidHandle)?;
        let kernel = &function.kernel;
        let found = match attribute {
            0 => launch::max_threads(kernel),
            1 => kernel.static_shared,
            3 => kernel.local_bytes,
            4 => kernel.registers_estimate,
            5 => function.loaded.ptx_version(),
            6 => major * 10 + minor,
            MAX_DYNAMIC_SHARED => function.max_dynamic_shared,
            CARVEOUT => return value.put(-1),
            2 | 7 | 10..=LAST => 0, // constant memory of its own, cache mode, clusters
            _ => return Err(Code::InvalidValue),
        };
        value.put(c_int::try_from(found).unwrap_or(c_int::MAX))
    }

    /// Sets an attribute: the dynamic shared memory that launches may ask for, or the carve-out, which changes nothing.
    fn cuFuncSetAttribute(function: u64, attribute: c_int, value: c_int) |driver| {
        let optin = driver.settings.profile.shared_optin;
        let (context, serial) = driver.object(function, Kind::Function)?;
        context.alive()?;
        let function = context.functions.get_mut(&serial).ok_or(Code::InvalidHandle)?;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let wanted = u32::try_from(value).map_err(|_| Code::InvalidValue)?;
                let room = optin.saturating_sub(function.kernel.static_shared);
                if wanted > room {
                    let name = function.kernel.name.clone();
                    let message = format!("kernel {name}: {wanted} bytes of dynamic shared memory asked for, the device has {room}");
                    return context.misuse(Code::InvalidValue, FindingKind::InvalidLaunch, None, message);
                }
                function.max_dynamic_shared = wanted;
                Ok(())
            }
            CARVEOUT if (-1..=100).contains(&value) => Ok(()),
            _ => Err(Code::InvalidValue),
        }
    }

    /// Accepts a preference between cache and shared memory, which changes nothing.
    fn cuFuncSetCacheConfig(function: u64, config: u32) |driver| {
        driver.object(function, Kind::Function)?;
        if config <= 3 { Ok(()) } else { Err(Code::InvalidValue) }
    }
}
