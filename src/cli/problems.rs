//! What could not be read, named so that a person finds it.

use super::output;

/// Problems and notes that are named; the rest is counted.
const NAMED: usize = 20;

/// Problems with single lines and spans, which do not stop what is good, and notes on what was read and not used.
#[derive(Debug, Default)]
pub(super) struct Problems {
    problems: Named,
    notes: Named,
}

#[derive(Debug, Default)]
struct Named {
    first: Vec<String>,
    count: u64,
}

impl Problems {
    /// Something could not be read.
    pub(super) fn add(&mut self, problem: String) {
        self.problems.add(problem);
    }

    /// Something was read that is worth knowing, and no problem.
    pub(super) fn note(&mut self, note: String) {
        self.notes.add(note);
    }

    /// Whether everything could be read.
    pub(super) const fn is_empty(&self) -> bool {
        self.problems.count == 0
    }

    /// Takes over what another collection holds.
    pub(super) fn append(&mut self, other: Self) {
        self.problems.append(other.problems);
        self.notes.append(other.notes);
    }

    /// Names the first of them on standard error, and counts the rest.
    pub(super) fn report(&self) {
        self.problems.report("problem");
        self.notes.report("note");
    }

    /// `1 problem`, `2 problems`.
    pub(super) fn counted(&self) -> String {
        output::counted(self.problems.count, "problem")
    }
}

impl Named {
    fn add(&mut self, text: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(text);
        }
    }

    fn append(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(NAMED);
    }

    fn report(&self, kind: &str) {
        for text in &self.first {
            output::warn(&format!("{kind}: {text}"));
        }
        let unnamed = self.count - self.first.len() as u64;
        if unnamed > 0 {
            output::warn(&format!("and {unnamed} more {kind}s"));
        }
    }
}
