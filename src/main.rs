//! The binary `holdfast`: nothing but the way into `src/cli`, which parses the arguments and picks the exit code.

fn main() -> std::process::ExitCode {
    holdfast_cli::run()
}
