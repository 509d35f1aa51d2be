//! A collection of findings that folds repetitions.

use std::collections::HashMap;

use super::{Finding, FindingKind};

/// Findings in order of first appearance. The same kind at the same instruction of a kernel (or, for the host, with the same
/// message) is kept once and counted, because one missing barrier shows up in thousands of accesses.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    list: Vec<Finding>,
    index: HashMap<Key, usize>,
}

type Key = (FindingKind, String, u32, String);

impl Findings {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding, or counts it if its like is there.
    pub fn push(&mut self, finding: Finding) {
        let message = if finding.kernel.is_empty() { finding.message.clone() } else { String::new() };
        match self.index.entry((finding.kind, finding.kernel.clone(), finding.pc, message)) {
            std::collections::hash_map::Entry::Occupied(slot) => self.list[*slot.get()].count += finding.count,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(self.list.len());
                self.list.push(finding);
            }
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Findings) {
        for finding in other.list {
            self.push(finding);
        }
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The findings, in order of first appearance.
    pub fn as_slice(&self) -> &[Finding] {
        &self.list
    }

    /// The findings, faults first.
    pub fn into_vec(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| !finding.kind.is_fault());
        self.list
    }
}

impl Extend<Finding> for Findings {
    fn extend<I: IntoIterator<Item = Finding>>(&mut self, findings: I) {
        for finding in findings {
            self.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(kernel: &str, pc: u32, thread: u32) -> Finding {
        let mut finding = Finding::host(FindingKind::SharedRace, Some(4), format!("thread {thread}"));
        finding.kernel = kernel.into();
        (finding.pc, finding.thread) = (pc, [thread, 0, 0]);
        finding
    }

    #[test]
    fn repetitions_are_counted_and_faults_come_first() {
        let mut findings = Findings::new();
        findings.push(race("a", 1, 5));
        findings.push(race("a", 1, 6));
        let mut other = Findings::new();
        other.extend([race("a", 1, 7), race("a", 2, 7), race("b", 1, 7)]);
        other.push(Finding::host(FindingKind::OutOfBounds, None, "x".into()));
        findings.merge(other);
        let list = findings.into_vec();
        let brief: Vec<_> = list.iter().map(|f| (f.kind, f.kernel.as_str(), f.pc, f.count, f.thread[0])).collect();
        use FindingKind::*;
        assert_eq!(
            brief,
            [(OutOfBounds, "", 0, 1, 0), (SharedRace, "a", 1, 3, 5), (SharedRace, "a", 2, 1, 7), (SharedRace, "b", 1, 1, 7)]
        );
    }

    #[test]
    fn host_findings_differ_by_message() {
        let mut findings = Findings::new();
        findings.push(Finding::host(FindingKind::Leak, None, "allocation #1".into()));
        findings.push(Finding::host(FindingKind::Leak, None, "allocation #2".into()));
        assert_eq!(findings.as_slice().len(), 2);
    }
}
