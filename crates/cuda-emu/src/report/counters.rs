//! What a launch did, in numbers.

use std::ops::{AddAssign, Index, IndexMut};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

macro_rules! classes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// What an instruction is for; each executed instruction counts in one class.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum InstructionClass { $($(#[doc = $doc])* $name,)* }

        impl InstructionClass {
            /// Every class, in the order of reports.
            pub const ALL: &'static [InstructionClass] = &[$(InstructionClass::$name,)*];

            /// The class's name in reports.
            pub fn name(self) -> &'static str {
                match self { $(InstructionClass::$name => $text,)* }
            }
        }
    };
}

classes! {
    /// Integer and bit arithmetic.
    Integer = "integer",
    /// Arithmetic on f32.
    Float32 = "float32",
    /// Arithmetic on f16, bf16 and their pairs.
    Float16 = "float16",
    /// Arithmetic on f64.
    Float64 = "float64",
    /// Approximate functions: `ex2`, `rcp`, `sin` and the like.
    Special = "special",
    /// Conversions between types.
    Convert = "convert",
    /// Moves, selects, address conversions.
    Move = "move",
    /// Comparisons and predicate logic.
    Predicate = "predicate",
    /// Loads from global memory.
    LoadGlobal = "load_global",
    /// Stores to global memory.
    StoreGlobal = "store_global",
    /// Loads from shared memory.
    LoadShared = "load_shared",
    /// Stores to shared memory.
    StoreShared = "store_shared",
    /// Loads from and stores to local memory.
    Local = "local",
    /// Loads from constant and parameter memory.
    Constant = "constant",
    /// Atomics and reductions on memory.
    Atomic = "atomic",
    /// `cp.async` with its commits and waits.
    AsyncCopy = "async_copy",
    /// `ldmatrix`.
    LdMatrix = "ldmatrix",
    /// Matrix multiply-add.
    Mma = "mma",
    /// Shuffles, votes, matches, warp reductions.
    WarpWide = "warp_wide",
    /// Barriers of blocks and warps, fences.
    Barrier = "barrier",
    /// Branches, calls, returns.
    Control = "control",
    /// Anything else.
    Other = "other",
}

const CLASSES: usize = InstructionClass::ALL.len();

/// A count per instruction class. Serialises as a map without the zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts([u64; CLASSES]);

impl ClassCounts {
    /// Instructions of all classes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Index<InstructionClass> for ClassCounts {
    type Output = u64;
    fn index(&self, class: InstructionClass) -> &u64 {
        &self.0[class as usize]
    }
}

impl IndexMut<InstructionClass> for ClassCounts {
    fn index_mut(&mut self, class: InstructionClass) -> &mut u64 {
        &mut self.0[class as usize]
    }
}

impl AddAssign<&ClassCounts> for ClassCounts {
    fn add_assign(&mut self, other: &ClassCounts) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Serialize for ClassCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = InstructionClass::ALL.iter().filter(|&&class| self[class] != 0);
        let mut map = serializer.serialize_map(Some(used.clone().count()))?;
        for &class in used {
            map.serialize_entry(class.name(), &self[class])?;
        }
        map.end()
    }
}

macro_rules! sums {
    ($(#[doc = $about:literal])* $type:ident { $($(#[doc = $doc:literal])* $field:ident: $kind:ty,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct $type { $($(#[doc = $doc])* pub $field: $kind,)* }

        impl AddAssign<&$type> for $type {
            fn add_assign(&mut self, other: &$type) {
                $(self.$field += &other.$field;)*
            }
        }
    };
}

sums! {
    /// Traffic to global memory, in 32-byte sectors.
    SectorTraffic {
        /// Warp instructions.
        requests: u64,
        /// Sectors that they touch, each counted once per request.
        sectors: u64,
        /// Sectors that the same bytes would fill if they lay together.
        ideal_sectors: u64,
        /// Bytes asked for, over all lanes.
        bytes: u64,
    }
}

sums! {
    /// Traffic to shared memory, in wavefronts: passes over the 32 banks.
    BankTraffic {
        /// Warp instructions.
        requests: u64,
        /// Passes that they take.
        wavefronts: u64,
        /// Passes without bank conflicts.
        ideal_wavefronts: u64,
        /// Bytes asked for, over all lanes.
        bytes: u64,
    }
}

sums! {
    /// What one launch did, or several. Warp instructions unless said otherwise.
    Counters {
        /// Launches counted.
        launches: u64,
        /// Blocks run.
        blocks: u64,
        /// Warps run.
        warps: u64,
        /// Instructions by class.
        instructions: ClassCounts,
        /// Instructions times active lanes.
        thread_instructions: u64,
        /// Matrix multiply-adds; also in `instructions`.
        mma: u64,
        /// Floating-point operations, two per multiply-add, active lanes only.
        flops: u64,
        /// Loads from global memory, source reads of asynchronous copies included.
        global_load: SectorTraffic,
        /// Stores to global memory.
        global_store: SectorTraffic,
        /// Atomics on global memory.
        global_atomic: SectorTraffic,
        /// Different bytes of global memory read.
        unique_read_bytes: u64,
        /// Different bytes of global memory written.
        unique_written_bytes: u64,
        /// Loads from shared memory, `ldmatrix` included.
        shared_load: BankTraffic,
        /// Stores to shared memory, arriving asynchronous copies included.
        shared_store: BankTraffic,
        /// Atomics on shared memory.
        shared_atomic: BankTraffic,
        /// Block barriers, counted once per warp that arrives.
        barriers: u64,
        /// Warp barriers.
        warp_barriers: u64,
        /// Conditional branches.
        branches: u64,
        /// Conditional branches at which lanes parted.
        divergent_branches: u64,
    }
}

impl Counters {
    /// Counts one instruction executed by `lanes` lanes.
    #[inline]
    pub fn count(&mut self, class: InstructionClass, lanes: u32) {
        self.instructions[class] += 1;
        self.thread_instructions += u64::from(lanes);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Counters) {
        *self += other;
    }

    /// Active lanes per instruction, 0 to 1; 1 when nothing ran.
    pub fn lane_efficiency(&self) -> f64 {
        ratio(self.thread_instructions, self.instructions.total() * 32)
    }

    /// Ideal over actual sectors of loads and stores, 0 to 1; 1 when there were none.
    pub fn coalescing(&self) -> f64 {
        ratio(
            self.global_load.ideal_sectors + self.global_store.ideal_sectors,
            self.global_load.sectors + self.global_store.sectors,
        )
    }

    /// Wavefronts of shared memory beyond the ideal.
    pub fn bank_conflicts(&self) -> u64 {
        [self.shared_load, self.shared_store, self.shared_atomic]
            .iter()
            .map(|banks| banks.wavefronts - banks.ideal_wavefronts)
            .sum()
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_adds_each_field() {
        let mut counters = Counters { launches: 1, flops: 10, ..Counters::default() };
        counters.count(InstructionClass::Mma, 32);
        counters.count(InstructionClass::Integer, 16);
        counters.shared_load = BankTraffic { requests: 1, wavefronts: 4, ideal_wavefronts: 1, bytes: 128 };
        let mut sum = counters;
        sum.merge(&counters);
        assert_eq!((sum.launches, sum.flops, sum.instructions.total(), sum.thread_instructions), (2, 20, 4, 96));
        assert_eq!(sum.instructions[InstructionClass::Mma], 2);
        assert_eq!(sum.bank_conflicts(), 6);
        assert_eq!(sum.lane_efficiency(), 0.75);
        assert_eq!(Counters::default().coalescing(), 1.0);
    }

    #[test]
    fn json_names_the_classes_used() {
        let mut counters = Counters::default();
        counters.count(InstructionClass::LdMatrix, 32);
        let json = serde_json::to_value(counters).unwrap();
        assert_eq!(json["instructions"], serde_json::json!({ "ldmatrix": 1 }));
        assert_eq!(json["global_load"]["sectors"], 0);
    }
}
