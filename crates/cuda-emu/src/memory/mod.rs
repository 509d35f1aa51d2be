//! Device memory: allocations, bounds, what has been written.
