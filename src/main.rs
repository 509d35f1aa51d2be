//! The `camshaft` program.
fn main() {}
