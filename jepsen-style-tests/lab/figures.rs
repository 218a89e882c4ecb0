//! What programs that measure have in common: the nearest rank, the load of the machine, the processor
//! time of a process, which programs were compared, and the machine's clock, by which the Asterisks
//! stamp their events. What is measured, and how it is told, is theirs.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::process;

/// Ticks of /proc in a second: a constant of Linux, whatever the kernel was built with.
const TICKS: f64 = 100.0;

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

/// Seconds of processor time that a process has used so far, user and system, all its threads.
///
/// # Panics
/// When there is no such process.
pub fn processor_seconds(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).expect("a running process can be seen");
    seconds(&text).expect("times are numbers")
}

/// The second field is the name in brackets, which may hold blanks; 14 and 15 are the times.
fn seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Which programs are compared: the testbed's Asterisk, what is `beside` it, and the nodes' program.
pub async fn programs(beside: &str) -> String {
    let asterisk = super::testbed().await;
    let asterisk = asterisk.map(|folder| folder.join("bin/asterisk"));
    let asterisk = asterisk.map_or("Asterisk".to_owned(), |program| version(&program, "-V"));
    let binary = process::binary();
    let profile = binary.parent().and_then(|folder| folder.file_name());
    format!(
        "{asterisk}{beside}; {}, built as `{}`.",
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
    use super::{rank, seconds};

    #[test]
    fn processor_time_stands_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 3 4 20 0 1 0 5 6 7";
        assert_eq!(seconds(stat), Some(1.75));
        assert_eq!(seconds("7 (a) S 1"), None);
    }

    #[test]
    fn ranks_are_values_that_were_seen() {
        assert_eq!(rank(&[], 50), None);
        assert_eq!(rank(&[3, 1, 2], 50), Some(2));
        assert_eq!(rank(&[3, 1, 2], 99), Some(3));
        assert_eq!(rank(&[7], 0), Some(7));
    }
}
