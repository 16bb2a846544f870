//! Named places where a test lets the process die, as `kill -9` would. They are in no release build.
//!
//! There is one after every operation of the store, named as the store names it, so that no commit is without; and one
//! before and one after each acknowledgement, send and commit on a trace's way. `tests/it/fleet/crash_points.rs` dies at
//! each.

use std::fs::File;
use std::io::Write as _;

/// Dies here when `DRIFTLINE_CRASH_AT` names this point. The file that `DRIFTLINE_CRASH_LIST` names gets a line of it.
pub(crate) fn crash_point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Some(list) = std::env::var_os("DRIFTLINE_CRASH_LIST") {
        let list = File::options().create(true).append(true).open(list);
        // In one write, so that threads do not mix their lines.
        drop(list.and_then(|mut list| list.write_all(format!("{name}\n").as_bytes())));
    }
    if std::env::var("DRIFTLINE_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

/// Dies here when `DRIFTLINE_CRASH_AT` names this point and the message holds the text of `DRIFTLINE_CRASH_ON`, which
/// any message does when there is none.
pub(crate) fn crash_point_in(name: &str, message: &[u8]) {
    if cfg!(debug_assertions) {
        let on = std::env::var("DRIFTLINE_CRASH_ON").unwrap_or_default();
        if on.is_empty() || message.windows(on.len()).any(|window| window == on.as_bytes()) {
            crash_point(name);
        }
    }
}
