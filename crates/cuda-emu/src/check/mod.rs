//! What a kernel must not do: uninitialised reads, races, misused barriers and asynchronous copies.
