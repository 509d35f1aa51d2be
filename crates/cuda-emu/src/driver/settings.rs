//! How the device behaves, read from the environment.

use std::path::PathBuf;

use crate::exec::{MmaRounding, Order};
use crate::profile::Profile;

/// What a finding does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It is printed, and becomes the error of the next synchronising call, as a fault would.
    Fail,
    /// It is printed and recorded; only what hardware would stop is an error.
    Report,
    /// Only what hardware would stop is looked for.
    Off,
}

/// When work in streams runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// At once, before the call that enqueues it returns.
    Eager,
    /// As late as the interface allows, and nothing that was not waited for.
    Lazy,
    /// In a seeded random order that keeps only to streams, events and the legacy stream's rules.
    Random,
}

/// The settings of a device. `CUDA_EMU_*` variables, or what a test has set in their place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// `CUDA_EMU_DEVICE`: the device played.
    pub profile: &'static Profile,
    /// `CUDA_EMU_MEMORY`: bytes of device memory in place of the profile's.
    pub memory: Option<u64>,
    /// `CUDA_EMU_CHECK`: what findings do.
    pub check: Check,
    /// `CUDA_EMU_STREAMS`: when work runs.
    pub streams: Streams,
    /// `CUDA_EMU_ORDER`: order of warps and blocks.
    pub order: Order,
    /// `CUDA_EMU_SEED`: seed of every random choice.
    pub seed: u64,
    /// `CUDA_EMU_MMA`: how matrix instructions add.
    pub mma: MmaRounding,
    /// `CUDA_EMU_WORKERS`: threads that run blocks; 0 takes one per core.
    pub workers: usize,
    /// `CUDA_EMU_REPORT`: file for findings and counters as JSON, or a folder for a file of each process.
    pub report: Option<PathBuf>,
    /// `CUDA_EMU_PTX`: newest PTX version that is accepted.
    pub max_ptx: Option<(u32, u32)>,
}

/// A variable with a value that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: expected {expected}")]
pub struct SettingsError {
    name: &'static str,
    value: String,
    expected: String,
}

/// The names that [`Settings`] reads.
pub(crate) const NAMES: &[&str] = &[
    "CUDA_EMU_DEVICE",
    "CUDA_EMU_MEMORY",
    "CUDA_EMU_CHECK",
    "CUDA_EMU_STREAMS",
    "CUDA_EMU_ORDER",
    "CUDA_EMU_SEED",
    "CUDA_EMU_MMA",
    "CUDA_EMU_WORKERS",
    "CUDA_EMU_REPORT",
    "CUDA_EMU_PTX",
];

impl Default for Settings {
    fn default() -> Self {
        Settings {
            profile: Profile::by_name("A100").unwrap_or(&Profile::ALL[0]),
            memory: None,
            check: Check::Fail,
            streams: Streams::Eager,
            order: Order::InOrder,
            seed: 0,
            mma: MmaRounding::Sequential,
            workers: 0,
            report: None,
            max_ptx: None,
        }
    }
}

impl Settings {
    /// Reads the variables of the process.
    ///
    /// # Errors
    /// [`SettingsError`] for a value that means nothing: a misspelt setting must not pass for the default.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables from `lookup`.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut settings = Settings::default();
        for &name in NAMES {
            if let Some(value) = lookup(name).filter(|value| !value.is_empty()) {
                settings.set(name, value.trim()).map_err(|expected| SettingsError { name, value: value.clone(), expected })?;
            }
        }
        if let Order::Random(seed) = &mut settings.order {
            *seed = settings.seed;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "CUDA_EMU_DEVICE" => {
                let names = || format!("one of {}", Profile::ALL.iter().map(|p| p.name).collect::<Vec<_>>().join(", "));
                self.profile = Profile::by_name(value).ok_or_else(names)?;
            }
            "CUDA_EMU_MEMORY" => self.memory = Some(bytes(value).ok_or("bytes, or a number with K, M or G (1024)")?),
            "CUDA_EMU_CHECK" => {
                self.check = pick(value, &[("fail", Check::Fail), ("report", Check::Report), ("off", Check::Off)])?
            }
            "CUDA_EMU_STREAMS" => {
                self.streams = pick(value, &[("eager", Streams::Eager), ("lazy", Streams::Lazy), ("random", Streams::Random)])?;
            }
            "CUDA_EMU_ORDER" => {
                let orders = [("in-order", Order::InOrder), ("reverse", Order::Reverse), ("random", Order::Random(0))];
                self.order = pick(value, &orders)?;
            }
            "CUDA_EMU_SEED" => self.seed = value.parse().map_err(|_| "a whole number")?,
            "CUDA_EMU_MMA" => {
                let modes = [("sequential", MmaRounding::Sequential), ("block8", MmaRounding::Block8Truncate)];
                self.mma = pick(value, &modes)?;
            }
            "CUDA_EMU_WORKERS" => self.workers = value.parse().map_err(|_| "a number of threads")?,
            "CUDA_EMU_REPORT" => self.report = Some(PathBuf::from(value)),
            _ => {
                let version = value.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                self.max_ptx = Some(version.ok_or("a PTX version such as 8.0")?);
            }
        }
        Ok(())
    }

    /// Bytes of device memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or(self.profile.memory_bytes)
    }
}

fn pick<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let expected = || format!("one of {}", choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
    choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map(|&(_, choice)| choice).ok_or_else(expected)
}

fn bytes(value: &str) -> Option<u64> {
    let (digits, shift) = match value.chars().last()?.to_ascii_uppercase() {
        'K' => (&value[..value.len() - 1], 10),
        'M' => (&value[..value.len() - 1], 20),
        'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn values_are_read() {
        assert_eq!(read("CUDA_EMU_DEVICE", "rtx 4090").unwrap().profile.name, "RTX4090");
        assert_eq!(read("CUDA_EMU_MEMORY", "3M").unwrap().memory_bytes(), 3 << 20);
        assert_eq!(read("CUDA_EMU_STREAMS", "lazy").unwrap().streams, Streams::Lazy);
        assert_eq!(read("CUDA_EMU_PTX", "8.4").unwrap().max_ptx, Some((8, 4)));
        let random = Settings::from_lookup(|name| match name {
            "CUDA_EMU_ORDER" => Some("random".into()),
            "CUDA_EMU_SEED" => Some("7".into()),
            _ => None,
        });
        assert_eq!(random.unwrap().order, Order::Random(7));
    }

    #[test]
    fn misspelt_values_are_errors() {
        for &name in NAMES.iter().filter(|&&name| name != "CUDA_EMU_REPORT") {
            let error = read(name, "nonsense!").unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}=nonsense!: expected ")), "{error}");
        }
        assert!(read("CUDA_EMU_MEMORY", "18446744073709551615G").is_err());
    }
}
