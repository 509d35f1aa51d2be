//! Weight files, memory-mapped: safetensors and PyTorch `.pth`.
//!
//! [`WeightFile`] maps a file, finds out by its content which format it has, reads the directory of tensors and checks every
//! number in it (offsets, shapes, strides, element types) against the size of the file. Values are not touched until
//! [`TensorView::to_f32`] asks for them; a little-endian F32 tensor is then used in place, without a copy.
//!
//! Pickles, which `.pth` files hold, are programs for a stack machine that may call any Python function. The reader here
//! executes none of it: it follows the few opcodes that build dictionaries, lists and numbers, knows the handful of names that
//! `torch.save` writes for tensors, and refuses everything else by name.
//!
//! ```
//! use camshaft::weights::{Format, WeightFile, WeightsError};
//!
//! let header = br#"{"fc.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
//! bytes.extend_from_slice(header);
//! bytes.extend_from_slice(bytemuck::bytes_of(&[0.5f32.to_le_bytes(), (-1.0f32).to_le_bytes()]));
//!
//! let file = WeightFile::from_bytes("model.safetensors", bytes)?;
//! assert_eq!(file.format(), Format::Safetensors);
//! let bias = file.tensor("fc.bias").expect("it was just written");
//! assert_eq!(bias.shape(), [2]);
//! assert_eq!(&*bias.to_f32()?, [0.5, -1.0]);
//! # Ok::<(), WeightsError>(())
//! ```

mod bytes;
mod entry;
mod error;
mod file;
#[allow(unsafe_code)]
mod map;
mod pickle;
mod pth;
mod safetensors;
mod sniff;
mod tensor;

pub use self::error::{ShapeFault, WeightsError};
pub use self::file::{OpenOptions, WeightFile};
pub use self::pickle::{PickleError, PickleFault};
pub use self::sniff::Format;
pub use self::tensor::TensorView;
/// Element types, named as in the safetensors format: `F32`, `F16`, `BF16`, `I64` and so on.
pub use ::safetensors::Dtype;
