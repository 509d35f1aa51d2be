//! Class names.
