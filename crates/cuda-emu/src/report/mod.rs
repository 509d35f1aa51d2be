//! Findings and counters.
