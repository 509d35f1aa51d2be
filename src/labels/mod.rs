//! Class names: the bundled ImageNet list, label files, and look-up by index or name.
//!
//! NOTICE: the 1000 ImageNet-1k names in `assets/labels/imagenet1k.txt` are those of torchvision 0.29.2
//! (`torchvision.models._meta`), copyright Soumith Chintala 2016, BSD 3-Clause; `assets/labels/LICENSE` holds the text.
//!
//! ```
//! use camshaft::labels::Labels;
//!
//! let labels = Labels::imagenet();
//! assert_eq!(labels.get(281), Some("tabby"));
//! assert_eq!(labels.find("tiger_cat")?, 282);
//! assert!(labels.find("crane").is_err()); // the bird or the machine?
//! # Ok::<_, camshaft::labels::LabelError>(())
//! ```

mod error;
mod find;
mod json;
mod list;
mod parse;

pub use error::LabelError;
pub use list::Labels;
