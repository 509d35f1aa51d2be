//! Orders of warps and blocks.

use super::options::Order;

/// Arranges turns, by a seed where the order is random.
#[derive(Debug, Clone)]
pub(crate) struct Shuffler {
    order: Order,
    state: u64,
}

impl Shuffler {
    /// `salt` makes blocks differ.
    pub(crate) fn new(order: Order, salt: [u32; 3]) -> Shuffler {
        let seed = match order {
            Order::Random(seed) => seed,
            _ => 0,
        };
        let salt = salt.iter().fold(seed, |hash, &part| mix(hash ^ u64::from(part)));
        Shuffler { order, state: salt }
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// The next random number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Puts `turns`, which must be a permutation of `0..n`, into the order of the next round.
    pub(crate) fn arrange<T: Copy + Ord>(&mut self, turns: &mut [T]) {
        match self.order {
            Order::InOrder => turns.sort_unstable(),
            Order::Reverse => turns.sort_unstable_by(|a, b| b.cmp(a)),
            Order::Random(_) => {
                for last in (1..turns.len()).rev() {
                    turns.swap(last, (self.next() % (last as u64 + 1)) as usize);
                }
            }
        }
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
