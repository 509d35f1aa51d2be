//! NVRTC through its C interface, opened at run time.

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library;

type Program = *mut c_void;
type GetSize = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type GetText = unsafe extern "C" fn(Program, *mut c_char) -> c_int;

/// The compiler library.
pub struct Nvrtc {
    path: PathBuf,
    version: (c_int, c_int),
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    error: unsafe extern "C" fn(c_int) -> *const c_char,
    log: (GetSize, GetText),
    ptx: (GetSize, GetText),
    cubin: (GetSize, GetText),
    _library: Library, // the functions live as long as it does
}

/// What to make.
#[derive(Clone, Copy)]
pub enum Kind {
    Ptx,
    Cubin,
}

impl Nvrtc {
    /// Opens the library and asks its version.
    pub fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: loading runs the library's initialisers. It is NVIDIA's compiler, in a place that the user named or the
        // system's loader trusts; the types below are those of nvrtc.h, unchanged since CUDA 11.1.
        unsafe {
            let library = Library::new(path).map_err(reason)?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get($name).map_err(reason)?
                };
            }
            let query: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = symbol!(b"nvrtcVersion");
            let mut version = (0, 0);
            if query(&mut version.0, &mut version.1) != 0 {
                return Err("it does not tell its version".into());
            }
            Ok(Self {
                path: path.to_owned(),
                version,
                create: symbol!(b"nvrtcCreateProgram"),
                compile: symbol!(b"nvrtcCompileProgram"),
                destroy: symbol!(b"nvrtcDestroyProgram"),
                error: symbol!(b"nvrtcGetErrorString"),
                log: (symbol!(b"nvrtcGetProgramLogSize"), symbol!(b"nvrtcGetProgramLog")),
                ptx: (symbol!(b"nvrtcGetPTXSize"), symbol!(b"nvrtcGetPTX")),
                cubin: (symbol!(b"nvrtcGetCUBINSize"), symbol!(b"nvrtcGetCUBIN")),
                _library: library,
            })
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// Compiles `source`, called `name` in messages. Returns the code (PTX with the NUL that ends it) and the log; the error is
    /// the log as it is.
    pub fn compile(&self, source: &str, name: &str, options: &[String], kind: Kind) -> Result<(Vec<u8>, String), String> {
        let text = |text: &str| CString::new(text).map_err(|_| format!("{name}: a NUL in the source or an option"));
        let (source, c_name) = (text(source)?, text(name)?);
        let options = options.iter().map(|option| text(option)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = Handle { nvrtc: self, program: ptr::null_mut() };
        // SAFETY: all pointers are to NUL-terminated strings that outlive the calls; the program is destroyed by `Handle`.
        unsafe {
            let created = (self.create)(&mut program.program, source.as_ptr(), c_name.as_ptr(), 0, ptr::null(), ptr::null());
            if created != 0 {
                return Err(format!("{name}: {}", self.reason(created)));
            }
            let compiled = (self.compile)(program.program, pointers.len() as c_int, pointers.as_ptr());
            let mut log = self.get(program.program, self.log)?;
            log.pop();
            let log = String::from_utf8_lossy(&log).into_owned();
            if compiled != 0 {
                return Err(format!("{name}: {} ({})\n{log}", self.reason(compiled), self.path.display()));
            }
            let code = self.get(program.program, if matches!(kind, Kind::Ptx) { self.ptx } else { self.cubin })?;
            Ok((code, log))
        }
    }

    /// # Safety
    /// `program` is live, and `functions` belong together.
    unsafe fn get(&self, program: Program, functions: (GetSize, GetText)) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the buffer has the size that the library asks for.
        unsafe {
            let mut status = (functions.0)(program, &mut size);
            let mut bytes = vec![0u8; size];
            if status == 0 {
                status = (functions.1)(program, bytes.as_mut_ptr().cast());
            }
            if status == 0 { Ok(bytes) } else { Err(self.reason(status)) }
        }
    }

    fn reason(&self, status: c_int) -> String {
        // SAFETY: the library returns a static string for any status.
        unsafe { CStr::from_ptr((self.error)(status)) }.to_string_lossy().into_owned()
    }
}

/// What the loader says; its error alone only names the call.
fn reason(error: libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| source.to_string())
}

/// A program, destroyed on every way out.
struct Handle<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: created by the same library, destroyed once.
            unsafe { (self.nvrtc.destroy)(&mut self.program) };
        }
    }
}
