//! Handles given to programs.
//!
//! A handle is a number that no memory lives at: kind, context and a serial number that is never used again. A stale, foreign or
//! invented handle is therefore recognised, where a real driver would follow the pointer.

/// What a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Context = 1,
    Stream,
    Event,
    Module,
    Function,
    Graph,
    GraphExec,
}

/// A decoded handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub kind: Kind,
    pub context: u32,
    pub serial: u32,
}

/// Outside the addresses that user programs have.
const BASE: u64 = 0xC0 << 56;

impl Handle {
    pub fn to_raw(self) -> u64 {
        BASE | (self.kind as u64) << 48 | u64::from(self.context & 0xFFFF) << 32 | u64::from(self.serial)
    }

    /// The handle, if `raw` looks like one of this kind.
    pub fn from_raw(raw: u64, kind: Kind) -> Option<Handle> {
        let handle = Handle { kind, context: (raw >> 32) as u32 & 0xFFFF, serial: raw as u32 };
        (handle.to_raw() == raw).then_some(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_do_not_mix() {
        let handle = Handle { kind: Kind::Event, context: 3, serial: 0xFFFF_FFFF };
        assert_eq!(Handle::from_raw(handle.to_raw(), Kind::Event), Some(handle));
        assert_eq!(Handle::from_raw(handle.to_raw(), Kind::Stream), None);
        assert_eq!(Handle::from_raw(0, Kind::Context), None);
        assert_eq!(Handle::from_raw(0x7FFF_1234_5678, Kind::Context), None);
    }
}
