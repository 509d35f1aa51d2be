//! What is remembered of a run: findings, and what each launch did.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::report::{Finding, Findings, LaunchReport, Report, per_kernel};

use super::settings::Settings;

/// More launches than this are not remembered one by one; whole networks make a few dozen.
const MAX_LAUNCHES: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Journal {
    device: String,
    path: Option<PathBuf>,
    launches: Vec<LaunchReport>,
    /// Those that were taken, summed per kernel.
    taken: Vec<LaunchReport>,
    findings: Findings,
}

/// A journal that contexts share.
#[derive(Debug, Clone)]
pub(crate) struct SharedJournal(Arc<Mutex<Journal>>);

impl SharedJournal {
    pub fn new(settings: &Settings) -> Self {
        SharedJournal(Arc::new(Mutex::new(Journal {
            device: settings.profile.device_name(),
            path: settings.report.clone(),
            launches: Vec::new(),
            taken: Vec::new(),
            findings: Findings::new(),
        })))
    }

    /// Takes the device's name and the report file from new settings.
    pub fn configure(&self, settings: &Settings) {
        let mut journal = self.lock();
        (journal.device, journal.path) = (settings.profile.device_name(), settings.report.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints and remembers.
    pub fn finding(&self, finding: Finding) {
        // Standard error is the only way to a person whose program swallows error codes.
        eprintln!("{finding}");
        self.lock().findings.push(finding);
    }

    pub fn launch(&self, launch: LaunchReport) {
        let mut journal = self.lock();
        if journal.launches.len() < MAX_LAUNCHES {
            journal.launches.push(launch);
        }
    }

    /// Everything since the last call.
    pub fn take(&self) -> Report {
        let mut journal = self.lock();
        journal.taken = journal.kernels();
        let findings = std::mem::take(&mut journal.findings).into_vec();
        Report { device: journal.device.clone(), launches: std::mem::take(&mut journal.launches), findings }
    }

    /// Writes what was not taken yet to the report file, if one is asked for, and what each kernel did in the whole run.
    pub fn save(&self) {
        let journal = self.lock();
        let Some(path) = journal.path.as_deref().map(file) else { return };
        let report = Report {
            device: journal.device.clone(),
            launches: journal.launches.clone(),
            findings: journal.findings.clone().into_vec(),
        };
        let mut json = report.to_json();
        json["kernels"] = serde_json::json!(journal.kernels());
        if let Err(error) = std::fs::write(&path, format!("{json:#}\n")) {
            eprintln!("cuda-emu: cannot write the report to {}: {error}", path.display());
        }
    }
}

impl Journal {
    /// Every launch of the run, summed per kernel.
    fn kernels(&self) -> Vec<LaunchReport> {
        per_kernel(self.taken.iter().chain(&self.launches))
    }
}

/// `path`, or if that is a folder, a file of this process in it.
fn file(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_stem().unwrap_or_default().to_string_lossy();
    path.join(format!("{name}.{}.json", std::process::id()))
}
