//! A small host for kernels under test: one memory, one module, arguments in order.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod exact;
pub mod form;
pub mod hardware;

use std::collections::HashMap;
use std::sync::Arc;

use cuda_emu::exec::{Launch, Options, Outcome, run};
use cuda_emu::memory::{AllocKind, AllocLabel, Memory};
use cuda_emu::profile::Profile;
use cuda_emu::ptx::{Kernel, Module};
use hardware::Hardware;

/// A kernel's argument.
pub enum Arg {
    U32(u32),
    U64(u64),
    F32(f32),
    /// A struct's bytes and alignment.
    Bytes(Vec<u8>, usize),
}

pub struct Host {
    pub memory: Memory,
    pub module: Module,
    pub options: Options,
    globals: HashMap<String, u64>,
    count: std::cell::Cell<u64>,
    /// Where kernels run if not here.
    hardware: Option<Hardware>,
}

impl Arg {
    /// Bytes and their alignment.
    fn bytes(&self) -> (Vec<u8>, usize) {
        match self {
            Arg::U32(v) => (v.to_le_bytes().to_vec(), 4),
            Arg::U64(v) => (v.to_le_bytes().to_vec(), 8),
            Arg::F32(v) => (v.to_le_bytes().to_vec(), 4),
            Arg::Bytes(bytes, align) => (bytes.clone(), *align),
        }
    }
}

/// Whether to leave a test out, and says so: it is about what only the software device tells.
pub fn needs_software(test: &str) -> bool {
    let left_out = hardware::is_chosen();
    if left_out {
        eprintln!("{test}: left out on a GPU: it looks at what the software device finds");
    }
    left_out
}

impl Host {
    pub fn new(ptx: &str) -> Host {
        let module = Module::parse(ptx).unwrap_or_else(|error| panic!("{error}"));
        let hardware = hardware::is_chosen().then(|| Hardware::load(ptx));
        let (memory, globals) = (Memory::new(1 << 30), HashMap::new());
        let mut host = Host { memory, module, options: Options::default(), globals, count: 0.into(), hardware };
        for variable in host.module.globals() {
            let zeros = vec![0; variable.bytes as usize];
            let init = if variable.init.is_empty() { &zeros } else { &variable.init };
            let address = host.bytes(init);
            host.globals.insert(variable.name.clone(), address);
        }
        host
    }

    /// Memory that nothing has written.
    pub fn empty(&self, bytes: usize) -> u64 {
        if let Some(hardware) = &self.hardware {
            return hardware.alloc(bytes);
        }
        self.count.set(self.count.get() + 1);
        self.memory.alloc(bytes as u64, AllocLabel { sequence: self.count.get(), kind: AllocKind::Device }).unwrap()
    }

    pub fn bytes(&self, data: &[u8]) -> u64 {
        let address = self.empty(data.len());
        match &self.hardware {
            Some(hardware) => hardware.write(address, data),
            None => self.memory.write(address, data).unwrap(),
        }
        address
    }

    pub fn u32s(&self, data: &[u32]) -> u64 {
        self.bytes(&data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn f32s(&self, data: &[f32]) -> u64 {
        self.u32s(&data.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
    }

    pub fn u16s(&self, data: &[u16]) -> u64 {
        self.bytes(&data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn u64s(&self, data: &[u64]) -> u64 {
        self.bytes(&data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        match &self.hardware {
            Some(hardware) => hardware.read(address, bytes),
            None => self.memory.read(address, bytes).unwrap(),
        }
    }

    pub fn read_u32s(&self, address: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * count];
        self.read(address, &mut bytes);
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn read_f32s(&self, address: u64, count: usize) -> Vec<f32> {
        self.read_u32s(address, count).into_iter().map(f32::from_bits).collect()
    }

    pub fn read_u64s(&self, address: u64, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; 8 * count];
        self.read(address, &mut bytes);
        bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn kernel(&self, name: &str) -> Arc<Kernel> {
        self.module.kernel(name).unwrap_or_else(|| panic!("no kernel {name}"))
    }

    pub fn launch(&self, name: &str, grid: [u32; 3], block: [u32; 3], dynamic_shared: u32, args: &[Arg]) -> Outcome {
        assert!(self.hardware.is_none(), "{name}: what a launch comes to is only told by the software device");
        let mut params = Vec::new();
        for (bytes, align) in args.iter().map(Arg::bytes) {
            params.resize(params.len().next_multiple_of(align), 0);
            params.extend(bytes);
        }
        let (kernel, globals) = (self.kernel(name), &self.globals);
        let launch = Launch {
            kernel: &kernel,
            module_globals: &|name| globals.get(name).copied(),
            grid,
            block,
            dynamic_shared,
            params: &params,
            profile: &Profile::ALL[1],
            options: &self.options,
        };
        run(&launch, &self.memory)
    }

    /// Launches, on whichever device the tests run, and demands that nothing goes wrong.
    pub fn launch_clean(&self, name: &str, grid: [u32; 3], block: [u32; 3], dynamic_shared: u32, args: &[Arg]) {
        if let Some(hardware) = &self.hardware {
            let mut args: Vec<Vec<u8>> = args.iter().map(|arg| arg.bytes().0).collect();
            return hardware.launch(name, grid, block, dynamic_shared, &mut args);
        }
        self.outcome_clean(name, grid, block, dynamic_shared, args);
    }

    /// As [`Host::launch`], and demands that nothing is found.
    pub fn outcome_clean(&self, name: &str, grid: [u32; 3], block: [u32; 3], dynamic_shared: u32, args: &[Arg]) -> Outcome {
        let outcome = self.launch(name, grid, block, dynamic_shared, args);
        assert!(
            outcome.findings.is_empty() && outcome.fault.is_none(),
            "{name}: {:?}\n{}",
            outcome.fault,
            outcome.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        );
        outcome
    }
}

/// Small random numbers that do not change between runs.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// An integer of `-bound..=bound`.
    pub fn integer(&mut self, bound: i64) -> i64 {
        (self.next() >> 33) as i64 % (2 * bound + 1) - bound
    }
}
