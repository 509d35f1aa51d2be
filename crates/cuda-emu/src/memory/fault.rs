//! Accesses that hardware would refuse, described for people.

use std::fmt;

use thiserror::Error;

use super::AllocLabel;
use crate::report::FindingKind;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Reading and writing as one.
    Atomic,
    /// Freeing.
    Free,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Atomic => "atomic",
            Access::Free => "free",
        })
    }
}

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The address is near zero.
    Null,
    /// The address lies beside an allocation, or the access runs over its end.
    OutOfBounds,
    /// The address is no multiple of the access size.
    Misaligned,
    /// The allocation was freed.
    UseAfterFree,
    /// The address was never device memory.
    Unallocated,
    /// A kernel wrote to constant memory, or to memory held as read-only.
    ReadOnly,
    /// The address to free is no start of a live allocation.
    InvalidFree,
}

impl FaultKind {
    /// The kind of finding.
    pub fn finding(self) -> FindingKind {
        match self {
            FaultKind::Null => FindingKind::NullAddress,
            FaultKind::OutOfBounds => FindingKind::OutOfBounds,
            FaultKind::Misaligned => FindingKind::Misaligned,
            FaultKind::UseAfterFree => FindingKind::UseAfterFree,
            FaultKind::Unallocated => FindingKind::Unallocated,
            FaultKind::ReadOnly => FindingKind::ReadOnlyWrite,
            FaultKind::InvalidFree => FindingKind::InvalidFree,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Null => "null pointer",
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned",
            FaultKind::UseAfterFree => "use after free",
            FaultKind::Unallocated => "not device memory",
            FaultKind::ReadOnly => "read-only memory",
            FaultKind::InvalidFree => "not the start of a live allocation",
        })
    }
}

/// Where an address lies, seen from an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// So many bytes before its start.
    Before(u64),
    /// At this offset.
    At(u64),
    /// So many bytes after its end.
    After(u64),
}

/// The allocation nearest to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Which allocation.
    pub label: AllocLabel,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it was freed.
    pub freed: bool,
    /// Where the address lies.
    pub position: Position,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Position::Before(distance) => write!(f, "{distance} bytes before ")?,
            Position::At(offset) => write!(f, "at offset {offset} of ")?,
            Position::After(distance) => write!(f, "{distance} bytes after ")?,
        }
        write!(f, "{} of {} bytes{}", self.label, self.bytes, if self.freed { ", since freed" } else { "" })
    }
}

/// An access to device memory that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid {access} of {bytes} bytes at {address:#x}: {kind}{}", describe(.neighbour))]
pub struct MemoryFault {
    /// What was tried.
    pub access: Access,
    /// Why it failed.
    pub kind: FaultKind,
    /// First address of the access.
    pub address: u64,
    /// Bytes accessed.
    pub bytes: u64,
    /// The allocation concerned, or the nearest.
    pub neighbour: Option<Box<Neighbour>>,
}

fn describe(neighbour: &Option<Box<Neighbour>>) -> String {
    neighbour.as_ref().map_or_else(String::new, |neighbour| format!(", {neighbour}"))
}

/// The device's memory is used up, or the host cannot back it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("out of device memory: {requested} bytes requested, {free} of {total} free")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes free.
    pub free: u64,
    /// Bytes of the device.
    pub total: u64,
}
