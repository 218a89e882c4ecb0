//! The binary `holdfast`: the way into `src/cli`, which parses the arguments and picks the exit code, and
//! the allocator. Nothing else.

/// A command passes through some dozens of small pieces of memory that one thread takes and another gives
/// back. The system's allocator makes them wait for each other: a seventh of a busy leader's work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    holdfast_cli::run()
}
