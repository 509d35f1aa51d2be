//! Runs the program in a folder of its own, away from the user's caches.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use camshaft::cam::Map;
use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder in which the program runs.
pub struct Bench {
    folder: TempDir,
}

/// What a run left behind.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Path of a file in the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, with its folder, and returns its name.
    pub fn file<'a>(&self, name: &'a str, bytes: impl AsRef<[u8]>) -> &'a str {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), bytes).unwrap();
        name
    }

    /// The program, to be run in the folder, offline unless a test decides otherwise.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_camshaft"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for name in ["XDG_CACHE_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "CAMSHAFT_TORCHVISION_URL"] {
            command.env_remove(name);
        }
        for (name, folder) in [("CAMSHAFT_CACHE", "cache"), ("TORCH_HOME", "torch"), ("HF_HOME", "hf")] {
            command.env(name, self.at(folder));
        }
        // Whatever devices the machine has, these tests are about the rest.
        command.env("CAMSHAFT_OFFLINE", "1").env("RUST_BACKTRACE", "0").env("CAMSHAFT_DEVICE", "cpu");
        command
    }

    /// Runs it.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Names in a folder, sorted, folders with a slash.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let name = |entry: fs::DirEntry| {
            let slash = if entry.file_type().unwrap().is_dir() { "/" } else { "" };
            entry.file_name().into_string().unwrap() + slash
        };
        let mut names: Vec<_> = fs::read_dir(self.at(folder)).unwrap().map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    /// A folder's manifest.
    pub fn manifest(&self, folder: &str) -> Value {
        serde_json::from_slice(&fs::read(self.at(folder).join("manifest.json")).unwrap()).unwrap()
    }

    /// A map in a file.
    pub fn npy(&self, name: &str) -> Map {
        let bytes = fs::read(self.at(name)).unwrap();
        let file = npyz::NpyFile::new(&bytes[..]).unwrap();
        let [h, w] = file.shape()[..] else { panic!("{name} has shape {:?}", file.shape()) };
        Map::new(h as usize, w as usize, file.into_vec::<f32>().unwrap())
    }

    /// A picture in a file.
    pub fn png(&self, name: &str) -> image::RgbImage {
        image::open(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}")).into_rgb8()
    }
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Self { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    }

    /// The run, which must have ended with this code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The run, whose stderr must hold each text.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in stderr:\n{}", self.stderr);
        }
        self
    }

    /// stdout as one JSON object a line.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// A PNG of the seeded kind.
pub fn png(index: usize, w: usize, h: usize) -> Vec<u8> {
    encoded(index, w, h, image::ImageFormat::Png)
}

/// A JPEG of the seeded kind.
pub fn jpeg(index: usize, w: usize, h: usize) -> Vec<u8> {
    encoded(index, w, h, image::ImageFormat::Jpeg)
}

fn encoded(index: usize, w: usize, h: usize, format: image::ImageFormat) -> Vec<u8> {
    let pixels = crate::common::seeded::picture(index, h, w, 1);
    let picture = image::RgbImage::from_raw(w as u32, h as u32, pixels).unwrap();
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Path of a bundled picture.
pub fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo").join(name)
}

/// The results of a manifest's entry.
#[track_caller]
pub fn results(entry: &Value) -> &Vec<Value> {
    assert_eq!(entry["status"], "ok", "{entry}");
    entry["results"].as_array().unwrap()
}
