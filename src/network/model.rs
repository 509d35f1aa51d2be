//! A network with its parameters: a weight file whose every tensor has been checked.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Architecture, Layer, Network, NetworkError, Op};
use crate::weights::WeightFile;

/// Added to a variance before its root, torchvision's default.
pub const BATCH_NORM_EPS: f64 = 1e-5;

/// A checked weight file and the network that it holds. Parameters are read from the map when asked for.
pub struct Model {
    file: WeightFile,
    network: Network,
}

/// Convolution filter in the file's order, where possible in place, and the batch norm that follows it.
pub struct ConvParameters<'a> {
    /// Filter `[K, C, R, S]`.
    pub filter: Cow<'a, [f32]>,
    /// Factor per output channel: `weight / sqrt(running_var + eps)`. Its product with any tap is finite.
    pub scale: Vec<f32>,
    /// Summand per output channel: `bias - running_mean * scale`, finite.
    pub shift: Vec<f32>,
}

/// Convolution filter and batch norm as the file has them, with the norm unfolded.
pub struct ConvBatchNorm {
    /// Filter `[K, R, S, C]`.
    pub filter: Vec<f32>,
    /// Factor per output channel: `weight / sqrt(running_var + eps)`.
    pub scale: Vec<f32>,
    /// Summand per output channel: `bias - running_mean * scale`.
    pub shift: Vec<f32>,
}

/// Convolution with the batch norm folded in: `y = conv(x, filter) + bias`.
pub struct Folded {
    /// Filter `[K, R, S, C]`, each output channel scaled by its batch norm.
    pub filter: Vec<f32>,
    /// Bias `[K]`.
    pub bias: Vec<f32>,
}

impl Model {
    /// Checks that `file` holds a ResNet and nothing else: every tensor present, of the right shape, of a floating type and
    /// finite, none left over (`num_batches_tracked` counters aside).
    ///
    /// # Errors
    /// The first defect, by tensor.
    pub fn load(file: WeightFile) -> Result<Self, NetworkError> {
        let network = Network::new(Architecture::detect(&file)?);
        let expected = expected(&network);
        let architecture = || network.architecture().to_string();
        for (tensor, shape) in &expected {
            let Some(view) = file.tensor(tensor) else {
                let (path, tensor) = (file.path().to_owned(), tensor.clone());
                return Err(NetworkError::Missing { path, tensor, architecture: architecture(), expected: shape.clone() });
            };
            if view.shape() != shape.as_slice() {
                return Err(NetworkError::Shape {
                    path: file.path().to_owned(),
                    tensor: tensor.clone(),
                    found: view.shape().to_vec(),
                    expected: shape.clone(),
                    architecture: architecture(),
                });
            }
        }
        check_surplus(&file, &network, &expected)?;
        let model = Self { file, network };
        let check = |tensor: &String| {
            let values = model.values(tensor)?;
            if tensor.ends_with(".running_var") {
                model.check(tensor, &values, |v| v.is_finite() && v >= 0.0, "a variance, finite and not below 0")?;
            } else {
                model.check(tensor, &values, f32::is_finite, "a finite number")?;
            }
            model.file.release(tensor);
            Ok(())
        };
        let tensors: Vec<_> = expected.keys().collect();
        match tensors.into_par_iter().find_map_first(|tensor| check(tensor).err()) {
            Some(defect) => Err(defect),
            None => Ok(model),
        }
    }

    /// The table of layers.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The file.
    pub fn file(&self) -> &WeightFile {
        &self.file
    }

    /// Trainable parameters: filters, batch norm factors and summands, classifier.
    pub fn parameters(&self) -> usize {
        let trained = |name: &str| !name.ends_with("running_mean") && !name.ends_with("running_var");
        let expected = expected(&self.network);
        expected.iter().filter(|(name, _)| trained(name)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Filter and batch norm of a convolution layer, as the file has them.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the fold of the one into the other overflows f32.
    ///
    /// # Panics
    /// If `layer` is no convolution of this network.
    pub fn conv_parameters(&self, layer: &Layer) -> Result<ConvParameters<'_>, NetworkError> {
        let Op::Conv2d { k, batch_norm, .. } = &layer.op else {
            panic!("layer `{}` is no convolution", layer.name);
        };
        let tensor = format!("{}.weight", layer.name);
        let filter = self.values(&tensor)?;
        let part = |part: &str| self.values(&format!("{batch_norm}.{part}"));
        let (gamma, beta, mean, var) = (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
        let (mut scale, mut shift) = (Vec::with_capacity(*k), Vec::with_capacity(*k));
        for i in 0..*k {
            let factor = f64::from(gamma[i]) / (f64::from(var[i]) + BATCH_NORM_EPS).sqrt();
            scale.push(factor as f32);
            shift.push((f64::from(beta[i]) - f64::from(mean[i]) * factor) as f32);
        }
        let taps = filter.len() / k;
        for (index, (filter, scale)) in filter.chunks_exact(taps).zip(&scale).enumerate() {
            // The largest one tells of all; as integers, magnitudes compare alike and many at a time.
            let largest = filter.iter().fold(0, |largest, tap| tap.abs().to_bits().max(largest));
            if !(f32::from_bits(largest) * scale).is_finite() {
                let at = filter.iter().position(|tap| !(tap * scale).is_finite()).unwrap_or(0);
                return Err(self.fault(&tensor, index * taps + at, filter[at] * scale, FOLDED));
            }
        }
        self.check(&tensor, &shift, f32::is_finite, FOLDED)?;
        Ok(ConvParameters { filter, scale, shift })
    }

    /// Filter and batch norm of a convolution layer, unfolded.
    ///
    /// # Errors
    /// As [`Model::conv_parameters`].
    ///
    /// # Panics
    /// As [`Model::conv_parameters`].
    pub fn conv_batch_norm(&self, layer: &Layer) -> Result<ConvBatchNorm, NetworkError> {
        let ConvParameters { filter, scale, shift } = self.conv_parameters(layer)?;
        let Op::Conv2d { c, k, window, .. } = &layer.op else {
            panic!("layer `{}` is no convolution", layer.name);
        };
        Ok(ConvBatchNorm { filter: krsc(&filter, [*k, *c, window.size.0, window.size.1]), scale, shift })
    }

    /// Filter and bias of a convolution layer with its batch norm folded in.
    ///
    /// # Errors
    /// As [`Model::conv_parameters`].
    ///
    /// # Panics
    /// As [`Model::conv_parameters`].
    pub fn folded(&self, layer: &Layer) -> Result<Folded, NetworkError> {
        let ConvBatchNorm { mut filter, scale, shift: bias } = self.conv_batch_norm(layer)?;
        let taps = filter.len() / scale.len();
        for (taps, scale) in filter.chunks_exact_mut(taps).zip(&scale) {
            taps.iter_mut().for_each(|tap| *tap *= scale);
        }
        Ok(Folded { filter, bias })
    }

    /// Says that the filter of a convolution layer will not be read soon, so that it needs no memory until it is.
    pub fn release(&self, layer: &Layer) {
        self.file.release(&format!("{}.weight", layer.name));
    }

    /// Classifier: weights `[K, C]` row after row, one row per class, and bias `[K]`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn classifier(&self) -> Result<(Vec<f32>, Vec<f32>), NetworkError> {
        Ok((self.values("fc.weight")?.into_owned(), self.values("fc.bias")?.into_owned()))
    }

    /// A tensor's numbers as f32; `Model::load` has checked that it is there.
    fn values(&self, tensor: &str) -> Result<Cow<'_, [f32]>, NetworkError> {
        let view = self.file.tensor(tensor).ok_or_else(|| NetworkError::Missing {
            path: self.file.path().to_owned(),
            tensor: tensor.to_owned(),
            architecture: self.network.architecture().to_string(),
            expected: Vec::new(),
        })?;
        Ok(view.to_f32()?)
    }

    /// Finds the first value that is not `good`. Whole chunks are judged before single values, because that is done many at a
    /// time: these are all the weights, at every start.
    fn check(
        &self,
        tensor: &str,
        values: &[f32],
        good: impl Fn(f32) -> bool,
        expected: &'static str,
    ) -> Result<(), NetworkError> {
        let chunk = values.chunks(1024).position(|chunk| !chunk.iter().fold(true, |all, &value| all & good(value)));
        let first = chunk.and_then(|chunk| (chunk * 1024..values.len()).find(|&index| !good(values[index])));
        first.map_or(Ok(()), |index| Err(self.fault(tensor, index, values[index], expected)))
    }

    fn fault(&self, tensor: &str, index: usize, value: f32, expected: &'static str) -> NetworkError {
        NetworkError::Value { path: self.file.path().to_owned(), tensor: tensor.to_owned(), index, value, expected }
    }
}

/// What taps and biases are after the batch norm is folded in.
const FOLDED: &str = "a finite product with its batch norm";

/// Refuses tensors that have no place in `network`; the batch norms' counters are known and unused.
fn check_surplus(file: &WeightFile, network: &Network, expected: &BTreeMap<String, Vec<usize>>) -> Result<(), NetworkError> {
    let is_counter = |name: &str| {
        name.strip_suffix("num_batches_tracked").is_some_and(|norm| expected.contains_key(&format!("{norm}running_mean")))
    };
    let mut surplus = file.names().filter(|name| !expected.contains_key(*name) && !is_counter(name));
    let Some(tensor) = surplus.next() else { return Ok(()) };
    let more = match surplus.count() {
        0 => String::new(),
        others => format!(" (nor have {others} others)"),
    };
    Err(NetworkError::Surplus {
        path: file.path().to_owned(),
        tensor: tensor.to_owned(),
        found: file.tensor(tensor).map_or_else(Vec::new, |view| view.shape().to_vec()),
        architecture: network.architecture().to_string(),
        more,
    })
}

/// Names and shapes (filters `[K, C, R, S]`, as PyTorch has them) of every tensor that `network` needs.
fn expected(network: &Network) -> BTreeMap<String, Vec<usize>> {
    let mut tensors = BTreeMap::new();
    for layer in network.layers() {
        match &layer.op {
            Op::Conv2d { c, k, window, batch_norm, .. } => {
                tensors.insert(format!("{}.weight", layer.name), vec![*k, *c, window.size.0, window.size.1]);
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    tensors.insert(format!("{batch_norm}.{part}"), vec![*k]);
                }
            }
            Op::Linear { c, k } => {
                tensors.insert(format!("{}.weight", layer.name), vec![*k, *c]);
                tensors.insert(format!("{}.bias", layer.name), vec![*k]);
            }
            Op::MaxPool2d(_) | Op::GlobalAvgPool => {}
        }
    }
    tensors
}

/// `[K, C, R, S]` to `[K, R, S, C]`.
fn krsc(kcrs: &[f32], [k, c, r, s]: [usize; 4]) -> Vec<f32> {
    let mut out = vec![0.0; kcrs.len()];
    let taps = r * s;
    for (source, target) in kcrs.chunks_exact(c * taps).zip(out.chunks_exact_mut(c * taps)).take(k) {
        for (channel, plane) in source.chunks_exact(taps).enumerate() {
            for (tap, &value) in plane.iter().enumerate() {
                target[tap * c + channel] = value;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn krsc_moves_channels_last() {
        let (k, c, r, s) = (2, 3, 2, 5);
        let kcrs: Vec<f32> = (0..k * c * r * s).map(|i| i as f32).collect();
        let krsc = super::krsc(&kcrs, [k, c, r, s]);
        for ik in 0..k {
            for ir in 0..r {
                for is in 0..s {
                    for ic in 0..c {
                        let want = kcrs[((ik * c + ic) * r + ir) * s + is];
                        assert_eq!(krsc[((ik * r + ir) * s + is) * c + ic], want);
                    }
                }
            }
        }
    }
}
