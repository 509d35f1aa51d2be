//! Maps on the threads of a backend.

use rayon::prelude::*;

use super::{Cpu, Forward, enter};
use crate::cam::{Evidence, Head, Map, MethodError, Selection};

impl Cpu {
    /// The selected maps of each image of a pass, each with the (first) class that it is about; images side by side.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not have a class of the selection, a method takes more than one pass
    /// ([`crate::cam::Method::masks`]), or `head` is not the classifier of the network.
    pub fn maps(&self, head: &Head, pass: &Forward, selection: Selection<'_>) -> Result<Vec<Vec<(usize, Map)>>, MethodError> {
        let Forward { features, logits } = pass;
        let of = |image| selection.maps(&Evidence::new(head, features, image, logits.image(image))?);
        enter(&self.pool, || (0..features.shape()[0]).into_par_iter().map(of).collect())
    }
}
