//! What programs that measure have in common: the nearest rank, the load of the machine, which
//! programs were compared, and the machine's clock, by which the Asterisks stamp their events. What is
//! measured, and how it is told, is theirs.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::process;

/// The nearest rank, so that each figure is one that was seen; `None` of nothing.
pub fn rank(values: &[i64], percent: usize) -> Option<i64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let index = (values.len() * percent).div_ceil(100).max(1) - 1;
    values.get(index).copied()
}

/// The machine's load over 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Milliseconds since the Unix epoch, by the machine's wall clock.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Which programs are compared: the testbed's Asterisk, what is `beside` it, and the nodes' program.
pub async fn programs(beside: &str) -> String {
    let asterisk = super::testbed().await;
    let asterisk = asterisk.map(|folder| folder.join("bin/asterisk"));
    let asterisk = asterisk.map_or("Asterisk".to_owned(), |program| version(&program, "-V"));
    format!("{asterisk}{beside}; {}.", node_program())
}

/// The program that the nodes run, and how it was built.
pub fn node_program() -> String {
    let binary = process::binary();
    let profile = binary.parent().and_then(|folder| folder.file_name());
    format!(
        "{}, built as `{}`",
        version(&binary, "--version"),
        profile.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    )
}

fn version(program: &Path, word: &str) -> String {
    let output = Command::new(program).arg(word).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown version").to_owned()
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_are_values_that_were_seen() {
        assert_eq!(rank(&[], 50), None);
        assert_eq!(rank(&[3, 1, 2], 50), Some(2));
        assert_eq!(rank(&[3, 1, 2], 99), Some(3));
        assert_eq!(rank(&[7], 0), Some(7));
    }
}
