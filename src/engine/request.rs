//! What to explain.

/// Which classes get a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// The most probable ones, best first.
    Top(usize),
    /// These, by index or name, in this order.
    Named(Vec<String>),
}

/// What to explain about each picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    classes: Classes,
}

impl Request {
    /// Maps of the `k` most probable classes; all of them if there are fewer.
    pub fn top(k: usize) -> Self {
        Self { classes: Classes::Top(k) }
    }

    /// Maps of these classes, by index (`"281"`) or name (`"tabby"`); one asked for twice counts once.
    pub fn classes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { classes: Classes::Named(names.into_iter().map(Into::into).collect()) }
    }

    /// What was asked for.
    pub(crate) fn selection(&self) -> &Classes {
        &self.classes
    }
}
