//! A block's shared memory.

use crate::memory::{LaneBytes, WarpAccess};
use crate::report::{BankTraffic, FindingKind, Issue, shared_wavefronts};

/// What shared memory holds before anything is written: NaN as f32 and as f16.
const PATTERN: u8 = 0x7f;

#[derive(Debug, Default)]
pub(crate) struct Shared {
    bytes: Vec<u8>,
    checks: bool,
    pub loads: BankTraffic,
    pub stores: BankTraffic,
    pub atomics: BankTraffic,
}

impl Shared {
    /// Ready for another block; the traffic goes on counting.
    pub(crate) fn reset(&mut self, size: u32, _warps: usize, checks: bool) {
        self.checks = checks;
        self.bytes.clear();
        self.bytes.resize(size as usize, PATTERN);
    }

    /// Loads what each lane asks for. The issue, if any, does not end the launch; an error does.
    pub(crate) fn load(
        &mut self,
        access: &WarpAccess<'_, u32>,
        _strong: bool,
        _warp: u32,
        _pc: u32,
        out: &mut LaneBytes,
    ) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        if self.checks {
            count(&mut self.loads, access);
        }
        match access.bytes {
            4 => copy_out::<4>(&self.bytes, access, out),
            16 => copy_out::<16>(&self.bytes, access, out),
            8 => copy_out::<8>(&self.bytes, access, out),
            2 => copy_out::<2>(&self.bytes, access, out),
            _ => copy_out::<1>(&self.bytes, access, out),
        }
        Ok(None)
    }

    /// Stores each lane's bytes. Of lanes with one address the highest wins.
    pub(crate) fn store(
        &mut self,
        access: &WarpAccess<'_, u32>,
        _strong: bool,
        _warp: u32,
        _pc: u32,
        values: &LaneBytes,
    ) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        if self.checks {
            count(&mut self.stores, access);
        }
        self.copy_in(access, values);
        Ok(None)
    }

    /// Replaces each lane's value of 2, 4 or 8 bytes by `update(lane, value)`, in order of lanes; `old` receives the former values.
    pub(crate) fn atomic(
        &mut self,
        access: &WarpAccess<'_, u32>,
        _warp: u32,
        _pc: u32,
        old: &mut [u64; 32],
        mut update: impl FnMut(usize, u64) -> u64,
    ) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        if self.checks {
            count(&mut self.atomics, access);
        }
        let bytes = access.bytes as usize;
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 != 0) {
            let start = access.addresses[lane] as usize;
            let Some(place) = self.bytes.get_mut(start..start + bytes) else { continue };
            let mut raw = [0; 8];
            raw[..bytes].copy_from_slice(place);
            old[lane] = u64::from_le_bytes(raw);
            place.copy_from_slice(&update(lane, old[lane]).to_le_bytes()[..bytes]);
        }
        Ok(None)
    }

    /// Bounds and alignment of all lanes.
    fn check(&self, access: &WarpAccess<'_, u32>) -> Result<(), Issue> {
        let size = self.bytes.len() as u64;
        let mut wrong = 0u32;
        for (lane, &address) in access.addresses.iter().enumerate() {
            let bad = u64::from(address) + u64::from(access.bytes) > size || address & (access.bytes - 1) != 0;
            wrong |= u32::from(bad) << lane;
        }
        wrong &= access.mask;
        if wrong == 0 {
            return Ok(());
        }
        let lane = wrong.trailing_zeros();
        let address = access.addresses[lane as usize];
        let misaligned = address & (access.bytes - 1) != 0;
        Err(Issue {
            kind: if misaligned { FindingKind::Misaligned } else { FindingKind::OutOfBounds },
            lane,
            address: Some(u64::from(address)),
            message: format!("access of {} bytes to {size} bytes of shared memory", access.bytes),
        })
    }

    fn copy_in(&mut self, access: &WarpAccess<'_, u32>, values: &LaneBytes) {
        match access.bytes {
            4 => copy_in::<4>(&mut self.bytes, access, values),
            16 => copy_in::<16>(&mut self.bytes, access, values),
            8 => copy_in::<8>(&mut self.bytes, access, values),
            2 => copy_in::<2>(&mut self.bytes, access, values),
            _ => copy_in::<1>(&mut self.bytes, access, values),
        }
    }

    /// A block barrier lets `waiting` go on, after these and `passed` arrived.
    pub(crate) fn barrier(&mut self, _waiting: &[usize], _passed: &[usize]) {}

    /// An asynchronous copy was issued: until it lands its destination holds the pattern.
    pub(crate) fn issue_copy(&mut self, access: &WarpAccess<'_, u32>, _warp: u32, _pc: u32) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        self.copy_in(access, &LaneBytes([PATTERN; 512]));
        Ok(None)
    }

    /// An asynchronous copy lands.
    pub(crate) fn land_copy(
        &mut self,
        access: &WarpAccess<'_, u32>,
        _warp: u32,
        _pc: u32,
        values: &LaneBytes,
    ) -> Result<Option<Issue>, Issue> {
        if self.checks {
            count(&mut self.stores, access);
        }
        self.copy_in(access, values);
        Ok(None)
    }
}

fn copy_out<const N: usize>(bytes: &[u8], access: &WarpAccess<'_, u32>, out: &mut LaneBytes) {
    for (lane, &address) in access.addresses.iter().enumerate() {
        if access.mask >> lane & 1 != 0
            && let Some(from) = bytes.get(address as usize..).and_then(|rest| rest.first_chunk::<N>())
        {
            out.lane_mut(lane, N).copy_from_slice(from);
        }
    }
}

fn copy_in<const N: usize>(bytes: &mut [u8], access: &WarpAccess<'_, u32>, values: &LaneBytes) {
    for (lane, &address) in access.addresses.iter().enumerate() {
        if access.mask >> lane & 1 != 0
            && let Some(to) = bytes.get_mut(address as usize..).and_then(|rest| rest.first_chunk_mut::<N>())
        {
            to.copy_from_slice(values.lane(lane, N));
        }
    }
}

/// Adds a request to the bank traffic.
fn count(traffic: &mut BankTraffic, access: &WarpAccess<'_, u32>) {
    let wavefronts = shared_wavefronts(access.addresses, access.mask, access.bytes);
    traffic.requests += 1;
    traffic.wavefronts += u64::from(wavefronts.actual);
    traffic.ideal_wavefronts += u64::from(wavefronts.ideal);
    traffic.bytes += u64::from(access.mask.count_ones() * access.bytes);
}
