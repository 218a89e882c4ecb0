//! A small disk for each node: an ext4 file system in a file, mounted where the data folder is.
//!
//! So it can be full, read-only, slow, or lose power, without harm to anything else.

use std::path::{Path, PathBuf};

use crate::lab::LabError;
use crate::lab::cluster::FOLDER_MARK;
use crate::lab::hosts::{command, require};

/// Size of each. ext4 takes some of it for itself.
const MIB: u32 = 96;

/// Linux's ioctl `EXT4_IOC_SHUTDOWN`, and its word for "write nothing more, not even the journal".
const SHUTDOWN: &str = "0x8004587d";
const SHUTDOWN_NOTHING_FLUSHED: &str = "2";

/// One mounted disk.
#[derive(Debug)]
struct Disk {
    name: String,
    image: PathBuf,
    mounted_at: PathBuf,
}

/// The disks of all nodes; none if data folders are ordinary ones. Dropping them unmounts them.
#[derive(Debug, Default)]
pub struct Disks {
    disks: Vec<Disk>,
}

impl Disks {
    /// Makes and mounts a disk for each node at `folder/NAME`.
    pub fn make(folder: &Path, names: &[&str]) -> Result<Disks, LabError> {
        for (program, package) in [("mkfs.ext4", "e2fsprogs"), ("mount", "mount")] {
            require(program, package)?;
        }
        sweep();
        let mut disks = Disks::default();
        for name in names {
            let image = folder.join(format!("{name}.img"));
            let mounted_at = folder.join(name);
            let failed = |what: &Path| {
                let what = what.display().to_string();
                move |source| LabError::Io { what, source }
            };
            let file = std::fs::File::create(&image).map_err(failed(&image))?;
            file.set_len(u64::from(MIB) << 20).map_err(failed(&image))?;
            std::fs::create_dir_all(&mounted_at).map_err(failed(&mounted_at))?;
            command("mkfs.ext4", &["-q", "-F", text(&image)])?;
            let disk = Disk {
                name: (*name).to_owned(),
                image,
                mounted_at,
            };
            disk.mount()?;
            disks.disks.push(disk);
        }
        Ok(disks)
    }

    /// Whether there are any.
    pub fn exist(&self) -> bool {
        !self.disks.is_empty()
    }

    fn of(&self, name: &str) -> Result<&Disk, LabError> {
        let disk = self.disks.iter().find(|disk| disk.name == name);
        disk.ok_or_else(|| LabError::Refused(format!("node {name} has no disk of its own")))
    }

    /// Takes what is free, so that the next write fails.
    pub fn fill(&self, name: &str) -> Result<(), LabError> {
        let ballast = self.of(name)?.mounted_at.join("ballast");
        // All that can be had at once, then bit by bit, until nothing is left.
        for size in ["16M", "4M", "1M", "64K", "4K"] {
            for n in 0..64 {
                let piece = format!("{}.{size}.{n}", ballast.display());
                if command("fallocate", &["-l", size, &piece]).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives back what [`Disks::fill`] took.
    pub fn empty(&self, name: &str) -> Result<(), LabError> {
        let folder = &self.of(name)?.mounted_at;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("ballast") {
                std::fs::remove_file(entry.path()).map_err(|source| LabError::Io {
                    what: entry.path().display().to_string(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// From now on nothing can be written, or it can again.
    pub fn read_only(&self, name: &str, yes: bool) -> Result<(), LabError> {
        let disk = self.of(name)?;
        if !yes {
            return disk.mount_again();
        }
        // With files open for writing a remount is refused; this is what the kernel itself does
        // when a disk fails under `errors=remount-ro`.
        command("mount", &["-o", "remount,abort", text(&disk.mounted_at)]).map(drop)
    }

    /// Power goes: what was not synced is lost, and nothing more is written. The node's process must
    /// be killed in the same moment. [`Disks::power_returns`] mounts what is left.
    pub fn power_fails(&self, name: &str) -> Result<(), LabError> {
        require("perl", "perl-base")?;
        let program = format!(
            "open(my $f, '<', $ARGV[0]) or die \"$!\"; my $how = pack('L', {SHUTDOWN_NOTHING_FLUSHED}); \
             ioctl($f, {SHUTDOWN}, $how) or die \"$!\";"
        );
        let at = &self.of(name)?.mounted_at;
        command("perl", &["-e", &program, text(at)]).map(drop)
    }

    /// The disk is mounted as a machine does that starts again: its journal is replayed.
    pub fn power_returns(&self, name: &str) -> Result<(), LabError> {
        self.of(name)?.mount_again()
    }

    /// Major and minor number of the device, as cgroups want it.
    pub fn device(&self, name: &str) -> Result<String, LabError> {
        let at = &self.of(name)?.mounted_at;
        let device = command("findmnt", &["-n", "-o", "MAJ:MIN", text(at)])?;
        Ok(device.trim().to_owned())
    }
}

impl Disk {
    fn mount(&self) -> Result<(), LabError> {
        let (image, at) = (text(&self.image), text(&self.mounted_at));
        command("mount", &["-o", "loop", image, at]).map(drop)
    }

    fn mount_again(&self) -> Result<(), LabError> {
        command("umount", &[text(&self.mounted_at)])?;
        self.mount()
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.disks {
            if let Err(error) = command("umount", &["-l", text(&disk.mounted_at)]) {
                eprintln!("a disk stays mounted: {error}");
            }
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str()
        .expect("the lab's own folders have names in ASCII")
}

/// Unmounts what a run left behind whose process is gone.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let owner = at
            .split_once(FOLDER_MARK)
            .and_then(|(_, rest)| rest.split_once('-'));
        if let Some((owner, _)) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            // Another run may be sweeping too.
            let _ = command("umount", &["-l", at]);
        }
    }
}
