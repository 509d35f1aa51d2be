//! Which activations can share memory.

use super::{Network, Op, Value};

/// A buffer number for every layer's output, such that no two activations that live at the same time share one.
///
/// An activation lives from the layer that writes it to the last one that reads it; the feature map and the last layer's
/// output live to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    slot: Vec<usize>,
    count: usize,
}

impl Slots {
    /// Plans the buffers of `network`: the first free one for each layer in turn, which needs three for ResNets and one more
    /// for each output that is kept.
    pub fn plan(network: &Network) -> Self {
        let layers = network.layers();
        let mut last_use: Vec<usize> = (0..layers.len()).collect();
        for (index, layer) in layers.iter().enumerate() {
            let residual = if let Op::Conv2d { residual, .. } = layer.op { residual } else { None };
            for value in [Some(layer.input), residual].into_iter().flatten() {
                if let Value::Layer(source) = value {
                    last_use[source] = index;
                }
            }
        }
        for kept in [network.features(), layers.len() - 1] {
            last_use[kept] = layers.len();
        }
        let (mut slot, mut busy_until) = (Vec::with_capacity(layers.len()), Vec::<usize>::new());
        for (index, &last) in last_use.iter().enumerate() {
            // A buffer whose last reader is this very layer is still being read, hence `<`.
            let free = busy_until.iter().position(|&until| until < index).unwrap_or_else(|| {
                busy_until.push(0);
                busy_until.len() - 1
            });
            busy_until[free] = last;
            slot.push(free);
        }
        Self { slot, count: busy_until.len() }
    }

    /// Buffer of a layer's output.
    pub fn of(&self, layer: usize) -> usize {
        self.slot[layer]
    }

    /// Buffers in all.
    pub fn count(&self) -> usize {
        self.count
    }
}
