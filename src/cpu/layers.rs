//! The convolutions of a network, their filters packed one behind the other in the order in which a pass reads them.

use std::ops::Range;

use rayon::prelude::*;

use super::conv2d::{Algorithm, Problem};
use super::epilogue::Epilogue;
use super::filter::Kcrs;
use super::isa::{Isa, Vectors};
use super::numbers::{LINE, Numbers};
use crate::network::{Conv2dShape, ConvParameters, Layer, LayerShape, Model, NetworkError, Op, Value};

/// All convolutions.
pub(super) struct Convolutions {
    /// By layer of the network.
    layers: Vec<Option<Convolution>>,
    filters: Numbers,
}

struct Convolution {
    algorithm: Algorithm,
    /// Its filter among all.
    filter: Range<usize>,
    bias: Vec<f32>,
    /// With which vectors it runs together with the max pool that follows, if it does: its own output is nowhere then.
    pooled: Option<Vectors>,
}

impl Convolutions {
    /// Chooses algorithms for layers of `shapes`, folds and packs the parameters of `model`, on the current rayon pool.
    ///
    /// # Errors
    /// As [`Model::conv_parameters`].
    pub(super) fn new(model: &Model, shapes: &[LayerShape], isa: Isa) -> Result<Self, NetworkError> {
        let network = model.network();
        let mut end = 0;
        let choose = |(index, shape): (usize, &LayerShape)| {
            let shape = shape.conv2d.as_ref()?;
            let algorithm = Algorithm::all(isa, shape)[0];
            let filter = end..end + algorithm.filter_len(shape);
            end = filter.end.next_multiple_of(LINE);
            let pooled = match algorithm {
                Algorithm::Direct(vectors) if network.is_pooled(index) => Some(vectors),
                _ => None,
            };
            Some(Convolution { algorithm, filter, bias: Vec::new(), pooled })
        };
        let mut layers: Vec<_> = shapes.iter().enumerate().map(choose).collect();
        let mut filters = Numbers::zeros(end);
        let mut rest = filters.as_mut_slice();
        let mut jobs = Vec::new();
        for ((layer, shape), conv) in network.layers().iter().zip(shapes).zip(&mut layers) {
            let (Some(shape), Some(conv)) = (&shape.conv2d, conv) else { continue };
            let (packed, others) = rest.split_at_mut(conv.filter.len().next_multiple_of(LINE));
            rest = others;
            jobs.push((layer, shape, conv, packed));
        }
        let prepare = |(layer, shape, conv, packed): (&Layer, &Conv2dShape, &mut Convolution, &mut [f32])| {
            let ConvParameters { filter, scale, shift } = model.conv_parameters(layer)?;
            let kcrs = Kcrs { filter: &filter, scale: &scale, c: shape.c(), taps: shape.r() * shape.s() };
            conv.algorithm.pack(&kcrs, &mut packed[..conv.filter.len()]);
            conv.bias = shift;
            model.release(layer);
            Ok(())
        };
        match jobs.into_par_iter().find_map_first(|job| prepare(job).err()) {
            Some(defect) => Err(defect),
            None => Ok(Self { layers, filters }),
        }
    }

    /// The kernel of a layer, if that is a convolution.
    pub(super) fn kernel(&self, layer: usize) -> Option<String> {
        self.layers[layer].as_ref().map(|conv| conv.algorithm.name())
    }

    /// With which vectors a layer runs together with the max pool that follows, if it does: its own output is nowhere then.
    pub(super) fn pooled(&self, layer: usize) -> Option<Vectors> {
        self.layers[layer].as_ref()?.pooled
    }

    /// Numbers of all parameters.
    pub(super) fn len(&self) -> usize {
        self.layers.iter().flatten().map(|conv| conv.filter.len() + conv.bias.len()).sum()
    }

    /// A layer that is a convolution, reading what `value` gives it.
    pub(super) fn problem<'a>(
        &'a self,
        index: usize,
        layer: &Layer,
        shape: &'a LayerShape,
        value: impl Fn(Value) -> &'a [f32],
    ) -> (Algorithm, Problem<'a>) {
        let (Op::Conv2d { residual, relu, .. }, Some(conv), Some(shape)) = (&layer.op, &self.layers[index], &shape.conv2d) else {
            unreachable!("every convolution has parameters and a shape")
        };
        let epilogue = Epilogue { bias: &conv.bias, residual: residual.map(&value), relu: *relu };
        let filter = &self.filters.as_slice()[conv.filter.clone()];
        (conv.algorithm, Problem { shape, x: value(layer.input), filter, epilogue })
    }
}
