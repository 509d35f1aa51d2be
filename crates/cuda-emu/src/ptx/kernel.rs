//! A kernel, decoded.

use std::collections::HashMap;

use super::decode::Watch;
use super::ir::{Instr, Planes};

/// A kernel's parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Where it starts in the parameter block.
    pub offset: u32,
    /// Its size.
    pub bytes: u32,
    /// Its alignment.
    pub align: u32,
}

/// A kernel (`.entry`) ready to run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kernel {
    /// Its name in the PTX.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the parameter block.
    pub param_bytes: u32,
    /// Bytes of static shared memory; dynamic shared memory starts after them, at a multiple of the alignment it declares.
    pub static_shared: u32,
    /// Threads per block allowed by `.maxntid` or `.reqntid`.
    pub max_threads: Option<[u32; 3]>,
    /// A guess at registers per thread, from the largest number of PTX registers live at once. PTX does not say how many
    /// registers the machine code needs.
    pub registers_estimate: u32,
    /// Bytes of local memory per thread.
    pub local_bytes: u32,
    /// Whether a block may learn of another's progress: it reads global memory strongly.
    pub(crate) observes: bool,
    /// The least target that all its instructions allow, such as 90.
    pub(crate) needs: u32,
    /// What to watch for registers that are read before they are written; absent where that cannot be.
    pub(crate) watch: Option<Watch>,
    pub(crate) dynamic_start: u32,
    pub(crate) code: Vec<Instr>,
    pub(crate) planes: Planes,
    pub(crate) globals: Vec<String>,
    /// File number and line of each instruction.
    pub(crate) sources: Vec<(u32, u32)>,
    pub(crate) files: HashMap<u32, String>,
}

impl Kernel {
    /// Number of decoded instructions.
    pub fn instructions(&self) -> usize {
        self.code.len()
    }

    /// Source file and line of an instruction, from `.loc`.
    pub fn source(&self, pc: u32) -> Option<(&str, u32)> {
        let &(file, line) = self.sources.get(pc as usize)?;
        Some((self.files.get(&file)?, line))
    }
}
