//! Reads `tests/goldens/network/*.safetensors`; `tests/goldens/make_network.py` states what is in them.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;

use super::seeded::{Dtype, Net, network_input};

/// The case and what its arrays are about.
#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    pub depth: u32,
    pub width: usize,
    pub classes: usize,
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub dtype: String,
    pub seed: u64,
    pub weights_sha256: String,
    pub input_sha256: String,
    /// Name and NHWC shape, in the order in which the layers finish.
    pub layers: Vec<(String, usize, usize, usize, usize)>,
    /// Trainable values: what `info` calls parameters.
    pub parameters: u64,
}

/// One layer: sixteen places of its NHWC output, and two numbers over the whole.
#[derive(Clone, Debug)]
pub struct Layer {
    pub name: String,
    pub nhwc: [usize; 4],
    pub index: Vec<usize>,
    pub value: Vec<f32>,
    pub mean: f32,
    /// Largest magnitude.
    pub largest: f32,
}

/// Class activation maps of three classes for every picture.
#[derive(Clone, Debug)]
pub struct Cam {
    pub class: Vec<usize>,
    /// `[N, 3, h, w]` at layer4's size.
    pub raw: Vec<f32>,
    /// Rows and columns of a raw map.
    pub size: (usize, usize),
    /// Flat places in the up-sampled maps `[N, 3, H, W]`, and the values there.
    pub up_index: Vec<usize>,
    pub up_value: Vec<f32>,
    /// Least and largest of each up-sampled map, `[N, 3, 2]`.
    pub up_range: Vec<f32>,
    /// The up-sampled maps in full, in one case.
    pub up: Option<Vec<f32>>,
}

/// One golden file.
#[derive(Clone, Debug)]
pub struct Golden {
    pub name: String,
    pub meta: Meta,
    pub layers: Vec<Layer>,
    /// `[N, H, W, C]`, where the case is small.
    pub layer4: Option<Vec<f32>>,
    /// `[N, classes]`.
    pub logits: Vec<f32>,
    pub cam: Cam,
}

impl Golden {
    /// The names of all cases, sorted.
    pub fn names() -> Vec<String> {
        let files = std::fs::read_dir(folder()).expect("tests/goldens/network").map(|f| f.expect("an entry").path());
        let mut names: Vec<String> = files
            .filter(|f| f.extension().is_some_and(|e| e == "safetensors"))
            .map(|f| f.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert!(!names.is_empty(), "no goldens in {}", folder().display());
        names
    }

    /// The case of that name, without its extension.
    pub fn load(name: &str) -> Self {
        let path = folder().join(format!("{name}.safetensors"));
        read(name, &path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The network whose outputs these are, before rounding to [`Golden::dtype`].
    pub fn net(&self) -> Net {
        let Meta { depth, width, classes, seed, .. } = self.meta;
        Net { depth, width, classes, seed }
    }

    /// How the weight file stores the floats.
    pub fn dtype(&self) -> Dtype {
        Dtype::parse(&self.meta.dtype)
    }

    /// The network's input, `[N, H, W, 3]`.
    pub fn input(&self) -> Vec<f32> {
        network_input(self.meta.n, self.meta.h, self.meta.w, self.meta.seed)
    }

    /// The layer of that name.
    pub fn layer(&self, name: &str) -> &Layer {
        self.layers.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("{}: no layer `{name}`", self.name))
    }
}

/// `tests/goldens/methods/*.safetensors`; `tests/goldens/make_methods.py` states what is in them.
pub struct MethodGolden {
    tensors: Vec<(String, Vec<u8>)>,
    /// Flat positions of the samples of enlarged maps.
    pub at: Vec<usize>,
}

impl MethodGolden {
    /// The file of that name, without its extension.
    pub fn load(name: &str) -> Self {
        Self::of("methods", name)
    }

    /// As [`MethodGolden::load`], from another folder of goldens.
    pub fn of(kind: &str, name: &str) -> Self {
        let path = folder().with_file_name(kind).join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors: Vec<_> = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
        let at = file.tensor("at").expect("positions").data().chunks_exact(4);
        let at = at.map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
        Self { tensors, at }
    }

    /// The numbers of all float tensors whose names begin so, with the rest of the names.
    pub fn starting_with(&self, start: &str) -> Vec<(String, Vec<f32>)> {
        let mut found: Vec<_> = self
            .tensors
            .iter()
            .filter_map(|(name, _)| Some((name.strip_prefix(start)?.to_owned(), name)))
            .filter(|(rest, _)| rest.contains('.'))
            .map(|(rest, name)| (rest, self.floats(name)))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(!found.is_empty(), "nothing begins with {start}");
        found
    }

    /// The numbers of one tensor.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// The bytes of one tensor.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.tensors.iter().find(|tensor| tensor.0 == name).unwrap_or_else(|| panic!("no `{name}`")).1.clone()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/network")
}

fn read(name: &str, path: &Path) -> Result<Golden, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let meta: Meta = serde_json::from_str(&header.metadata().as_ref().ok_or("no metadata")?["meta"])?;
    let file = SafeTensors::deserialize(&bytes)?;
    let words = |name: &str| -> Result<Vec<[u8; 4]>, safetensors::SafeTensorError> {
        Ok(file.tensor(name)?.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect())
    };
    let floats = |name: &str| words(name).map(|w| w.into_iter().map(f32::from_le_bytes).collect::<Vec<_>>());
    let indices = |name: &str| words(name).map(|w| w.into_iter().map(|b| i32::from_le_bytes(b) as usize).collect::<Vec<_>>());

    let (index, value, stats) = (indices("layer.index")?, floats("layer.value")?, floats("layer.stats")?);
    let per = index.len() / meta.layers.len();
    let layer = |(i, (name, n, h, w, c)): (usize, &(String, usize, usize, usize, usize))| Layer {
        name: name.clone(),
        nhwc: [*n, *h, *w, *c],
        index: index[i * per..(i + 1) * per].to_vec(),
        value: value[i * per..(i + 1) * per].to_vec(),
        mean: stats[2 * i],
        largest: stats[2 * i + 1],
    };
    let raw = file.tensor("cam.raw")?;
    let cam = Cam {
        class: indices("cam.class")?,
        raw: floats("cam.raw")?,
        size: (raw.shape()[2], raw.shape()[3]),
        up_index: indices("cam.up.index")?,
        up_value: floats("cam.up.value")?,
        up_range: floats("cam.up.range")?,
        up: floats("cam.up").ok(),
    };
    Ok(Golden {
        name: name.into(),
        layers: meta.layers.iter().enumerate().map(layer).collect(),
        layer4: floats("layer4").ok(),
        logits: floats("logits")?,
        cam,
        meta,
    })
}
