//! Files that appear whole or not at all: PNG, NPY and the manifest of a run.
