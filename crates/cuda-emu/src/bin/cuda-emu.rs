//! Runs one kernel of a PTX file on the software device and says what it did.

use std::path::Path;
use std::process::ExitCode;

use cuda_emu::driver::Settings;
use cuda_emu::exec::{self, Launch, Options};
use cuda_emu::memory::{AllocKind, AllocLabel, Memory};
use cuda_emu::ptx::{Kernel, Module};
use cuda_emu::report::{LaunchReport, Occupancy, OccupancyRequest, Report};

const USAGE: &str = "\
usage: cuda-emu run FILE.ptx [OPTIONS] [ARGUMENT...]
       cuda-emu list FILE.ptx

Runs a kernel with every check on; prints its buffers, findings and counters. Settings: the CUDA_EMU_* variables.

options:
  --kernel NAME    which kernel (default: the only one)
  --grid X[,Y,Z]   blocks (default 1)
  --block X[,Y,Z]  threads per block (default 32)
  --shared BYTES   dynamic shared memory (default 0)
  --json           counters and findings as JSON

arguments, in the kernel's order:
  TYPE:VALUE           a number; TYPE is u32, i32, u64, i64, f32 or f64
  TYPE[COUNT]          a buffer that nothing has written
  TYPE[COUNT]=zeros    a buffer of zeros
  TYPE[COUNT]=iota     a buffer of 0, 1, 2, ...

exit: 0 nothing found, 1 findings or errors, 2 usage";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"run", rest)) => Command::parse(rest).map_err(Failure::Usage).and_then(|command| command.run()),
        Some((&"list", [file])) => load(file).map_err(Failure::Other).map(|module| {
            for kernel in module.kernels() {
                let types: Vec<String> =
                    kernel.params.iter().map(|param| format!("{} ({} bytes)", param.name, param.bytes)).collect();
                println!("{}: {}", kernel.name, types.join(", "));
            }
            true
        }),
        _ => Err(Failure::Usage(String::new())),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Usage(why)) => {
            eprintln!("{why}{}{USAGE}", if why.is_empty() { "" } else { "\n\n" });
            ExitCode::from(2)
        }
        Err(Failure::Other(why)) => {
            eprintln!("cuda-emu: {why}");
            ExitCode::from(1)
        }
    }
}

enum Failure {
    Usage(String),
    Other(String),
}

fn load(file: &str) -> Result<Module, String> {
    let text = std::fs::read_to_string(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    Module::parse(&text).map_err(|error| format!("{file}: {error}"))
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Type {
    fn named(name: &str) -> Option<Type> {
        let types = [
            ("u32", Type::U32),
            ("i32", Type::I32),
            ("u64", Type::U64),
            ("i64", Type::I64),
            ("f32", Type::F32),
            ("f64", Type::F64),
        ];
        types.into_iter().find(|(own, _)| *own == name).map(|(_, kind)| kind)
    }

    fn bytes(self) -> usize {
        if matches!(self, Type::U32 | Type::I32 | Type::F32) { 4 } else { 8 }
    }

    fn encode(self, value: &str) -> Option<Vec<u8>> {
        Some(match self {
            Type::U32 => value.parse::<u32>().ok()?.to_le_bytes().to_vec(),
            Type::I32 => value.parse::<i32>().ok()?.to_le_bytes().to_vec(),
            Type::U64 => value.parse::<u64>().ok()?.to_le_bytes().to_vec(),
            Type::I64 => value.parse::<i64>().ok()?.to_le_bytes().to_vec(),
            Type::F32 => value.parse::<f32>().ok()?.to_le_bytes().to_vec(),
            Type::F64 => value.parse::<f64>().ok()?.to_le_bytes().to_vec(),
        })
    }

    fn decode(self, bytes: &[u8]) -> String {
        let mut wide = [0; 8];
        wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
        let number = u64::from_le_bytes(wide);
        match self {
            Type::U32 => (number as u32).to_string(),
            Type::I32 => (number as i32).to_string(),
            Type::U64 => number.to_string(),
            Type::I64 => (number as i64).to_string(),
            Type::F32 => f32::from_bits(number as u32).to_string(),
            Type::F64 => f64::from_bits(number).to_string(),
        }
    }
}

enum Argument {
    Value(Vec<u8>),
    Buffer { kind: Type, count: usize, fill: Option<Vec<u8>> },
}

impl Argument {
    fn parse(word: &str) -> Result<Argument, String> {
        let wrong = || format!("argument `{word}` is none of TYPE:VALUE, TYPE[COUNT], TYPE[COUNT]=zeros, TYPE[COUNT]=iota");
        if let Some((kind, value)) = word.split_once(':') {
            return Type::named(kind).and_then(|kind| kind.encode(value)).map(Argument::Value).ok_or_else(wrong);
        }
        let (kind, rest) = word.split_once('[').ok_or_else(wrong)?;
        let (count, fill) = rest.split_once(']').ok_or_else(wrong)?;
        let kind = Type::named(kind).ok_or_else(wrong)?;
        let count: usize = count.parse().ok().filter(|&count| count > 0 && count < 1 << 28).ok_or_else(wrong)?;
        let fill = match fill {
            "" => None,
            "=zeros" => Some(vec![0; count * kind.bytes()]),
            "=iota" => Some((0..count).flat_map(|i| kind.encode(&i.to_string()).unwrap_or_default()).collect()),
            _ => return Err(wrong()),
        };
        Ok(Argument::Buffer { kind, count, fill })
    }
}

struct Command {
    file: String,
    kernel: Option<String>,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    json: bool,
    arguments: Vec<Argument>,
}

fn dimensions(value: &str) -> Result<[u32; 3], String> {
    let mut out = [1; 3];
    let parts: Vec<&str> = value.split(',').collect();
    if parts.len() > 3 {
        return Err(format!("`{value}` has more than three numbers"));
    }
    for (slot, part) in out.iter_mut().zip(parts) {
        *slot = part.parse().map_err(|_| format!("`{value}` is not X[,Y,Z]"))?;
    }
    Ok(out)
}

impl Command {
    fn parse(words: &[&str]) -> Result<Command, String> {
        let mut words = words.iter();
        let file = words.next().ok_or("which file?")?.to_string();
        let mut command =
            Command { file, kernel: None, grid: [1; 3], block: [32, 1, 1], shared: 0, json: false, arguments: Vec::new() };
        while let Some(&word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
            match word {
                "--kernel" => command.kernel = Some(value()?.to_owned()),
                "--grid" => command.grid = dimensions(value()?)?,
                "--block" => command.block = dimensions(value()?)?,
                "--shared" => command.shared = value()?.parse().map_err(|_| "--shared needs a number of bytes")?,
                "--json" => command.json = true,
                _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
                _ => command.arguments.push(Argument::parse(word)?),
            }
        }
        Ok(command)
    }

    /// Whether nothing was found.
    fn run(&self) -> Result<bool, Failure> {
        let settings = Settings::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
        let module = load(&self.file).map_err(Failure::Other)?;
        let names = || module.kernels().map(|kernel| kernel.name.clone()).collect::<Vec<_>>();
        let name = match &self.kernel {
            Some(name) => name.clone(),
            None if names().len() == 1 => names().remove(0),
            None => return Err(Failure::Usage(format!("choose with --kernel: {}", names().join(", ")))),
        };
        let missing = || Failure::Usage(format!("no kernel `{name}`; there are {}", names().join(", ")));
        let kernel = module.kernel(&name).ok_or_else(missing)?;
        let memory = Memory::new(settings.memory_bytes());
        let fail = |error: &dyn std::error::Error| Failure::Other(error.to_string());

        let mut globals = std::collections::HashMap::new();
        for variable in module.globals() {
            let kind = AllocKind::Global(variable.name.as_str().into());
            let address = memory.alloc(variable.bytes.into(), AllocLabel { sequence: 0, kind }).map_err(|error| fail(&error))?;
            let init = if variable.init.is_empty() { vec![0; variable.bytes as usize] } else { variable.init.clone() };
            memory.write(address, &init).map_err(|error| fail(&error))?;
            globals.insert(variable.name.clone(), address);
        }
        let (params, buffers) = self.parameters(&kernel, &memory)?;

        let options = Options {
            warp_order: settings.order,
            block_order: settings.order,
            mma_rounding: settings.mma,
            workers: settings.workers,
            ..Options::default()
        };
        let address = |name: &str| globals.get(name).copied();
        let outcome = exec::run(
            &Launch {
                kernel: &kernel,
                module_globals: &address,
                grid: self.grid,
                block: self.block,
                dynamic_shared: self.shared,
                params: &params,
                profile: settings.profile,
                options: &options,
            },
            &memory,
        );
        if !self.json && outcome.fault.is_none() {
            for (kind, address, count) in buffers {
                show(&memory, kind, address, count);
            }
        }
        let shared = kernel.static_shared.saturating_add(self.shared);
        let request = OccupancyRequest { threads: self.block.iter().product(), registers: kernel.registers_estimate, shared };
        let report = Report {
            device: settings.profile.device_name(),
            launches: vec![LaunchReport {
                kernel: name,
                grid: self.grid,
                block: self.block,
                registers: kernel.registers_estimate,
                registers_estimated: true,
                programmatic: false,
                shared,
                occupancy: Some(Occupancy::of(&request, &settings.profile.limits())),
                counters: outcome.counters,
            }],
            findings: outcome.findings,
        };
        if self.json {
            println!("{:#}", report.to_json());
        } else {
            println!("{report}");
        }
        Ok(report.findings.is_empty() && outcome.fault.is_none())
    }

    /// The parameter block, and the buffers in it.
    #[allow(clippy::type_complexity)]
    fn parameters(&self, kernel: &Kernel, memory: &Memory) -> Result<(Vec<u8>, Vec<(Type, u64, usize)>), Failure> {
        let (given, wanted) = (self.arguments.len(), kernel.params.len());
        if given != wanted {
            return Err(Failure::Usage(format!("kernel `{}` takes {wanted} arguments, {given} given", kernel.name)));
        }
        let (mut block, mut buffers) = (vec![0; kernel.param_bytes as usize], Vec::new());
        for (i, (argument, param)) in self.arguments.iter().zip(&kernel.params).enumerate() {
            let bytes = match argument {
                Argument::Value(bytes) => bytes.clone(),
                Argument::Buffer { kind, count, fill } => {
                    let label = AllocLabel { sequence: i as u64 + 1, kind: AllocKind::Device };
                    let size = (count * kind.bytes()) as u64;
                    let address = memory.alloc(size, label).map_err(|error| Failure::Other(error.to_string()))?;
                    if let Some(fill) = fill {
                        memory.write(address, fill).map_err(|error| Failure::Other(error.to_string()))?;
                    }
                    buffers.push((*kind, address, *count));
                    address.to_le_bytes().to_vec()
                }
            };
            if bytes.len() != param.bytes as usize {
                let (name, expected, found) = (&param.name, param.bytes, bytes.len());
                return Err(Failure::Usage(format!("argument {} (`{name}`) has {expected} bytes, {found} given", i + 1)));
            }
            let start = param.offset as usize;
            block[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        Ok((block, buffers))
    }
}

/// Prints the first values of a buffer.
fn show(memory: &Memory, kind: Type, address: u64, count: usize) {
    const SHOWN: usize = 16;
    let shown = count.min(SHOWN);
    let mut bytes = vec![0; shown * kind.bytes()];
    if memory.read(address, &mut bytes).is_ok() {
        let values: Vec<String> = bytes.chunks(kind.bytes()).map(|value| kind.decode(value)).collect();
        println!("{} of {count}: {}{}", shown, values.join(" "), if shown < count { " ..." } else { "" });
    }
}
