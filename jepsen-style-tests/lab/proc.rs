//! What the kernel tells of a running process: processor time and resident memory. What they are
//! compared with is the measuring program's business.

use std::time::Duration;

/// Ticks of /proc in a second: a constant of Linux, whatever the kernel was built with.
const TICKS: u64 = 100;

/// Processor time so far, user and system.
///
/// # Panics
/// When there is no such process.
pub fn cpu(pid: u32) -> Duration {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).expect("a running process can be seen");
    Duration::from_millis(ticks(&text).expect("the kernel tells times") * 1000 / TICKS)
}

/// Resident memory in bytes.
///
/// # Panics
/// When there is no such process.
pub fn rss(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).expect("a running process can be seen");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a running process has memory") * 1024
}

/// The second field is the name in brackets, which may hold blanks; 14 and 15 are the times.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let time = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(time(11)? + time(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(30));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert!(rss(std::process::id()) > 100_000);
    }
}
