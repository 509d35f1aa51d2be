//! Making a process use this device.
//!
//! The dynamic loader takes a library that is already loaded when its recorded name (`DT_SONAME`) is the one asked for. The shared
//! library records the name `libcuda.so`, which clients ask for first, but its file is called `libcuda_emu.so`, which nobody asks
//! for. Loading that file by its path is therefore all it takes, and without that nothing ever finds it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Why the device could not be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The shared library is nowhere.
    #[error(
        "libcuda_emu.so is in none of {searched:?}; it is built with the cuda-emu package, or set CUDA_EMU_LIBRARY to its path"
    )]
    NotFound {
        /// The folders and files tried.
        searched: Vec<PathBuf>,
    },
    /// The loader refused it.
    #[error("{}: {reason}", path.display())]
    Load {
        /// The shared library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// Something else already answers to the name `libcuda.so`, perhaps the driver of a real GPU.
    #[error("another libcuda.so is loaded in this process; install the software device before anything uses CUDA")]
    Occupied,
    /// A setting means nothing; standard error says which.
    #[error("settings refused: {settings:?}")]
    Settings {
        /// The settings, one `NAME=VALUE` a line.
        settings: String,
    },
}

/// The device of this process, once it is installed.
#[derive(Debug, Clone, Copy)]
pub struct Installed {
    configure: unsafe extern "C" fn(*const c_char) -> u32,
    take_report: unsafe extern "C" fn(*mut *mut c_char) -> u32,
    free_text: unsafe extern "C" fn(*mut c_char),
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *mut c_char;
}

const RTLD_NOW: c_int = 2;
const RTLD_NOLOAD: c_int = 4;

/// Makes this process use the software device for CUDA, whatever else the computer has. Call it before anything else loads
/// `libcuda`; calling it again is fine, from any thread. `settings` are pairs such as `("CUDA_EMU_STREAMS", "lazy")`, which count before
/// the environment, for contexts that are made afterwards.
///
/// # Errors
/// [`InstallError`] when the shared library is not to be found or loaded, or another `libcuda.so` is already there.
pub fn install(settings: &[(&str, &str)]) -> Result<Installed, InstallError> {
    static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);
    let mut slot = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let installed = match *slot {
        Some(installed) => installed,
        None => *slot.insert(load(library()?)?),
    };
    if !settings.is_empty() {
        installed.configure(settings)?;
    }
    Ok(installed)
}

impl Installed {
    /// Changes settings for contexts that are made from now on.
    ///
    /// # Errors
    /// [`InstallError::Settings`] for an unknown name or value.
    pub fn configure(&self, settings: &[(&str, &str)]) -> Result<(), InstallError> {
        let settings: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let Ok(text) = CString::new(settings.clone()) else { return Err(InstallError::Settings { settings }) };
        // SAFETY: the function of that name in our library takes a text that ends with zero.
        let code = unsafe { (self.configure)(text.as_ptr()) };
        if code == 0 { Ok(()) } else { Err(InstallError::Settings { settings }) }
    }

    /// Findings and launches since the last call, as JSON: `device`, `launches`, `kernels`, `findings`. Null before `cuInit`.
    pub fn take_report(&self) -> serde_json::Value {
        let mut text = std::ptr::null_mut();
        // SAFETY: the function of that name writes a pointer to a text, or fails and writes nothing.
        let code = unsafe { (self.take_report)(&mut text) };
        if code != 0 || text.is_null() {
            return serde_json::Value::Null;
        }
        // SAFETY: a text that ends with zero, ours until it is given back below.
        let json = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: the text came from the call above and is not used any more.
        unsafe { (self.free_text)(text) };
        serde_json::from_str(&json).unwrap_or_default()
    }
}

/// Path of the shared library: named by `CUDA_EMU_LIBRARY`, or where cargo puts it, beside the running program or in `deps` there.
/// A program started with `LD_PRELOAD` set to it uses the software device.
///
/// # Errors
/// [`InstallError::NotFound`] when it is in none of the places.
pub fn library() -> Result<PathBuf, InstallError> {
    let mut candidates: Vec<PathBuf> = std::env::var_os("CUDA_EMU_LIBRARY").map(PathBuf::from).into_iter().collect();
    if candidates.is_empty() {
        let program = std::env::current_exe().unwrap_or_default();
        let folders = program.ancestors().skip(1).take(2).flat_map(|folder| [folder.join("deps"), folder.to_path_buf()]);
        candidates = folders.map(|folder| folder.join("libcuda_emu.so")).collect();
        // Documentation tests run elsewhere, but with cargo's folders on the loader's path.
        let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("libcuda_emu.so")));
    }
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or(InstallError::NotFound { searched: candidates })
}

fn load(path: PathBuf) -> Result<Installed, InstallError> {
    let open = |name: &Path, flags| {
        let name = CString::new(name.as_os_str().as_bytes()).unwrap_or_default();
        // SAFETY: a text that ends with zero; the library's start-up code is the standard library's.
        unsafe { dlopen(name.as_ptr(), flags) }
    };
    if !open(Path::new("libcuda.so"), RTLD_NOW | RTLD_NOLOAD).is_null() {
        return Err(InstallError::Occupied);
    }
    let library = open(&path, RTLD_NOW);
    if library.is_null() {
        return Err(InstallError::Load { path, reason: last_error() });
    }
    if open(Path::new("libcuda.so"), RTLD_NOW | RTLD_NOLOAD) != library {
        return Err(InstallError::Load { path, reason: "the loader does not take it for libcuda.so".into() });
    }
    let symbol = |name: &CStr| {
        // SAFETY: an open library and a text that ends with zero.
        let address = unsafe { dlsym(library, name.as_ptr()) };
        if address.is_null() { Err(InstallError::Load { path: path.clone(), reason: last_error() }) } else { Ok(address) }
    };
    let (configure, take, free) =
        (symbol(c"cuda_emu_configure")?, symbol(c"cuda_emu_take_report")?, symbol(c"cuda_emu_free_text")?);
    // SAFETY: the functions of these names have these signatures, see `api::control`; the library stays loaded.
    unsafe {
        Ok(Installed {
            configure: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const c_char) -> u32>(configure),
            take_report: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut *mut c_char) -> u32>(take),
            free_text: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_char)>(free),
        })
    }
}

fn last_error() -> String {
    // SAFETY: returns null or a text that stays until the next call of this thread.
    let error = unsafe { dlerror() };
    if error.is_null() {
        return "unknown error of the loader".into();
    }
    // SAFETY: not null, see above.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()
}
