//! Where weights come from: a path, the bundled model, a download.
