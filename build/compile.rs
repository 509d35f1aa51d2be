//! Compiles every unit for every target, skipping what has not changed.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use miniz_oxide::deflate::compress_to_vec;

use super::nvrtc::{Kind, Nvrtc};
use super::targets::Target;
use super::variants::Unit;

/// The machine may be small, and cargo compiles beside us.
const THREADS: usize = 2;

/// Of the compression: higher ones take longer for little.
const LEVEL: u8 = 6;

/// One image.
pub struct Compiled {
    pub unit: String,
    pub target: Target,
    /// The code, for the gates.
    pub path: PathBuf,
    /// The same deflated, to be embedded.
    pub packed: PathBuf,
}

/// Compiles into `folder`. A file's name carries a hash of everything that it was made from, so that a file that is there is
/// up to date; files of earlier builds are removed.
pub fn all(nvrtc: &Nvrtc, units: &[Unit], targets: &[Target], folder: &Path) -> Result<Vec<Compiled>, String> {
    let jobs: Vec<(&Unit, Target)> = units
        .iter()
        .flat_map(|unit| targets.iter().filter(|target| target.suits(unit)).map(move |&target| (unit, target)))
        .collect();
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (next, done, failures) = (AtomicUsize::new(0), Mutex::new(vec![]), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&(unit, target)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match one(nvrtc, unit, target, folder) {
                        Ok(compiled) => done.lock().expect("no job panics").push(compiled),
                        Err(why) => failures.lock().expect("no job panics").push(why),
                    }
                }
            });
        }
    });
    let (mut done, mut failures) = (done.into_inner().expect("no job panics"), failures.into_inner().expect("no job panics"));
    if !failures.is_empty() {
        failures.sort();
        failures.dedup(); // a mistake is the same for every target
        return Err(failures.join("\n"));
    }
    let kept: HashSet<&Path> = done.iter().flat_map(|compiled| [&*compiled.path, &*compiled.packed]).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !kept.contains(&*entry.path()) {
            let _ = fs::remove_file(entry.path()); // one that stays does no harm
        }
    }
    done.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(done)
}

fn one(nvrtc: &Nvrtc, unit: &Unit, target: Target, folder: &Path) -> Result<Compiled, String> {
    let name = format!("kernels/{}.cu", unit.stem);
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let source = read(&name)?;
    let mut options: Vec<String> = ["--include-path=kernels", "--std=c++17", "--generate-line-info"].map(String::from).into();
    options.push(format!("--gpu-architecture={}", target.architecture()));
    options.extend(unit.defines.iter().map(|(name, value)| format!("--define-macro={name}={value}")));

    let mut hash = DefaultHasher::new();
    (&source, &options, nvrtc.version()).hash(&mut hash);
    let mut headers = BTreeSet::new();
    collect_headers(&source, &mut headers)?;
    for header in &headers {
        read(header)?.hash(&mut hash);
    }
    let (kind, extension) = match target {
        Target::Ptx(_) => (Kind::Ptx, "ptx"),
        Target::Cubin(_) => (Kind::Cubin, "cubin"),
    };
    let path = folder.join(format!("{}.{}.{:016x}.{extension}", unit.name, target.architecture(), hash.finish()));
    if !path.exists() {
        let start = Instant::now();
        let (code, log) = nvrtc.compile(&source, &name, &options, kind)?;
        // Cargo keeps it in the build's `output` and shows it with -vv.
        println!("compiled {} for {} in {:.2} s", unit.name, target.architecture(), start.elapsed().as_secs_f64());
        for line in log.lines().filter(|line| !line.is_empty()) {
            println!("cargo:warning={line}");
        }
        write(&path, &code)?;
    }
    let packed = path.with_extension(format!("{extension}.z"));
    if !packed.exists() {
        let code = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        write(&packed, &compress_to_vec(&code, LEVEL))?;
    }
    Ok(Compiled { unit: unit.name.clone(), target, path, packed })
}

/// Whole or not at all: a build that is stopped must not leave half a file under a name that says "up to date".
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// The headers of `kernels/` that `source` includes, directly or not.
fn collect_headers(source: &str, headers: &mut BTreeSet<String>) -> Result<(), String> {
    for line in source.lines() {
        let Some(name) = line.trim().strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) else { continue };
        let path = format!("kernels/{name}");
        if headers.insert(path.clone()) {
            collect_headers(&fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?, headers)?;
        }
    }
    Ok(())
}
