//! A block's shared memory.

use crate::check::{POISON, SharedShadow, shared_bounds};
use crate::memory::{LaneBytes, WarpAccess};
use crate::report::{BankTraffic, Issue, shared_wavefronts};

use super::copy_async::Copies;

/// Shared memory with its checks. In each function a returned issue does not end the launch, an error does.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    bytes: Vec<u8>,
    /// Initialisation, races and copies in flight; absent when checks are off.
    shadow: Option<Box<SharedShadow>>,
    /// Copies in flight of each warp, when no shadow keeps them.
    copies: Vec<Copies>,
    pub loads: BankTraffic,
    pub stores: BankTraffic,
    pub atomics: BankTraffic,
}

type Access<'a> = WarpAccess<'a, u32>;

impl Shared {
    /// Ready for another block; the traffic goes on counting.
    pub(crate) fn reset(&mut self, size: u32, warps: usize, checks: bool) {
        self.bytes.clear();
        self.bytes.resize(size as usize, POISON);
        if checks {
            self.shadow.get_or_insert_default().start_block(size, warps as u32);
        } else {
            self.shadow = None;
            self.copies.clear();
            self.copies.resize_with(warps, Copies::default);
        }
    }

    fn check(&self, access: &Access<'_>) -> Result<(), Issue> {
        // All lanes at once; the exact report is for the rare other case.
        let size = self.bytes.len() as u64;
        let mut wrong = 0u32;
        for (lane, &address) in access.addresses.iter().enumerate() {
            let bad = u64::from(address) + u64::from(access.bytes) > size || address & (access.bytes - 1) != 0;
            wrong |= u32::from(bad) << lane;
        }
        if wrong & access.mask == 0 {
            return Ok(());
        }
        shared_bounds(access, self.bytes.len() as u32).map_or(Ok(()), Err)
    }

    /// Loads what each lane asks for.
    pub(crate) fn load(&mut self, access: &Access<'_>, warp: u32, out: &mut LaneBytes) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        let issue = self.shadow.as_mut().and_then(|shadow| {
            count(&mut self.loads, access);
            shadow.read(warp, access)
        });
        self.copy_out(access, out);
        Ok(issue)
    }

    /// Loads the rows of `ldmatrix`, one per lane of the access.
    pub(crate) fn load_rows(&mut self, access: &Access<'_>, warp: u32, out: &mut LaneBytes) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        let issue = self.shadow.as_mut().and_then(|shadow| {
            count(&mut self.loads, access);
            shadow.read_rows(warp, &access.addresses[..access.mask.count_ones() as usize])
        });
        self.copy_out(access, out);
        Ok(issue)
    }

    /// Stores each lane's bytes. Of lanes with one address the highest wins.
    pub(crate) fn store(&mut self, access: &Access<'_>, warp: u32, values: &LaneBytes) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        let issue = self.shadow.as_mut().and_then(|shadow| {
            count(&mut self.stores, access);
            shadow.write(warp, access, values)
        });
        copy_in(&mut self.bytes, access, values);
        Ok(issue)
    }

    /// Replaces each lane's value of 2, 4 or 8 bytes by `update(lane, value)`, in order of lanes; `old` receives the former values.
    pub(crate) fn atomic(
        &mut self,
        access: &Access<'_>,
        warp: u32,
        old: &mut [u64; 32],
        update: impl Fn(usize, u64) -> u64,
    ) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        let issue = self.shadow.as_mut().and_then(|shadow| {
            count(&mut self.atomics, access);
            shadow.atomic(warp, access)
        });
        let bytes = access.bytes as usize;
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 != 0) {
            let start = access.addresses[lane] as usize;
            let Some(place) = self.bytes.get_mut(start..start + bytes) else { continue };
            let mut raw = [0; 8];
            raw[..bytes].copy_from_slice(place);
            old[lane] = u64::from_le_bytes(raw);
            place.copy_from_slice(&update(lane, old[lane]).to_le_bytes()[..bytes]);
        }
        Ok(issue)
    }

    /// An asynchronous copy is issued: until it lands, its destination is poison.
    pub(crate) fn copy_issue(&mut self, access: &Access<'_>, warp: u32, values: &LaneBytes) -> Result<Option<Issue>, Issue> {
        self.check(access)?;
        if let Some(shadow) = &mut self.shadow {
            count(&mut self.stores, access);
            return Ok(shadow.copy_issue(warp, access, values, &mut self.bytes));
        }
        copy_in(&mut self.bytes, access, &LaneBytes([POISON; 512]));
        if let Some(copies) = self.copies.get_mut(warp as usize) {
            copies.issue(access.mask, *access.addresses, access.bytes, values);
        }
        Ok(None)
    }

    /// Lanes commit the copies that they have issued.
    pub(crate) fn copy_commit(&mut self, warp: u32, mask: u32) {
        if let Some(shadow) = &mut self.shadow {
            shadow.copy_commit(warp, mask);
        } else if let Some(copies) = self.copies.get_mut(warp as usize) {
            copies.commit(mask);
        }
    }

    /// Lanes wait until at most `groups` groups are in flight, or (`None`) nothing at all: the others land.
    pub(crate) fn copy_wait(&mut self, warp: u32, mask: u32, groups: Option<u32>) {
        if let Some(shadow) = &mut self.shadow {
            shadow.copy_wait(warp, mask, groups, &mut self.bytes);
        } else if let Some(copies) = self.copies.get_mut(warp as usize) {
            let bytes = &mut self.bytes;
            copies.wait(mask, groups, |access, values| copy_in(bytes, access, values));
        }
    }

    /// Lanes end.
    pub(crate) fn exit(&mut self, warp: u32, mask: u32) -> Option<Issue> {
        self.shadow.as_mut()?.exit(warp, mask)
    }

    /// A warp arrives at a block barrier.
    pub(crate) fn arrive(&mut self, warp: u32, barrier: u32) {
        if let Some(shadow) = &mut self.shadow {
            shadow.arrive(warp, barrier);
        }
    }

    /// A block barrier lets these warps (as bits) go on.
    pub(crate) fn complete(&mut self, barrier: u32, waiters: u32) {
        if let Some(shadow) = &mut self.shadow {
            shadow.complete(barrier, waiters);
        }
    }

    /// `bar.warp.sync` of the lanes in `mask`.
    pub(crate) fn warp_sync(&mut self, warp: u32, mask: u32, live: u32) {
        if let Some(shadow) = &mut self.shadow {
            shadow.warp_sync(warp, mask, live);
        }
    }

    fn copy_out(&self, access: &Access<'_>, out: &mut LaneBytes) {
        match access.bytes {
            4 => lanes_out::<4>(&self.bytes, access, out),
            16 => lanes_out::<16>(&self.bytes, access, out),
            8 => lanes_out::<8>(&self.bytes, access, out),
            2 => lanes_out::<2>(&self.bytes, access, out),
            _ => lanes_out::<1>(&self.bytes, access, out),
        }
    }
}

fn copy_in(bytes: &mut [u8], access: &Access<'_>, values: &LaneBytes) {
    match access.bytes {
        4 => lanes_in::<4>(bytes, access, values),
        16 => lanes_in::<16>(bytes, access, values),
        8 => lanes_in::<8>(bytes, access, values),
        2 => lanes_in::<2>(bytes, access, values),
        _ => lanes_in::<1>(bytes, access, values),
    }
}

fn lanes_out<const N: usize>(bytes: &[u8], access: &Access<'_>, out: &mut LaneBytes) {
    for (lane, &address) in access.addresses.iter().enumerate() {
        if access.mask >> lane & 1 != 0
            && let Some(from) = bytes.get(address as usize..).and_then(|rest| rest.first_chunk::<N>())
        {
            out.lane_mut(lane, N).copy_from_slice(from);
        }
    }
}

fn lanes_in<const N: usize>(bytes: &mut [u8], access: &Access<'_>, values: &LaneBytes) {
    for (lane, &address) in access.addresses.iter().enumerate() {
        if access.mask >> lane & 1 != 0
            && let Some(to) = bytes.get_mut(address as usize..).and_then(|rest| rest.first_chunk_mut::<N>())
        {
            to.copy_from_slice(values.lane(lane, N));
        }
    }
}

/// Adds a request to the bank traffic.
fn count(traffic: &mut BankTraffic, access: &Access<'_>) {
    let wavefronts = shared_wavefronts(access.addresses, access.mask, access.bytes);
    traffic.requests += 1;
    traffic.wavefronts += u64::from(wavefronts.actual);
    traffic.ideal_wavefronts += u64::from(wavefronts.ideal);
    traffic.bytes += u64::from(access.mask.count_ones() * access.bytes);
}
