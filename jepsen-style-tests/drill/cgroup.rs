//! A control group for one node: less of the processor, or of the disk. Version 1 and 2.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lab::LabError;

const ROOT: &str = "/sys/fs/cgroup";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A group with one process in it.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// Where processes go afterwards.
    parent: PathBuf,
}

impl Group {
    /// So many writes a second to a device, given by its numbers (`7:0`).
    pub fn slow_disk(pid: u32, device: &str, writes: u32) -> Result<Group, LabError> {
        if Path::new(ROOT).join("blkio").is_dir() {
            let limit = format!("{device} {writes}");
            return Group::make("blkio", "blkio.throttle.write_iops_device", &limit, pid);
        }
        Group::make("", "io.max", &format!("{device} wiops={writes}"), pid)
    }

    /// So many percent of one processor.
    pub fn starved(pid: u32, percent: u32) -> Result<Group, LabError> {
        let quota = percent * 1_000;
        if Path::new(ROOT).join("cpu").is_dir() {
            return Group::make("cpu", "cpu.cfs_quota_us", &quota.to_string(), pid);
        }
        Group::make("", "cpu.max", &format!("{quota} 100000"), pid)
    }

    fn make(controller: &str, file: &str, limit: &str, pid: u32) -> Result<Group, LabError> {
        let parent = Path::new(ROOT).join(controller);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("holdfast-drill-{}-{serial}", std::process::id()));
        let failed = |source| LabError::Io {
            what: format!(
                "control group {}; it needs root and a writable {ROOT} with {file}",
                path.display()
            ),
            source,
        };
        std::fs::create_dir(&path).map_err(failed)?;
        let group = Group { path, parent };
        let failed = |source| LabError::Io {
            what: format!("{file} of a control group below {ROOT}"),
            source,
        };
        std::fs::write(group.path.join(file), limit).map_err(failed)?;
        std::fs::write(group.path.join("cgroup.procs"), pid.to_string()).map_err(failed)?;
        Ok(group)
    }

    /// How often its process had to wait because it had used up what it was given of the processor.
    pub fn throttled(&self) -> u64 {
        let stat = std::fs::read_to_string(self.path.join("cpu.stat")).unwrap_or_default();
        let count = stat
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Its process has all of the machine again.
    pub fn end(self) -> Result<(), LabError> {
        // What is left is said by the removal, which fails when a process is still inside.
        drop(self);
        Ok(())
    }

    fn remove(&self) -> std::io::Result<()> {
        let inside = std::fs::read_to_string(self.path.join("cgroup.procs"))?;
        for pid in inside.lines() {
            // It may have ended meanwhile.
            let _ = std::fs::write(self.parent.join("cgroup.procs"), pid);
        }
        std::fs::remove_dir(&self.path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("control group {} is left: {error}", self.path.display());
        }
    }
}
