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
        Self::plan_joined(network, &vec![None; network.layers().len()], false)
    }

    /// As [`plan`](Self::plan), where some layers are computed with others: `projections` names, for each layer that computes its
    /// residual itself, the one that it does that for, whose input it then reads, and which has no buffer. With `in_place` a sum
    /// takes the place of its residual, if nobody reads that later, so that most blocks need two buffers.
    ///
    /// # Panics
    /// Unless `projections` is as long as the table.
    pub fn plan_joined(network: &Network, projections: &[Option<usize>], in_place: bool) -> Self {
        let layers = network.layers();
        assert_eq!(projections.len(), layers.len(), "one entry for each layer");
        let is_part = |index: usize| projections.contains(&Some(index));
        let residual = |index: usize| match (&layers[index].op, projections[index]) {
            (_, Some(part)) => Some(layers[part].input),
            (Op::Conv2d { residual, .. }, None) => *residual,
            _ => None,
        };
        let mut last_use: Vec<usize> = (0..layers.len()).collect();
        for (index, layer) in layers.iter().enumerate().filter(|&(index, _)| !is_part(index)) {
            for value in [Some(layer.input), residual(index)].into_iter().flatten() {
                if let Value::Layer(source) = value {
                    last_use[source] = index;
                }
            }
        }
        for kept in [network.features(), layers.len() - 1] {
            last_use[kept] = layers.len();
        }
        let (mut slot, mut busy_until) = (Vec::<usize>::with_capacity(layers.len()), Vec::<usize>::new());
        for (index, &last) in last_use.iter().enumerate() {
            if is_part(index) {
                slot.push(0); // of no bytes
                continue;
            }
            let replaced = match residual(index) {
                Some(Value::Layer(from)) if in_place && projections[index].is_none() && last_use[from] == index => {
                    Some(slot[from])
                }
                _ => None,
            };
            // A buffer whose last reader is this very layer is still being read, hence `<`.
            let free = replaced.or_else(|| busy_until.iter().position(|&until| until < index)).unwrap_or_else(|| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Architecture;

    /// Runs the table: every layer finds in its buffers what it reads, and overwrites none of that but a residual in its own place.
    fn check(network: &Network, projections: &[Option<usize>], in_place: bool) -> Slots {
        let slots = Slots::plan_joined(network, projections, in_place);
        let mut holds = vec![None; slots.count()];
        for (index, layer) in network.layers().iter().enumerate() {
            if projections.contains(&Some(index)) {
                continue;
            }
            let added = match (&layer.op, projections[index]) {
                (_, Some(part)) => Some(network.layers()[part].input),
                (Op::Conv2d { residual, .. }, None) => *residual,
                _ => None,
            };
            for (value, may_go) in [(Some(layer.input), false), (added, in_place && projections[index].is_none())] {
                let Some(Value::Layer(source)) = value else { continue };
                assert_eq!(holds[slots.of(source)], Some(source), "{} reads {}", layer.name, network.layers()[source].name);
                assert!(may_go || slots.of(index) != slots.of(source), "{} overwrites what it reads", layer.name);
            }
            holds[slots.of(index)] = Some(index);
        }
        for kept in [network.features(), network.layers().len() - 1] {
            assert_eq!(holds[slots.of(kept)], Some(kept));
        }
        slots
    }

    #[test]
    fn nothing_is_overwritten_before_it_is_read() {
        for depth in [18, 34, 50, 101] {
            let network = Network::new(Architecture::of_depth(depth, 10).unwrap());
            let apart = vec![None; network.layers().len()];
            let joined: Vec<Option<usize>> = (0..apart.len()).map(|index| network.projection(index)).collect();
            let shortcuts = joined.iter().flatten().count();
            assert_eq!(shortcuts, if depth < 50 { 3 } else { 4 });
            assert_eq!(check(&network, &apart, false), Slots::plan(&network));
            for (projections, in_place) in [(&apart, true), (&joined, false), (&joined, true)] {
                assert!(check(&network, projections, in_place).count() <= Slots::plan(&network).count());
            }
        }
    }

    #[test]
    fn a_sum_takes_the_place_of_its_residual() {
        let network = Network::new(Architecture::of_depth(18, 10).unwrap());
        let slots = Slots::plan_joined(&network, &vec![None; network.layers().len()], true);
        let of = |name| slots.of(network.find(name).unwrap());
        assert_eq!(of("layer1.0.conv2"), of("maxpool"));
        assert_eq!(of("layer2.0.conv2"), of("layer2.0.downsample"));
        assert_ne!(of("layer4.1.conv2"), of("layer4.1.conv1"));
    }
}
