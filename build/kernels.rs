//! The build of the kernels: find the compiler, compile what changed, write the table that `src/cuda/modules.rs` includes.

#[path = "compile.rs"]
mod compile;
#[path = "find.rs"]
mod find;
#[path = "nvrtc.rs"]
mod nvrtc;
#[path = "present.rs"]
mod present;
#[path = "targets.rs"]
mod targets;
#[path = "../src/cuda/variants.rs"]
#[allow(dead_code)] // the launchers use the rest
mod variants;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use compile::Compiled;
use targets::Target;

const WAYS_OUT: &str = "install it, for example with `pip install nvidia-cuda-nvrtc-cu12`, and build again, or \
                        name the library's file or folder in CAMSHAFT_NVRTC";

pub fn main() {
    for path in ["build", "kernels", "src/cuda/variants.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    for name in ["CAMSHAFT_CUDA_ARCHS", "CAMSHAFT_REQUIRE_CUDA"].iter().chain(find::VARIABLES) {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let found = find::nvrtc();
    let table = match &found {
        Ok(nvrtc) => {
            if nvrtc.path().is_absolute() {
                println!("cargo:rerun-if-changed={}", nvrtc.path().display());
            }
            let targets = targets::all().unwrap_or_else(|why| fail(&why));
            let folder = out.join("kernels");
            let compiled = compile::all(nvrtc, &variants::units(), &targets, &folder).unwrap_or_else(|log| fail(&log));
            table(&compiled, &format!("NVRTC {}", nvrtc.version()))
        }
        Err(find::Missing::Asked(why)) => fail(why),
        Err(find::Missing::Looked(places)) => {
            let why = format!("no NVRTC, the CUDA compiler library, was found in: {}; {WAYS_OUT}", places.join(", "));
            if env::var_os("CAMSHAFT_REQUIRE_CUDA").is_some_and(|value| value != "0" && !value.is_empty()) {
                fail(&format!("{why} (CAMSHAFT_REQUIRE_CUDA is set)"));
            }
            for path in find::watched() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
            println!("cargo:warning=built without CUDA kernels: {why}");
            table(&[], "").replace("MISSING: &str = \"\"", &format!("MISSING: &str = {why:?}"))
        }
    };
    let path = out.join("kernels.rs");
    write_if_changed(&path, table.as_bytes()).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())));
}

/// The Rust source that `src/cuda/modules.rs` includes.
fn table(compiled: &[Compiled], compiler: &str) -> String {
    let mut source = String::from("// Written by build.rs.\n");
    let _ = writeln!(source, "const COMPILER: &str = {compiler:?};\nconst MISSING: &str = \"\";\nconst IMAGES: &[Image] = &[");
    let mut last: Option<(&str, String)> = None;
    for Compiled { unit, target, path, packed } in compiled {
        // Most units have the same code for a later base: a device that could run it runs the earlier one, and is given that.
        if let Target::Ptx(_) = target {
            let code = instructions(path);
            if last.as_ref().is_some_and(|(of, earlier)| of == unit && *earlier == code) {
                continue;
            }
            last = Some((unit, code));
        }
        let target = match target {
            Target::Ptx(capability) => format!("Target::Ptx({capability})"),
            Target::Cubin(capability) => format!("Target::Cubin({capability})"),
        };
        let _ = writeln!(source, "    Image {{ unit: {unit:?}, target: {target}, packed: include_bytes!({packed:?}) }},");
    }
    source + "];\n"
}

/// Intermediate code without the line that names its base.
fn instructions(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())));
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| !line.starts_with(".target")).collect::<Vec<_>>().join("\n")
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) { Ok(()) } else { fs::write(path, bytes) }
}

/// Ends the build with `why` as it is: cargo shows it.
fn fail(why: &str) -> ! {
    eprintln!("{why}");
    process::exit(1);
}
