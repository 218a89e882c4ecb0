//! What programs that measure have in common: the nearest rank, the load of the machine, and its clock,
//! by which the Asterisks stamp their events. What is measured, and how it is told, is theirs.

use std::time::{SystemTime, UNIX_EPOCH};

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
