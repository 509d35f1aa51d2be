//! What a pickle can hold here.

use safetensors::Dtype;

use super::globals::Global;

/// A value's place in the list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) struct Id(pub(super) u32);

/// One value. Text borrows from the pickle.
#[derive(Debug)]
pub(in crate::weights) enum Value<'a> {
    None,
    Bool(bool),
    Int(i128),
    Str(&'a str),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    /// Pairs in the order they were written; a key may occur twice.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage<'a>>),
    Tensor(Box<Tensor>),
    /// Something harmless that no tensor needs: a float, bytes, a set, a device. Its contents are not kept.
    Other(&'static str),
}

impl Value<'_> {
    /// What it is, for messages.
    pub(in crate::weights) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an integer",
            Self::Str(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a function or class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Other(kind) => kind,
        }
    }
}

/// A reference to data outside the pickle.
#[derive(Clone, Copy, Debug)]
pub(in crate::weights) struct Storage<'a> {
    /// Element type; `None` for plain bytes, whose type the tensor tells.
    pub(in crate::weights) dtype: Option<Dtype>,
    /// Name of the entry that holds the data.
    pub(in crate::weights) key: &'a str,
    /// Length in elements, in bytes if plain.
    pub(in crate::weights) elements: i128,
    /// For a storage that is part of another (legacy form only): its offset there and its own length, in elements.
    pub(in crate::weights) part: Option<(i128, i128)>,
}

/// A tensor as the pickle describes it; nothing about it is checked but the kinds of value it refers to. Shape and strides
/// stay references, because a short pickle can mention a long tuple many times.
#[derive(Clone, Copy, Debug)]
pub(in crate::weights) struct Tensor {
    pub(in crate::weights) storage: Id,
    pub(in crate::weights) dtype: Dtype,
    /// In elements, like the strides.
    pub(in crate::weights) offset: i128,
    pub(in crate::weights) shape: Id,
    pub(in crate::weights) strides: Id,
}
