//! The launches of a plan's steps: which kernel, with which shapes and which parts of the memory.

use super::{Body, Plan};
use crate::cam::{Enlarge, Levels, Normalisation};
use crate::cuda::blueprint::{Maps, Step};
use crate::cuda::parameters::NormSpans;
use crate::cuda::real::{Convolutions, Real};
use crate::cuda::{
    BatchNormArgs, CamClasses, CamEigenArgs, CamOutput, CamRowsArgs, CamUpsampleArgs, Conv2dArgs, Conv2dProblem, CudaError,
    Epilogue, GlobalAvgPoolArgs, LinearArgs, LinearInput, LinearShape, MaxPool2dArgs, Projection, Queue, Show, SoftmaxTopkArgs,
    Span, StemArgs, TopkShape, Workspace,
};
use crate::network::{Conv2dShape, Op, Value};
use crate::render::Style;

impl Plan {
    /// Enqueues one step.
    pub(super) fn enqueue<T: Real>(&self, body: &Body<'_, T>, step: Step, queue: Queue<'_>) -> Result<(), CudaError> {
        match step {
            Step::Stem => self.enqueue_stem(body, queue),
            Step::Layer(index) => self.enqueue_layer(body, index, queue),
            Step::Norm(index) => self.enqueue_norm(body, index, queue),
            Step::Rank => {
                let Maps::Top(k) = self.blueprint.key.maps else { return Ok(()) };
                let (n, classes) = (self.blueprint.key.image[0], body.network.architecture().classes());
                let args = SoftmaxTopkArgs {
                    shape: TopkShape { n, classes, k },
                    logits: self.output(self.blueprint.layers.len() - 1),
                    index: self.arena.span_mut(self.blueprint.index),
                    probability: self.arena.span_mut(self.blueprint.probability),
                };
                body.operators.top.launch(queue, args)
            }
            Step::Rows => {
                let Some(shape) = self.blueprint.rows_shape else { return Ok(()) };
                let (layers, features) = (&self.blueprint.layers, body.network.features());
                let (weights, bias) = body.parameters.classifier();
                let args = CamRowsArgs {
                    shape,
                    features: self.output(features),
                    weights,
                    bias,
                    means: self.output(layers.len() - 2),
                    logits: self.output(layers.len() - 1),
                    asked: self.arena.span(self.blueprint.asked),
                    index: self.arena.span_mut(self.blueprint.index),
                    rows: self.arena.span_mut(self.blueprint.rows),
                };
                body.operators.cam_rows.launch(queue, args)
            }
            Step::Eigen => {
                let Some(shape) = self.blueprint.rows_shape else { return Ok(()) };
                let args = CamEigenArgs {
                    shape,
                    features: self.output(body.network.features()),
                    asked: self.arena.span(self.blueprint.asked),
                    rows: self.arena.span_mut(self.blueprint.rows),
                };
                body.operators.cam_eigen.launch(queue, args)
            }
            Step::Cam => {
                let Some(shape) = self.blueprint.cam else { return Ok(()) };
                let classes = match self.blueprint.key.maps {
                    Maps::Top(_) => CamClasses::Likeliest {
                        logits: self.output(self.blueprint.layers.len() - 1),
                        index: self.arena.span_mut(self.blueprint.index),
                    },
                    Maps::Classes(_) => CamClasses::Given { classes: self.arena.span(self.blueprint.asked), stride: 0 },
                    Maps::Asked(_) => CamClasses::Rows(self.arena.span(self.blueprint.rows)),
                };
                let (normalisation, output) = match self.blueprint.key.show {
                    None => (Normalisation::None, CamOutput::F32(self.arena.span_mut(self.blueprint.shown))),
                    Some(Show::Enlarged(Enlarge { normalisation, levels, .. })) => {
                        let output = match levels {
                            Levels::F32 => CamOutput::F32(self.arena.span_mut(self.blueprint.shown)),
                            Levels::F16 => CamOutput::F16(self.arena.span_mut(self.blueprint.shown)),
                            Levels::U8 => CamOutput::U8(self.arena.span_mut(self.blueprint.shown)),
                        };
                        (normalisation, output)
                    }
                    Some(Show::Overlay(Style { colormap, alpha, normalisation })) => {
                        let output = CamOutput::Overlay {
                            crop: self.arena.span(self.blueprint.pixels),
                            colormap: body.colormaps.span(colormap),
                            alpha: alpha.get(),
                            picture: self.arena.span_mut(self.blueprint.shown),
                        };
                        (normalisation, output)
                    }
                };
                let args = CamUpsampleArgs {
                    shape,
                    features: self.output(body.network.features()),
                    weights: body.parameters.classifier().0,
                    classes,
                    normalisation,
                    raw: self.arena.span_mut(self.blueprint.raw),
                    range: self.arena.span_mut(self.blueprint.range),
                    output,
                };
                body.operators.cam.launch(queue, args)
            }
        }
    }

    /// The first two layers.
    fn enqueue_stem<T: Real>(&self, body: &Body<'_, T>, queue: Queue<'_>) -> Result<(), CudaError> {
        let (Some(kernel), Some(shape), Some(parameters)) = (&body.operators.stem, &self.blueprint.stem, body.parameters.conv(0))
        else {
            return Ok(());
        };
        let (NormSpans::Folded { bias }, Some(w)) = (parameters.norm, parameters.packed) else { return Ok(()) };
        let y = self.arena.span_mut(self.blueprint.layers[1]);
        kernel.launch(queue, StemArgs { shape, x: self.arena.span(self.blueprint.image), w, bias, y })
    }

    fn enqueue_layer<T: Real>(&self, body: &Body<'_, T>, index: usize, queue: Queue<'_>) -> Result<(), CudaError> {
        let (layer, operators) = (&body.network.layers()[index], body.operators);
        let region = self.blueprint.layers[index];
        let input = |value: Value| match value {
            Value::Image => [self.blueprint.key.image[0], self.blueprint.key.image[1], self.blueprint.key.image[2], T::CHANNELS],
            Value::Layer(from) => self.blueprint.shapes[from].output,
        };
        match (&layer.op, &self.blueprint.convs[index], body.parameters.conv(index)) {
            (Op::Conv2d { residual, relu, .. }, Some(Conv2dProblem { shape, projection }), Some(parameters)) => {
                let residual = residual.map(|value| self.value::<T>(value));
                let epilogue = match (parameters.norm, projection, residual, relu) {
                    (NormSpans::Unfolded { .. }, ..) => Epilogue::None,
                    (NormSpans::Folded { .. }, Some(shape), ..) => match self.projection(body, index, shape) {
                        Some((bias, projection)) => Epilogue::BiasProjectionRelu { bias, projection },
                        None => return Ok(()),
                    },
                    (NormSpans::Folded { bias }, None, Some(residual), _) => Epilogue::BiasResidualRelu { bias, residual },
                    (NormSpans::Folded { bias }, None, None, true) => Epilogue::BiasRelu { bias },
                    (NormSpans::Folded { bias }, None, None, false) => Epilogue::Bias { bias },
                };
                let (x, y) = (self.value(layer.input), self.arena.span_mut(region));
                let (partials, counters) = (self.blueprint.partials, self.blueprint.counters);
                let workspace = Workspace { partials: self.arena.span_mut(partials), counters: self.arena.span_mut(counters) };
                operators.convolutions.launch(queue, Conv2dArgs { shape, x, w: parameters.filter, epilogue, y }, workspace)
            }
            (Op::MaxPool2d(window), ..) => {
                let (x, y) = (self.value(layer.input), self.arena.span_mut(region));
                operators.max_pool.launch(queue, MaxPool2dArgs { x, shape: input(layer.input), window: *window, y })
            }
            (Op::Linear { c, k }, ..) => {
                let (w, bias) = body.parameters.classifier();
                let [n, rows, columns, _] = self.blueprint.shapes[body.network.features()].output;
                let (positions, input) = if self.pools(body, index) {
                    let (x, mean) = (self.output(body.network.features()), self.arena.span_mut(self.blueprint.layers[index - 1]));
                    (rows * columns, LinearInput::Features { x, mean })
                } else {
                    (1, LinearInput::Means(self.value(layer.input)))
                };
                let (shape, y) = (LinearShape { n, positions, c: *c, k: *k }, self.arena.span_mut(region));
                operators.linear.launch(queue, LinearArgs { shape, input, w, bias, y })
            }
            _ => {
                let (x, y) = (self.value(layer.input), self.arena.span_mut(region));
                operators.avg_pool.launch(queue, GlobalAvgPoolArgs { x, shape: input(layer.input), y })
            }
        }
    }

    /// The shortcut that a convolution computes as well, and the bias of both.
    fn projection<'a, T: Real>(
        &'a self,
        body: &Body<'a, T>,
        index: usize,
        shape: &'a Conv2dShape,
    ) -> Option<(Span<'a, f32>, Projection<'a, T>)> {
        let shortcut = self.blueprint.projections[index]?;
        let (bias, w) = (body.parameters.joint_bias(index)?, body.parameters.conv(shortcut)?.filter);
        Some((bias, Projection { shape, x: self.value(body.network.layers()[shortcut].input), w }))
    }

    fn enqueue_norm<T: Real>(&self, body: &Body<'_, T>, index: usize, queue: Queue<'_>) -> Result<(), CudaError> {
        let layer = &body.network.layers()[index];
        let (Op::Conv2d { k, residual, relu, .. }, Some(parameters)) = (&layer.op, body.parameters.conv(index)) else {
            return Ok(());
        };
        let NormSpans::Unfolded { scale, shift } = parameters.norm else { return Ok(()) };
        let region = self.blueprint.layers[index];
        let args = BatchNormArgs {
            channels: *k,
            x: self.arena.span(region), // in place: each thread reads what it then writes
            scale,
            shift,
            residual: residual.map(|value| self.value(value)),
            relu: *relu,
            y: self.arena.span_mut(region),
        };
        body.operators.batch_norm.launch(queue, args)
    }

    /// Whether this layer is the linear one and computes the layer before it, the mean, as well.
    pub(super) fn pools<T: Real>(&self, body: &Body<'_, T>, layer: usize) -> bool {
        self.blueprint.pools && matches!(body.network.layers()[layer].op, Op::Linear { .. })
    }

    /// What a layer reads.
    fn value<V>(&self, value: Value) -> Span<'_, V> {
        match value {
            Value::Image => self.arena.span(self.blueprint.image),
            Value::Layer(index) => self.output(index),
        }
    }

    fn output<V>(&self, layer: usize) -> Span<'_, V> {
        self.arena.span(self.blueprint.layers[layer])
    }
}
