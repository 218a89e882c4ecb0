//! What the kernel tells about processes, folders and the machine: processor time, bytes sent to the
//! disk, disk use, load, and what one `fdatasync` costs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{SysconfVar, sysconf};

use crate::Error;
use crate::figures::percentile;

const PROBES: usize = 200;
const PROBE_BYTES: usize = 4096;

/// What some processes have used since they started, their ended children included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    pub cpu: Duration,
    /// What they made the disk write: pages made dirty, counted by the kernel.
    pub written: u64,
}

impl Used {
    pub fn by(pids: &[u32]) -> Result<Used, Error> {
        let mut sum = Used::default();
        for pid in pids {
            let stat = read(Path::new(&format!("/proc/{pid}/stat")))?;
            let ticks = ticks(&stat)
                .ok_or_else(|| Error::new(format!("reading /proc/{pid}/stat"), "cannot be read"))?;
            let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
            sum.cpu += Duration::from_secs_f64(ticks as f64 / per_second as f64);
            let io = read(Path::new(&format!("/proc/{pid}/io")))?;
            sum.written += written(&io).ok_or_else(|| {
                Error::new(format!("reading /proc/{pid}/io"), "has no write_bytes")
            })?;
        }
        Ok(sum)
    }

    pub fn since(self, before: Used) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(before.cpu),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// utime, stime, cutime and cstime; the name before them may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let times = fields.get(11..15)?;
    times.iter().map(|t| t.parse::<u64>().ok()).sum()
}

fn written(io: &str) -> Option<u64> {
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Most memory that a process has held so far, in bytes.
pub fn peak(pid: u32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/status");
    let status = read(Path::new(&path))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let kib = kib.ok_or_else(|| Error::new(format!("reading {path}"), "has no VmHWM"))?;
    Ok(kib * 1024)
}

/// Bytes that a folder takes on the disk. What is removed meanwhile is not counted.
pub fn disk_use(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_use(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Load of the last minute.
pub fn load() -> f64 {
    let all = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = all.split_ascii_whitespace().next();
    first.and_then(|l| l.parse().ok()).unwrap_or(0.0)
}

/// Kernel and number of cores.
pub fn machine() -> (String, usize) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    (kernel.trim().to_string(), cores)
}

/// Refuses a folder in memory, where an fsync costs nothing.
pub fn must_be_a_disk(folder: &Path) -> Result<(), Error> {
    let what = format!("looking at {}", folder.display());
    let kind = statfs(folder).map_err(|e| Error::new(what.clone(), e))?;
    match kind.filesystem_type() == TMPFS_MAGIC {
        true => Err(Error::new(
            what,
            "it is in memory; name a folder on a disk with --dir",
        )),
        false => Ok(()),
    }
}

/// Waits until what others wrote before is on the disk, so that nobody pays for it in his turn.
pub fn settle(folder: &Path) -> Result<(), Error> {
    let settled = fs::File::open(folder).map_err(|e| e.to_string());
    let settled = settled.and_then(|f| nix::unistd::syncfs(f).map_err(|e| e.to_string()));
    settled.map_err(|e| Error::new(format!("syncing {}", folder.display()), e))
}

/// Median and p99 of a write of 4 KiB at the end of a file with fdatasync, in microseconds.
pub fn fsync_us(folder: &Path) -> Result<(u64, u64), Error> {
    let path = folder.join("probe");
    let probe = || -> std::io::Result<Vec<u64>> {
        let mut file = fs::File::create(&path)?;
        let mut times = Vec::with_capacity(PROBES);
        for _ in 0..PROBES {
            let begun = Instant::now();
            file.write_all(&[7; PROBE_BYTES])?;
            file.sync_data()?;
            times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        fs::remove_file(&path)?;
        times.sort_unstable();
        Ok(times)
    };
    let times = probe().map_err(|e| Error::new(format!("writing {}", path.display()), e))?;
    Ok((percentile(&times, 50), percentile(&times, 99)))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::new(format!("reading {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(37));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn bytes_of_the_disk_are_not_those_of_the_calls() {
        let io = "wchar: 9\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n";
        assert_eq!(written(io), Some(4096));
    }

    #[test]
    fn this_process_has_used_some_and_a_missing_one_is_an_error() {
        let begun = Instant::now();
        while Used::by(&[std::process::id()]).unwrap().cpu.is_zero() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "no time is counted"
            );
        }
        assert!(peak(std::process::id()).unwrap() > 100_000);
        let why = Used::by(&[u32::MAX]).unwrap_err().to_string();
        assert!(why.contains("/proc/4294967295/stat"), "{why}");
    }
}
