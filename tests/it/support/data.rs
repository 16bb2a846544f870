//! Real traces, where they are.

use std::path::{Path, PathBuf};

/// The folder of real traces, if it is here.
#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
pub(crate) fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no shared data");
    None
}

/// Every file of traces among them.
pub(crate) fn trace_files() -> Option<Vec<PathBuf>> {
    let is_trace_file = |path: &PathBuf| path.to_string_lossy().contains(".otlp.");
    let entries = std::fs::read_dir(shared_data()?).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(is_trace_file).collect();
    files.sort();
    Some(files)
}
