//! What device is played: limits and names.
