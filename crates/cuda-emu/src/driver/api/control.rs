//! Starting, and what tests ask of the device beyond the driver interface.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint};

use super::pointer::{Out, Text};
use crate::driver::code::{Code, Result};
use crate::driver::settings::{NAMES, Settings};
use crate::driver::state::{Driver, with_driver, with_slot};

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> c_int;
}

/// The report must be there even if the program never destroys its context.
extern "C" fn save_at_exit() {
    with_driver("exit", |driver| {
        driver.journal.save();
        Ok(())
    });
}

fn start(slot: &mut Option<Driver>, settings: Settings) {
    let profile = settings.profile.name;
    eprintln!("cuda-emu: software device in use ({profile} profile); everything runs on the CPU, times mean nothing");
    *slot = Some(Driver::new(settings));
    // SAFETY: the function lives as long as the library, which is never unloaded before exit without running its exit functions.
    unsafe { atexit(save_at_exit) };
}

/// Starts the driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuInit(flags: c_uint) -> u32 {
    with_slot("cuInit", |slot| {
        if flags != 0 {
            return Err(Code::InvalidValue);
        }
        if slot.is_none() {
            start(slot, read(&HashMap::new())?);
        }
        Ok(())
    })
}

fn read(overrides: &HashMap<&str, &str>) -> Result<Settings> {
    let lookup = |name: &str| overrides.get(name).map(|&value| value.to_owned()).or_else(|| std::env::var(name).ok());
    Settings::from_lookup(lookup).map_err(|error| {
        eprintln!("cuda-emu: {error}");
        Code::InvalidValue
    })
}

/// Settings as lines `NAME=VALUE`, which count before the environment. They hold for contexts made from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuda_emu_configure(settings: Text) -> u32 {
    with_slot("cuda_emu_configure", |slot| {
        let text = settings.str()?;
        let overrides: Option<HashMap<&str, &str>> = text.lines().map(|line| line.split_once('=')).collect();
        let overrides = overrides.ok_or(Code::InvalidValue)?;
        if let Some(unknown) = overrides.keys().find(|name| !NAMES.contains(name)) {
            eprintln!("cuda-emu: no setting is called {unknown}");
            return Err(Code::InvalidValue);
        }
        let settings = read(&overrides)?;
        match slot {
            Some(driver) => driver.set_settings(settings),
            None => start(slot, settings),
        }
        Ok(())
    })
}

/// Findings and launches since the last call, as JSON. The text must be given back to `cuda_emu_free_text`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuda_emu_take_report(text: Out<*mut c_char>) -> u32 {
    with_driver("cuda_emu_take_report", |driver| {
        let json = driver.journal.take().to_json().to_string();
        text.put(CString::new(json).map_err(|_| Code::Unknown)?.into_raw())
    })
}

/// Frees a text of `cuda_emu_take_report`.
///
/// # Safety
/// `text` must come from `cuda_emu_take_report` and not have been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuda_emu_free_text(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller promises that it came from `CString::into_raw` above.
        drop(unsafe { CString::from_raw(text) });
    }
}
