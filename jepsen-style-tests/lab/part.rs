//! What the programs of `make bench` that need the lab have in common: the file of raw figures, the time
//! that a part may take, and how it ends. What is asked for, measured and printed is theirs.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

/// A part of `make bench` ends within ten minutes; what it has started ends with it.
pub const WHOLE_MAX: Duration = Duration::from_secs(590);

/// Where the raw figures go, one JSON object a line, if they are asked for.
pub struct Raw(Option<(PathBuf, File)>);

impl Raw {
    /// Creates the file, or empties it.
    pub fn create(path: Option<&Path>) -> Result<Raw, String> {
        let create = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), file)),
            Err(error) => Err(format!("--raw {}: {error}", path.display())),
        };
        path.map(create).transpose().map(Raw)
    }

    /// At once, so that nothing is lost when what comes later fails.
    pub fn write(&mut self, line: &Value) -> Result<(), String> {
        let Some((path, file)) = &mut self.0 else {
            return Ok(());
        };
        writeln!(file, "{line}").map_err(|error| format!("--raw {}: {error}", path.display()))
    }
}

/// Runs it in a runtime of its own, in which simulated Asterisks live: the next one finds their
/// addresses free. `instead` says what to do when it takes longer than `most`.
pub fn within<T>(
    most: Duration,
    instead: &str,
    part: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("the system gives a program two threads");
    let done = runtime.block_on(async { tokio::time::timeout(most, part).await });
    let late = || format!("not done in {} s, {instead}", WHOLE_MAX.as_secs());
    done.unwrap_or_else(|_| Err(late()))
}

/// How `program` ends: well if nothing happened that must never happen.
pub fn ended(program: &str, done: Result<bool, String>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{program}: {why}");
            ExitCode::FAILURE
        }
    }
}
