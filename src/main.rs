//! The `driftline` program; everything it does is in the library.

use std::process::ExitCode;

/// A trace is thousands of small strings that one thread makes and another drops: the system's allocator takes a tenth
/// of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    driftline::cli::main()
}
