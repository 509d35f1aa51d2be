//! Seeded weights and pictures, bit for bit those of `tests/goldens/seeded.py`, which states the rule.

use half::{bf16, f16};

/// The words of one name under one seed: splitmix64, started from FNV-1a.
#[derive(Clone, Copy)]
pub struct Words(u64);

impl Words {
    pub fn new(name: &str, seed: u64) -> Self {
        let bytes = name.bytes().chain(seed.to_le_bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
    }

    pub fn word(self, i: usize) -> u64 {
        let mut z = self.0.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub fn unit(self, i: usize) -> f32 {
        (self.word(i) >> 40) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// In `(-1, 1)`.
    pub fn sym(self, i: usize) -> f32 {
        let u = (self.word(i) >> 40) as i32;
        (2 * u + 1 - (1 << 24)) as f32 * (1.0 / (1 << 24) as f32)
    }
}

/// How a weight file stores its floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// From the goldens' spelling.
    pub fn parse(name: &str) -> Self {
        match name {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            _ => panic!("dtype `{name}`"),
        }
    }

    /// What is left of `v` after storing it, to nearest even.
    pub fn round(self, v: f32) -> f32 {
        match self {
            Self::F32 => v,
            Self::F16 => f16::from_f32(v).to_f32(),
            Self::Bf16 => bf16::from_f32(v).to_f32(),
        }
    }
}

/// Floats, or the one integer that a state dict holds per batch norm.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Float(Vec<f32>),
    Count(i64),
}

/// One tensor of a state dict, row-major; `shape` is `[]` for a count.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

impl Tensor {
    /// The tensor as a file of that dtype stores it, little-endian.
    pub fn bytes(&self, dtype: Dtype) -> Vec<u8> {
        match (&self.values, dtype) {
            (Values::Count(n), _) => n.to_le_bytes().to_vec(),
            (Values::Float(v), Dtype::F32) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Values::Float(v), Dtype::F16) => v.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            (Values::Float(v), Dtype::Bf16) => v.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        }
    }
}

/// A ResNet in torchvision's shape with seeded weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// 18, 34, 50, 101 or 152.
    pub depth: u32,
    /// Channels of the stem: 64 in the published networks.
    pub width: usize,
    pub classes: usize,
    pub seed: u64,
}

impl Net {
    /// The published shape at seed 1.
    pub fn resnet(depth: u32, classes: usize) -> Self {
        Self { depth, width: 64, classes, seed: 1 }
    }

    fn is_bottleneck(self) -> bool {
        self.depth >= 50
    }

    fn blocks(self) -> [usize; 4] {
        match self.depth {
            18 => [2, 2, 2, 2],
            34 | 50 => [3, 4, 6, 3],
            101 => [3, 4, 23, 3],
            152 => [3, 8, 36, 3],
            depth => panic!("no ResNet-{depth}"),
        }
    }

    /// Channels of layer4: 512 or 2048 at width 64.
    pub fn features(self) -> usize {
        self.width * 8 * if self.is_bottleneck() { 4 } else { 1 }
    }

    /// Every tensor of the state dict with its shape, in torch's order, counters included.
    pub fn layout(self) -> Vec<(String, Vec<usize>)> {
        let mut out = Vec::new();
        conv_bn(&mut out, "conv1", "bn1", [self.width, 3, 7, 7]);
        let mut c = self.width;
        for (stage, count) in self.blocks().into_iter().enumerate() {
            let mid = self.width << stage;
            let k = if self.is_bottleneck() { 4 * mid } else { mid };
            for block in 0..count {
                let at = format!("layer{}.{block}", stage + 1);
                let filters = if self.is_bottleneck() {
                    vec![[mid, c, 1, 1], [mid, mid, 3, 3], [k, mid, 1, 1]]
                } else {
                    vec![[mid, c, 3, 3], [mid, mid, 3, 3]]
                };
                for (i, kcrs) in filters.into_iter().enumerate() {
                    conv_bn(&mut out, &format!("{at}.conv{}", i + 1), &format!("{at}.bn{}", i + 1), kcrs);
                }
                if block == 0 && (stage > 0 || c != k) {
                    conv_bn(&mut out, &format!("{at}.downsample.0"), &format!("{at}.downsample.1"), [k, c, 1, 1]);
                }
                c = k;
            }
        }
        out.push(("fc.weight".into(), vec![self.classes, c]));
        out.push(("fc.bias".into(), vec![self.classes]));
        out
    }

    /// One tensor by the rule for its kind.
    pub fn tensor(self, name: &str, shape: &[usize]) -> Tensor {
        let values = if name.ends_with(".num_batches_tracked") { Values::Count(100) } else { self.floats(name, shape) };
        Tensor { name: name.into(), shape: shape.into(), values }
    }

    fn floats(self, name: &str, shape: &[usize]) -> Values {
        let words = Words::new(name, self.seed);
        let last_bn = if self.is_bottleneck() { ".bn3.weight" } else { ".bn2.weight" };
        let fill = |f: &dyn Fn(usize) -> f32| Values::Float((0..shape.iter().product()).map(f).collect());
        if let [_, c, r, s] = *shape {
            let scale = (6.0 / (c * r * s) as f32).sqrt();
            fill(&|i| words.sym(i) * scale)
        } else if name == "fc.weight" {
            let scale = (3.0 / shape[1] as f32).sqrt();
            fill(&|i| words.sym(i) * scale)
        } else if name == "fc.bias" {
            fill(&|i| 0.1 * words.sym(i))
        } else if name.ends_with(".running_mean") {
            fill(&|i| 0.3 * words.sym(i))
        } else if name.ends_with(".running_var") {
            fill(&|i| 0.5 + words.unit(i))
        } else if name.ends_with(".bias") {
            fill(&|i| 0.2 * words.sym(i))
        } else if name.starts_with("layer") && name.ends_with(last_bn) {
            fill(&|i| (0.5 + words.unit(i)) * 0.25)
        } else {
            fill(&|i| 0.5 + words.unit(i))
        }
    }

    /// The whole state dict with its counters (122 tensors for ResNet-18).
    pub fn tensors(self) -> Vec<Tensor> {
        self.layout().iter().map(|(name, shape)| self.tensor(name, shape)).collect()
    }

    /// The state dict as files before PyTorch 0.4.1 have it: without the counters (102 tensors for ResNet-18).
    pub fn tensors_without_counters(self) -> Vec<Tensor> {
        let layout = self.layout().into_iter().filter(|(name, _)| !name.ends_with(".num_batches_tracked"));
        layout.map(|(name, shape)| self.tensor(&name, &shape)).collect()
    }
}

fn conv_bn(out: &mut Vec<(String, Vec<usize>)>, conv: &str, bn: &str, kcrs: [usize; 4]) {
    out.push((format!("{conv}.weight"), kcrs.to_vec()));
    for part in ["weight", "bias", "running_mean", "running_var"] {
        out.push((format!("{bn}.{part}"), vec![kcrs[0]]));
    }
    out.push((format!("{bn}.num_batches_tracked"), vec![]));
}

/// A picture, u8 `[h, w, 3]`: two triangle waves a channel and noise.
pub fn picture(index: usize, h: usize, w: usize, seed: u64) -> Vec<u8> {
    let words = Words::new(&format!("picture.{index}"), seed);
    let tri = |t: i64| (t.rem_euclid(512) - 256).abs();
    let below = |i: usize, n: u64| (words.word(i) % n) as i64;
    let mut out = Vec::with_capacity(h * w * 3);
    for y in 0..h {
        for x in 0..w {
            for c in 0..3 {
                let wave = |k: usize, sign: i64| {
                    let b = 6 * c + 3 * k;
                    tri(x as i64 * (1 + below(b, 7)) + sign * y as i64 * (1 + below(b + 1, 7)) + below(b + 2, 512))
                };
                let noise = (words.word(64 + (y * w + x) * 3 + c) >> 58) as i64;
                out.push(u8::try_from(((3 * (wave(0, 1) + wave(1, -1))) >> 3) + noise).expect("at most 192 + 63"));
            }
        }
    }
    out
}

/// What the network is given: pictures `0..n`, normalised, f32 `[n, h, w, 3]`.
pub fn network_input(n: usize, h: usize, w: usize, seed: u64) -> Vec<f32> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];
    let pixels = (0..n).flat_map(|i| picture(i, h, w, seed));
    pixels.enumerate().map(|(i, v)| (f32::from(v) / 255.0 - MEAN[i % 3]) / STD[i % 3]).collect()
}
