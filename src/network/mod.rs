//! The network as data: a table of named layers and their parameters.
//!
//! [`Model::load`] reads the architecture off a weight file's tensors and checks every one of them. [`Network`] is the table
//! of layers under torchvision's names, which the backends walk, reports print and class activation maps address.

mod architecture;
mod error;
mod model;
mod plan;
mod shape;
mod slots;
mod table;

pub use architecture::{Architecture, Block};
pub use error::NetworkError;
pub use model::{BATCH_NORM_EPS, ConvBatchNorm, ConvParameters, Folded, Model};
pub use plan::{PlanReport, PlannedStep};
pub use shape::{Conv2dShape, MAX_ELEMENTS, Window};
pub use slots::Slots;
pub use table::{Layer, LayerShape, Network, Op, Value};
