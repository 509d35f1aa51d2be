//! What device is played: limits and names.
//!
//! The figures are those that NVIDIA publishes (CUDA programming guide, table of compute capabilities; data sheets and
//! architecture papers of the products). They matter for what a launch may ask for and for occupancy, never for speed.

mod list;

pub use list::Profile;
