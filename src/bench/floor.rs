//! The least time that a network can take on a machine.

use serde::Serialize;

use crate::network::{Layer, LayerShape, Network, Op, Value};

/// What a machine can do at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Floating-point operations a second, 2 per multiply-add.
    pub flops: f64,
    /// Bytes a second from and to memory.
    pub bytes: f64,
}

/// What a layer asks of a machine, however it is computed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// Layer of the table.
    pub layer: String,
    /// Floating-point operations, 2 per multiply-add.
    pub flops: u64,
    /// Bytes of parameters, input, residual and output, each counted once.
    pub bytes: u64,
}

/// What keeps a layer from being quicker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Bytes.
    Memory,
}

/// The least time of a layer: that of its arithmetic or of its bytes, whichever is longer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// Seconds.
    pub seconds: f64,
    /// What sets it.
    pub bound: Bound,
}

impl LayerCost {
    /// The least time on a machine of these `limits`, every tensor crossing its memory once.
    pub fn floor(&self, limits: Limits) -> Floor {
        let (compute, memory) = (self.flops as f64 / limits.flops, self.bytes as f64 / limits.bytes);
        if compute >= memory {
            Floor { seconds: compute, bound: Bound::Compute }
        } else {
            Floor { seconds: memory, bound: Bound::Memory }
        }
    }
}

/// The least time of layers that wait for each other, in seconds.
pub fn total(costs: &[LayerCost], limits: Limits) -> f64 {
    costs.iter().map(|cost| cost.floor(limits).seconds).sum()
}

/// Cost of a step: of its layer, or of all whose names `, ` joins. `None` for a step that is no layer.
pub fn of_step(costs: &[LayerCost], step: &str) -> Option<LayerCost> {
    let mut parts = step.split(", ").map(|layer| costs.iter().find(|cost| cost.layer == layer));
    let first = LayerCost { layer: step.to_owned(), flops: 0, bytes: 0 };
    parts.try_fold(first, |sum, part| {
        let part = part?;
        Some(LayerCost { flops: sum.flops + part.flops, bytes: sum.bytes + part.bytes, ..sum })
    })
}

/// Costs of `network`'s layers with outputs `shapes`, elements taking `element` bytes. The max pool counts as part of the
/// convolution before it, because it can be: that convolution writes the pooled tensor. So does the convolution of a shortcut count as
/// part of the one that ends its block: nobody writes or reads its output.
pub fn costs(network: &Network, shapes: &[LayerShape], element: usize) -> Vec<LayerCost> {
    let layers = network.layers();
    let pooled = |index: usize| {
        let reads = |layer: &&Layer| matches!(layer.op, Op::MaxPool2d(_)) && layer.input == Value::Layer(index);
        layers.iter().position(|layer| reads(&layer))
    };
    let shortcuts: Vec<Option<usize>> = (0..layers.len()).map(|index| network.projection(index)).collect();
    let count = |shape: [usize; 4]| shape.iter().product::<usize>() as u64;
    let read = |value: Value, layer: usize| match (value, &shapes[layer].conv2d) {
        // A filter of one pixel skips what its stride steps over.
        (_, Some(conv)) if conv.r() == 1 && conv.s() == 1 => (conv.n() * conv.p() * conv.q() * conv.c()) as u64,
        (_, Some(conv)) => (conv.n() * conv.h() * conv.w() * conv.c()) as u64,
        (Value::Layer(from), None) => count(shapes[from].output),
        (Value::Image, None) => 0,
    };
    let cost = |(index, layer): (usize, &Layer)| {
        let elements = match &layer.op {
            Op::MaxPool2d(_) => 0,
            Op::Conv2d { c, k, window, residual, .. } => {
                let output = pooled(index).map_or(shapes[index].output, |pool| shapes[pool].output);
                let filter = (c * k * window.size.0 * window.size.1) as u64;
                let is_shortcut = shortcuts.contains(&Some(index));
                let times = match residual {
                    None if is_shortcut => 0,
                    Some(_) if shortcuts[index].is_none() => 2,
                    _ => 1,
                };
                read(layer.input, index) + filter + times * count(output)
            }
            Op::Linear { c, k } => read(layer.input, index) + (c * k) as u64 + count(shapes[index].output),
            Op::GlobalAvgPool => read(layer.input, index) + count(shapes[index].output),
        };
        LayerCost { layer: layer.name.clone(), flops: shapes[index].flops, bytes: elements * element as u64 }
    };
    layers.iter().enumerate().map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_times() {
        let cost = LayerCost { layer: "x".to_owned(), flops: 100, bytes: 10 };
        assert_eq!(cost.floor(Limits { flops: 10.0, bytes: 10.0 }), Floor { seconds: 10.0, bound: Bound::Compute });
        assert_eq!(cost.floor(Limits { flops: 1000.0, bytes: 10.0 }), Floor { seconds: 1.0, bound: Bound::Memory });
        assert_eq!(total(&[cost.clone(), cost.clone()], Limits { flops: 10.0, bytes: 10.0 }), 20.0);
        let costs = [cost, LayerCost { layer: "y".to_owned(), flops: 1, bytes: 2 }];
        assert_eq!(of_step(&costs, "x, y"), Some(LayerCost { layer: "x, y".to_owned(), flops: 101, bytes: 12 }));
        assert_eq!(of_step(&costs, "y").as_ref(), Some(&costs[1]));
        assert_eq!(of_step(&costs, "cam"), None);
    }
}
