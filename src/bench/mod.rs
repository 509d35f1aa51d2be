//! What the `bench` command is made of: spreads of timings, the physical floor of a network on a machine, the machine's rates.

mod floor;
mod gpu;
mod machine;
mod spread;

pub use floor::{Bound, Floor, LayerCost, Limits, costs, of_step, total};
pub use gpu::{GPUS, GpuFacts, KnownGpu};
pub use machine::{fma_rate, read_rate};
pub use spread::Spread;
