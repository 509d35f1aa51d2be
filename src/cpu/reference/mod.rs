//! Every operation by its definition: plain loops, f64 sums. Tests compare the backends with this; nothing else uses it.

mod conv2d;
mod pool;

pub use conv2d::{batch_norm, conv2d};
pub use pool::{global_avg_pool, linear, max_pool2d};

use crate::network::{Layer, Model, NetworkError, Op, Value};
use crate::tensor::Nhwc;

/// How the batch norm is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNorm {
    /// Folded into filter and bias at load, as the backends do.
    Folded,
    /// As a step of its own after each convolution, as the network was trained.
    Unfolded,
}

/// Outputs of every layer for the normalised images `[N, H, W, 3]`, in the order of the table.
///
/// # Errors
/// [`NetworkError`] if an image is empty or too large, or a tensor cannot be read.
pub fn forward(model: &Model, image: &Nhwc, batch_norm_as: BatchNorm) -> Result<Vec<Nhwc>, NetworkError> {
    let [n, h, w, _] = image.shape();
    let shapes = model.network().shapes(n, h, w)?;
    let mut outputs: Vec<Nhwc> = Vec::with_capacity(shapes.len());
    for (layer, shape) in model.network().layers().iter().zip(&shapes) {
        let value = |value: Value| match value {
            Value::Image => image,
            Value::Layer(index) => &outputs[index],
        };
        let x = value(layer.input);
        let data = match &layer.op {
            Op::Conv2d { residual, relu, .. } => {
                let shape = shape.conv2d.expect("a convolution has a convolution's shape");
                let mut y = match batch_norm_as {
                    BatchNorm::Folded => {
                        let folded = model.folded(layer)?;
                        conv2d(&shape, x.data(), &folded.filter, Some(&folded.bias))
                    }
                    BatchNorm::Unfolded => unfolded(model, layer, &shape, x)?,
                };
                if let Some(residual) = residual {
                    y.iter_mut().zip(value(*residual).data()).for_each(|(y, r)| *y += r);
                }
                if *relu {
                    y.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
                }
                y
            }
            Op::MaxPool2d(window) => max_pool2d(x, *window, shape.output),
            Op::GlobalAvgPool => global_avg_pool(x),
            Op::Linear { .. } => {
                let (weight, bias) = model.classifier()?;
                linear(x.data(), &weight, &bias)
            }
        };
        outputs.push(Nhwc::new(shape.output, data));
    }
    Ok(outputs)
}

fn unfolded(model: &Model, layer: &Layer, shape: &crate::network::Conv2dShape, x: &Nhwc) -> Result<Vec<f32>, NetworkError> {
    let parameters = model.conv_batch_norm(layer)?;
    let mut y = conv2d(shape, x.data(), &parameters.filter, None);
    batch_norm(&mut y, &parameters.scale, &parameters.shift);
    Ok(y)
}
