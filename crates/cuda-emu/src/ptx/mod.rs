//! PTX text to checked, decoded kernels.
