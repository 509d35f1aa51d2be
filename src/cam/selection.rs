//! Which maps are computed.

/// The classes whose maps are computed from a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Of each image, those with the largest logits, best first, equal ones by index; all classes if there are fewer.
    Top(usize),
    /// These, of every image, in this order.
    Classes(&'a [usize]),
}
