//! The `driftline` program; everything it does is in the library.

use std::process::ExitCode;

/// A trace is thousands of small strings that one thread makes and another drops: the system's allocator takes a tenth
/// of the time. Without huge pages, which hold half as much memory again and take longer to clear than they save.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    driftline::cli::main()
}
