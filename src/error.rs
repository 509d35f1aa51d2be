//! One error for the whole library.

use crate::cam::{MethodError, TargetError};
use crate::cpu::CpuError;
use crate::engine::DeviceError;
use crate::input::InputError;
use crate::labels::LabelError;
use crate::metrics::{AnnotationError, MetricsError};
use crate::network::NetworkError;
use crate::output::OutputError;
use crate::render::RenderError;
use crate::sources::SourceError;
use crate::weights::WeightsError;

/// Whatever can go wrong; each part of the crate has an error of its own that says more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Weights that could not be found or fetched.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A damaged weight file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights that are no network this crate runs.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Class names.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Classes that are no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A method that does not go with what it was asked for.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A map that cannot be measured.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A file that says where objects are.
    #[error(transparent)]
    Annotations(#[from] AnnotationError),
    /// An image that could not be read or prepared.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A map that cannot be drawn.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The CPU backend.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The device that was asked for.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file that could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The operating system refused the threads of a pipeline.
    #[error("cannot start {threads} threads: {source}; ask for fewer")]
    Threads {
        /// How many.
        threads: usize,
        /// Its reason.
        source: std::io::Error,
    },
    /// A score that is NaN or infinite though every weight is finite: a product or a sum left f32.
    #[error(
        "the network's score of class {class} is {value}, expected a finite number: its weights overflow f32; check them for damage"
    )]
    NotFinite {
        /// Index of the first such class.
        class: usize,
        /// NaN or an infinity.
        value: f32,
    },
}
