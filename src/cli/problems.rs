//! What could not be read, named so that a person finds it.

use super::output;

/// Problems that are named; the rest is counted.
const NAMED: usize = 20;

/// Problems with single lines and spans, which do not stop what is good.
#[derive(Debug, Default)]
pub(super) struct Problems {
    named: Vec<String>,
    count: u64,
}

impl Problems {
    pub(super) fn add(&mut self, problem: String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(problem);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes over what another collection holds.
    pub(super) fn append(&mut self, other: Self) {
        self.count += other.count;
        self.named.extend(other.named);
        self.named.truncate(NAMED);
    }

    /// Names the first of them on standard error, and counts the rest.
    pub(super) fn report(&self) {
        for problem in &self.named {
            output::warn(&format!("problem: {problem}"));
        }
        let unnamed = self.count - self.named.len() as u64;
        if unnamed > 0 {
            output::warn(&format!("and {unnamed} more problems"));
        }
    }

    /// `1 problem`, `2 problems`.
    pub(super) fn counted(&self) -> String {
        if self.count == 1 { "1 problem".to_owned() } else { format!("{} problems", self.count) }
    }
}
