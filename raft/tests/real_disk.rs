//! Real files on real file systems: the power goes, a process dies at a sync, a sync fails, a disk
//! fills, a bit rots. Whatever the writer had told over its pipe is there afterwards.
//!
//! The power goes by the shutdown call of ext4 and XFS, which drops everything that is not on the
//! (loop) device; the rest is done by strace, a small tmpfs and one wrong byte. All of it needs root
//! and Debian's e2fsprogs, xfsprogs, mount, perl and strace. Without them the tests fail.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const WRITER: &str = env!("CARGO_BIN_EXE_store-writer");
/// Longest wait for anything; a working program needs a fraction.
const LONG: Duration = Duration::from_secs(60);

/// Runs a tool to its end; gives what it printed.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|e| {
        panic!("cannot run {name}: {e}; apt-get install e2fsprogs xfsprogs mount perl strace")
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{name} {arguments:?} failed (these tests need root): {said}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is text")
}

/// A file system that can be mounted, lose power, and be mounted again.
struct Disk {
    folder: tempfile::TempDir,
    options: String,
    source: String,
}

impl Disk {
    /// A file system in a file.
    fn formatted(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        // XFS is not to be had smaller.
        File::create(&image).unwrap().set_len(320 << 20).unwrap();
        let quiet: &[&str] = if kind == "ext4" {
            &["-q", "-F"]
        } else {
            &["-q"]
        };
        tool(&format!("mkfs.{kind}"), &[quiet, &[text(&image)]].concat());
        let source = text(&image).to_string();
        Disk::mounted(folder, "loop".into(), source)
    }

    /// A file system in memory of this many bytes.
    fn small(bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Disk::mounted(folder, format!("size={bytes}"), "tmpfs".into())
    }

    fn mounted(folder: tempfile::TempDir, options: String, source: String) -> Self {
        fs::create_dir(folder.path().join("mnt")).unwrap();
        let disk = Disk {
            folder,
            options,
            source,
        };
        disk.mount();
        disk
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    fn mount(&self) {
        let kind: &[&str] = match self.source.as_str() {
            "tmpfs" => &["-t", "tmpfs"],
            _ => &[],
        };
        let root = self.root();
        let rest = ["-o", &self.options, &self.source, text(&root)];
        tool("mount", &[kind, &rest].concat());
    }

    /// Drops whatever is not on the device; nothing can be written any more.
    fn lose_power(&self) {
        const SHUTDOWN: &str = "open(my $d, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); \
                                ioctl($d, 0x8004587d, $how) or die $!";
        tool("perl", &["-e", SHUTDOWN, text(&self.root())]);
    }

    fn mount_again(&self) {
        tool("umount", &[text(&self.root())]);
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a writer of a failed test may still be there. It may be unmounted already.
        let _ = Command::new("umount")
            .args(["-l", text(&self.root())])
            .output();
    }
}

/// A writer at work, and what it has told so far.
struct Writing {
    child: Child,
    lines: BufReader<ChildStdout>,
    told: BTreeSet<u64>,
}

impl Writing {
    /// Starts it on a folder; `under` is a command to run it under.
    fn start(data: &Path, under: &[&str]) -> Self {
        let line = [under, &[WRITER, text(data)]].concat();
        let child = Command::new(line[0])
            .args(&line[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|e| panic!("cannot run {}: {e}", line[0]));
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Writing {
            child,
            lines,
            told: BTreeSet::new(),
        }
    }

    /// Listens until it told this much, or ended.
    fn listen(&mut self, until: usize) {
        let mut line = String::new();
        while self.told.len() < until {
            line.clear();
            let read = self
                .lines
                .read_line(&mut line)
                .expect("the pipe can be read");
            match line.trim_end().parse() {
                Ok(number) if line.ends_with('\n') => drop(self.told.insert(number)),
                _ if read == 0 => return,
                // It died within a line.
                _ => {}
            }
        }
    }

    fn kill(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
    }

    /// Waits for its end; gives all it told, how it ended, and what it complained of.
    fn end(mut self) -> (BTreeSet<u64>, ExitStatus, String) {
        self.listen(usize::MAX);
        let mut complaint = String::new();
        let mut stderr = self.child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut complaint).expect("it is text");
        let status = self.child.wait().expect("it can be waited for");
        (self.told, status, complaint)
    }
}

/// What a start on this folder finds: all numbers, or why it does not start.
fn found(data: &Path) -> Result<BTreeSet<u64>, String> {
    let checked = Command::new(WRITER).arg(data).arg("check").output();
    let checked = checked.expect("the writer can be run");
    let out = String::from_utf8_lossy(&checked.stdout).into_owned();
    if !checked.status.success() || !out.ends_with("complete\n") {
        return Err(String::from_utf8_lossy(&checked.stderr).into_owned());
    }
    Ok(out.lines().filter_map(|l| l.parse().ok()).collect())
}

/// Everything told must be found.
fn nothing_lost(told: &BTreeSet<u64>, data: &Path, what: &str) {
    let found = found(data).unwrap_or_else(|e| panic!("{what}: it does not start: {e}"));
    let lost: Vec<_> = told.difference(&found).collect();
    assert!(
        lost.is_empty(),
        "{what}: {} of {} are lost: {lost:?}",
        lost.len(),
        told.len()
    );
    println!("{what}: {} told, {} found", told.len(), found.len());
}

/// Lets a writer tell this much, cuts the power under it, and mounts what is left. Gives what it had
/// told before the power went: a real disk that has no power acknowledges nothing, but ext4 and XFS
/// can let a sync succeed that was on its way when they were shut down, and drop what it was for.
fn power_goes(disk: &Disk, after: usize, under: &[&str]) -> BTreeSet<u64> {
    let mut writing = Writing::start(&disk.data(), under);
    writing.listen(after);
    let told = writing.told.clone();
    assert!(told.len() >= after, "it ended early");
    disk.lose_power();
    writing.kill();
    writing.end();
    disk.mount_again();
    told
}

/// A command that changes what some calls of another do. The tracer is the grandchild, so that the
/// child is the writer itself; counts are per thread, and one thread does all syncs of the log.
fn under_strace<'a>(how: &[&'a str]) -> Vec<&'a str> {
    [&["strace", "-D", "-f", "-o", "/dev/null"], how].concat()
}

fn power_losses(kind: &str) {
    let disk = Disk::formatted(kind);
    let mut all = BTreeSet::new();
    for (round, after) in [1, 300, 1000, 2500].into_iter().enumerate() {
        all.append(&mut power_goes(&disk, after, &[]));
        nothing_lost(&all, &disk.data(), &format!("{kind}, power loss {round}"));
    }
}

#[test]
fn a_power_loss_on_ext4_loses_nothing_told() {
    power_losses("ext4");
}

#[test]
fn a_power_loss_on_xfs_loses_nothing_told() {
    power_losses("xfs");
}

/// Shows that the tests above can fail: with syncs that do nothing the same power loss is noticed.
#[test]
fn without_syncs_a_power_loss_loses_what_was_told() {
    let disk = Disk::formatted("ext4");
    let lie = "inject=fdatasync,fsync,sync_file_range:retval=0";
    let strace = under_strace(&[
        "--seccomp-bpf",
        "-e",
        "trace=fdatasync,fsync,sync_file_range",
        "-e",
        lie,
    ]);
    let told = power_goes(&disk, 300, &strace);
    match found(&disk.data()) {
        Err(why) => println!("it notices: {why}"),
        Ok(found) => {
            let lost = told.difference(&found).count();
            println!("{lost} of {} are lost", told.len());
            assert!(lost > 0, "the power loss drops nothing");
        }
    }
}

#[test]
fn a_process_killed_at_any_sync_loses_nothing_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut all = BTreeSet::new();
    for nth in [1, 2, 3, 4, 5, 7, 12, 40, 150] {
        let kill = format!("inject=fdatasync:signal=SIGKILL:when={nth}");
        let strace = under_strace(&["-e", "trace=fdatasync", "-e", &kill]);
        let (mut told, status, _) = Writing::start(&data, &strace).end();
        assert!(!status.success(), "it was not killed at sync {nth}");
        all.append(&mut told);
        nothing_lost(&all, &data, &format!("killed at sync {nth}"));
    }
    assert!(all.len() > 100, "{} are too few to say anything", all.len());
}

#[test]
fn a_failed_sync_stops_the_process_and_loses_nothing_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut all = BTreeSet::new();
    for nth in [1, 2, 4, 9, 30, 100] {
        let fail = format!("inject=fdatasync:error=EIO:when={nth}");
        let strace = under_strace(&["--seccomp-bpf", "-e", "trace=fdatasync", "-e", &fail]);
        let (mut told, status, complaint) = Writing::start(&data, &strace).end();
        assert!(!status.success(), "it went on after sync {nth} failed");
        assert!(complaint.contains("Input/output error"), "{complaint}");
        all.append(&mut told);
        nothing_lost(&all, &data, &format!("sync {nth} failed"));
    }
    assert!(all.len() > 50, "{} are too few to say anything", all.len());
}

#[test]
fn a_disk_that_fills_stops_the_process_and_loses_nothing_told() {
    let disk = Disk::small(3 << 19);
    let mut writing = Writing::start(&disk.data(), &[]);
    let begun = Instant::now();
    while writing.child.try_wait().expect("it is a child").is_none() {
        assert!(
            begun.elapsed() < LONG,
            "it goes on although the disk is full"
        );
        writing.listen(writing.told.len() + 100);
    }
    let (told, status, complaint) = writing.end();
    assert!(
        !status.success() && complaint.contains("No space left"),
        "{complaint}"
    );
    assert!(
        told.len() > 50,
        "{} are too few to say anything",
        told.len()
    );
    tool("mount", &["-o", "remount,size=64m", text(&disk.root())]);
    nothing_lost(&told, &disk.data(), "the disk was full");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    files
}

#[test]
fn a_byte_that_rots_is_named_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    let mut writing = Writing::start(&origin, &[]);
    writing.listen(1500);
    writing.kill();
    let (told, ..) = writing.end();
    // Once more, so that what was being written when it died is no part of the trial.
    nothing_lost(&told, &origin, "killed");
    let rotting = [
        files(&origin.join("log")),
        files(&origin.join("snap")),
        vec![origin.join("node.json")],
    ];
    let mut named = 0;
    for file in rotting.concat() {
        let len = fs::metadata(&file).unwrap().len();
        for at in [0, len / 3, len - 1] {
            let trial = folder.path().join("trial");
            copy(&origin, &trial);
            let path = trial.join(file.strip_prefix(&origin).unwrap());
            let mut bytes = fs::read(&path).unwrap();
            bytes[at as usize] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let what = format!("byte {at} of {}", path.display());
            match found(&trial) {
                Ok(found) => assert!(told.is_subset(&found), "{what} costs what was told"),
                Err(why) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    assert!(
                        why.contains("damaged") || why.contains("newer"),
                        "{what}: {why}"
                    );
                    assert!(why.contains(name) || why.contains("snap"), "{what}: {why}");
                    named += 1;
                }
            }
            fs::remove_dir_all(&trial).unwrap();
        }
    }
    println!("{named} damages were named");
    assert!(named > 5, "{named} damages were named");
}
