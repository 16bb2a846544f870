//! Named places where a test lets the process die, as `kill -9` would. They are in no release build.

/// Dies here when `DRIFTLINE_CRASH_AT` names this point.
pub(super) fn crash_point(name: &str) {
    if cfg!(debug_assertions) && std::env::var("DRIFTLINE_CRASH_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}
