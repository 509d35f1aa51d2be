//! The network as data: a table of named layers and their parameters.
