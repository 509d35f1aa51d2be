//! Where NVRTC is: what the user names, then CUDA toolkits, then the PyPI package of the active Python.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::nvrtc::Nvrtc;

/// Environment variables that decide.
pub const VARIABLES: &[&str] =
    &["CAMSHAFT_NVRTC", "CUDA_PATH", "CUDA_HOME", "LD_LIBRARY_PATH", "PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH"];

pub enum Missing {
    /// What `CAMSHAFT_NVRTC` names cannot be used.
    Asked(String),
    /// It is in none of these places.
    Looked(Vec<String>),
}

/// Opens the first NVRTC that works.
pub fn nvrtc() -> Result<Nvrtc, Missing> {
    if let Some(asked) = env::var_os("CAMSHAFT_NVRTC").filter(|asked| !asked.is_empty()) {
        let asked = PathBuf::from(asked);
        let candidates = if asked.is_dir() { libraries(&asked) } else { vec![asked.clone()] };
        let refusals: Vec<String> = match first(&candidates) {
            Ok(nvrtc) => return Ok(nvrtc),
            Err(refusals) => refusals,
        };
        let nothing = || format!("the folder {} holds no NVRTC library", asked.display());
        let why = if refusals.is_empty() { nothing() } else { refusals.join("; ") };
        return Err(Missing::Asked(format!("CAMSHAFT_NVRTC: {why}")));
    }
    let mut looked = vec![];
    for folder in toolkits() {
        match first(&libraries(&folder)) {
            Ok(nvrtc) => return Ok(nvrtc),
            Err(refusals) => looked.extend([vec![folder.display().to_string()], refusals].concat()),
        }
    }
    let names = loader_names();
    match first(&names) {
        Ok(nvrtc) => return Ok(nvrtc),
        Err(_) => looked.push(format!(
            "the loader's path ({})",
            names.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(", ")
        )),
    }
    let sites = python_sites();
    if sites.is_empty() {
        looked.push("the active Python (none answers as python3 or python)".into());
    }
    for site in sites {
        for package in packages(&site) {
            match first(&libraries(&package)) {
                Ok(nvrtc) => return Ok(nvrtc),
                Err(refusals) => looked.extend(refusals),
            }
        }
        looked.push(site.join("nvidia").display().to_string());
    }
    Err(Missing::Looked(looked))
}

fn first(candidates: &[PathBuf]) -> Result<Nvrtc, Vec<String>> {
    let mut refusals = vec![];
    for path in candidates {
        match Nvrtc::open(path) {
            Ok(nvrtc) => return Ok(nvrtc),
            Err(why) if why.contains(&*path.to_string_lossy()) => refusals.push(why),
            Err(why) => refusals.push(format!("{}: {why}", path.display())),
        }
    }
    Err(refusals)
}

/// NVRTC libraries in a folder, newest name first.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let is_nvrtc = |name: &str| {
        let (linux, windows) = (name.starts_with("libnvrtc.so"), name.starts_with("nvrtc64_") && name.ends_with(".dll"));
        (linux || windows) && !name.contains("builtins") && !name.contains(".alt.")
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_nvrtc)).collect();
    found.sort();
    found.reverse();
    found
}

/// Library folders of CUDA toolkits: named by variables, then the usual places.
fn toolkits() -> Vec<PathBuf> {
    let named = ["CUDA_PATH", "CUDA_HOME"].iter().filter_map(env::var_os).map(PathBuf::from);
    let mut usual: Vec<PathBuf> = ["/usr/local", "/opt"]
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("cuda"))
        .map(|entry| entry.path())
        .collect();
    usual.sort();
    usual.reverse();
    let windows = Path::new(r"C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA");
    let windows = fs::read_dir(windows).into_iter().flatten().flatten().map(|entry| entry.path());
    let conda = env::var_os("CONDA_PREFIX").map(PathBuf::from);
    let roots = named.chain(usual).chain(windows).chain(conda);
    let folders =
        roots.flat_map(|root| ["lib64", "lib", "targets/x86_64-linux/lib", "bin", "bin/x64"].map(|part| root.join(part)));
    folders
        .chain(["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"].map(PathBuf::from))
        .filter(|folder| folder.is_dir())
        .collect()
}

fn loader_names() -> Vec<PathBuf> {
    let names: &[&str] = if cfg!(windows) {
        &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
    } else {
        &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
    };
    names.iter().map(PathBuf::from).collect()
}

/// Package folders of the Python that `python3` starts.
fn python_sites() -> Vec<PathBuf> {
    const ASK: &str = "import site, sys\nfor p in sys.path + [site.getusersitepackages()]: p and print(p)";
    let answer = ["python3", "python"].iter().find_map(|python| {
        let output = Command::new(python).args(["-c", ASK]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let mut sites: Vec<PathBuf> = vec![];
    for line in answer.iter().flat_map(|answer| answer.lines()).map(PathBuf::from) {
        if line.is_dir() && line.to_string_lossy().contains("-packages") && !sites.contains(&line) {
            sites.push(line);
        }
    }
    sites
}

/// What changes when NVRTC is installed later: the loader's cache (packages of the system and NVIDIA's installer renew it), the
/// history of a conda environment, and the package folders of the active Python. Only what is there: cargo takes a path that is
/// missing for one that has changed, and would build anew at every call. It looks into folders to their full depth, so large ones
/// are left out.
pub fn watched() -> Vec<PathBuf> {
    let conda = env::var_os("CONDA_PREFIX").map(|prefix| Path::new(&prefix).join("conda-meta/history"));
    let files = [PathBuf::from("/etc/ld.so.cache")].into_iter().chain(conda).filter(|path| path.is_file());
    files.chain(python_sites().into_iter().filter(|site| is_small(site))).collect()
}

/// Whether a folder holds at most so many files that a look at all of them takes no time that counts (some 0.1 s).
fn is_small(folder: &Path) -> bool {
    const MOST: usize = 50_000;
    let (mut folders, mut entries) = (vec![folder.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MOST {
                return false;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    true
}

/// Folders of NVIDIA's wheels: `nvidia-cuda-nvrtc-cu12` has one of its own, those for CUDA 13 share one.
fn packages(site: &Path) -> Vec<PathBuf> {
    let parts = ["cuda_nvrtc/lib", "cuda_nvrtc/bin", "cu13/lib", "cu13/bin/x86_64", "cu13/bin"];
    parts.iter().map(|part| site.join("nvidia").join(part)).filter(|folder| folder.is_dir()).collect()
}
