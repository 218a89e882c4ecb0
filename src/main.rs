//! The binary `holdfast`: the way into `src/cli`, which parses the arguments and picks the exit code, and
//! how the process gets its memory. Nothing else.

/// A command passes through some dozens of small pieces of memory that one thread takes and another gives
/// back. The system's allocator makes them wait for each other: a seventh of a busy leader's work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Linux would give out memory in pieces of 2 MiB and clear each while somebody waits. Without this the
    // longest waits are longer, so a system that refuses it is no reason not to start.
    let _ = nix::sys::prctl::set_thp_disable(true);
    holdfast_cli::run()
}
