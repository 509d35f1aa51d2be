//! A network's parameters in device memory.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::CudaStream;

use super::arena::{Arena, Layout, Region};
use super::padding::Padding;
use super::real::Real;
use super::stem::STEM_CONV;
use super::{CudaError, Norm, Span, stem_filter};
use crate::network::{ConvBatchNorm, Folded, Layer, Model, Op, Value};

/// Filters `KRSC` and the classifier in `T`, what is added and multiplied per channel in f32; uploaded once, in one allocation. All
/// channels are filled up, see [`Padding`].
pub(super) struct Parameters<T> {
    arena: Arena,
    convs: Vec<Option<Conv>>, // by layer
    classifier: (Region, Region),
    bytes: usize,
    element: PhantomData<T>,
}

/// Where the parameters of one convolution are.
#[derive(Clone, Copy)]
struct Conv {
    padding: Padding,
    filter: Region,
    /// Folded: the bias. Unfolded: the batch norm's factor.
    first: Region,
    /// Unfolded: the batch norm's summand.
    second: Option<Region>,
    /// The filter as the stem's kernel wants it, of a layer that it may run.
    packed: Option<Region>,
    /// The bias and that of the shortcut that may be computed as well.
    joint: Option<Region>,
}

/// The parameters of one convolution.
pub(super) struct ConvSpans<'a, T> {
    /// `[K, R, S, C]`.
    pub filter: Span<'a, T>,
    /// What follows.
    pub norm: NormSpans<'a>,
    /// The filter as [`Stem`](super::Stem) wants it, of a layer that it may run.
    pub packed: Option<Span<'a, T>>,
}

/// What follows a convolution, each `[K]`.
pub(super) enum NormSpans<'a> {
    /// The batch norm is in the filter.
    Folded { bias: Span<'a, f32> },
    /// It is a step of its own.
    Unfolded { scale: Span<'a, f32>, shift: Span<'a, f32> },
}

impl<T: Real> Parameters<T> {
    /// Reads every parameter from the model's file, folds, lays out and uploads it.
    ///
    /// # Errors
    /// If a tensor cannot be read or does not fit `T`, or there is no room on the device.
    pub(super) fn upload(model: &Model, stream: &Arc<CudaStream>, norm: Norm) -> Result<Self, CudaError> {
        let (network, layers) = (model.network(), model.network().layers());
        let features = network.architecture().features();
        let mut layout = Layout::default();
        let place = |layout: &mut Layout, (index, layer): (usize, &Layer)| {
            let (Op::Conv2d { window, .. }, Some(padding)) = (&layer.op, Padding::of::<T>(layer, features)) else { return None };
            let k = padding.outputs();
            let filter = layout.place::<T>(padding.filter_len(window.size.0 * window.size.1));
            let first = layout.place::<f32>(k);
            let second = (norm == Norm::Unfolded).then(|| layout.place::<f32>(k));
            let packed = has_stem::<T>(layer, norm).then(|| layout.place::<T>(super::stem_filter::len(k)));
            let joins = norm == Norm::Folded && network.projection(index).is_some();
            let joint = joins.then(|| layout.place::<f32>(k));
            Some(Conv { padding, filter, first, second, packed, joint })
        };
        let convs: Vec<Option<Conv>> = layers.iter().enumerate().map(|layer| place(&mut layout, layer)).collect();
        let (rows, bias) = model.classifier()?;
        let classifier = (layout.place::<T>(rows.len()), layout.place::<f32>(bias.len()));

        let mut arena = Arena::new(stream, &layout, "the network's parameters")?;
        let mut biases: Vec<Vec<f32>> = vec![Vec::new(); layers.len()];
        for (index, (layer, conv)) in layers.iter().zip(&convs).enumerate() {
            let Some(conv) = conv else { continue };
            let (filter, first, second) = match norm {
                Norm::Folded => {
                    let Folded { filter, bias } = model.folded(layer)?;
                    (filter, bias, None)
                }
                Norm::Unfolded => {
                    let ConvBatchNorm { filter, scale, shift } = model.conv_batch_norm(layer)?;
                    (filter, scale, Some(shift))
                }
            };
            if let Some(region) = conv.packed {
                arena.write(region, &convert::<T>(&layer.name, &stem_filter(&filter))?)?;
            }
            arena.write(conv.filter, &convert::<T>(&layer.name, &conv.padding.filter(filter))?)?;
            let first = conv.padding.per_output(first);
            arena.write(conv.first, &first)?;
            if let (Some(region), Some(values)) = (conv.second, second) {
                arena.write(region, &conv.padding.per_output(values))?;
            }
            if let (Some(region), Some(shortcut)) = (conv.joint, network.projection(index)) {
                let sums: Vec<f32> = first.iter().zip(&biases[shortcut]).map(|(own, other)| own + other).collect();
                arena.write(region, &sums)?;
            }
            biases[index] = first;
        }
        arena.write(classifier.0, &convert::<T>("fc", &rows)?)?;
        arena.write(classifier.1, &bias)?;
        Ok(Self { arena, convs, classifier, bytes: layout.bytes(), element: PhantomData })
    }

    /// Device memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of the convolution with this index in the table; `None` for another kind of layer.
    pub(super) fn conv(&self, layer: usize) -> Option<ConvSpans<'_, T>> {
        let conv = self.convs[layer]?;
        let (filter, first) = (self.arena.span(conv.filter), self.arena.span(conv.first));
        let norm = match conv.second {
            None => NormSpans::Folded { bias: first },
            Some(shift) => NormSpans::Unfolded { scale: first, shift: self.arena.span(shift) },
        };
        Some(ConvSpans { filter, norm, packed: conv.packed.map(|region| self.arena.span(region)) })
    }

    /// The bias of a convolution and of the shortcut that it may compute as well, added, `[K]`.
    pub(super) fn joint_bias(&self, layer: usize) -> Option<Span<'_, f32>> {
        Some(self.arena.span(self.convs[layer]?.joint?))
    }

    /// Weights `[K, C]` and bias `[K]` of the classifier.
    pub(super) fn classifier(&self) -> (Span<'_, T>, Span<'_, f32>) {
        (self.arena.span(self.classifier.0), self.arena.span(self.classifier.1))
    }
}

#[cfg(test)]
impl<T> Parameters<T> {
    /// Frees the memory under every user's feet.
    pub(super) fn take_memory_away(&self) {
        self.arena.take_memory_away();
    }
}

/// Whether the stem's kernel may run this layer.
fn has_stem<T: Real>(layer: &Layer, norm: Norm) -> bool {
    let is_first =
        matches!(layer.op, Op::Conv2d { window, relu: true, .. } if window == STEM_CONV) && layer.input == Value::Image;
    T::HAS_STEM && norm == Norm::Folded && is_first
}

/// Refuses values that `T` has no room for; the file's own were finite.
fn convert<T: Real>(layer: &str, values: &[f32]) -> Result<Vec<T>, CudaError> {
    let converted = T::from_f32s(values);
    match T::to_f32s(&converted).iter().position(|value| !value.is_finite()) {
        None => Ok(converted),
        Some(index) => Err(CudaError::WeightOverflow { layer: layer.to_owned(), value: values[index] }),
    }
}
