//! Whether an installation under load and faults stays as big as it is: memory, open files, disk.
//!
//! Every few seconds each node's process and data folder are measured, into a table that can be drawn.
//! At the end the last quarter of the time is compared with the quarter before it. A node that was
//! restarted begins small again; what is looked for is growth without end, so medians are compared.
//! What is kept for longer than a soak lasts is filled up before it begins: answers of admin writes are kept
//! for a day, ten thousand of them, and take some ten megabytes.
//! The raft log alone may grow by two segments: it is purged by whole segments of 16 MiB, and an hour
//! under a light load does not fill one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::agents::AGENTS;
use super::arena::{Chronicle, SharedCluster};
use crate::lab::LabError;
use crate::lab::cluster::NAMES;
use holdfast_acd::limits::REQUESTS_MAX;

/// Between two measurements.
const EVERY: Duration = Duration::from_secs(5);
/// Less than so many measurements of a node in a quarter say nothing.
const LEAST: usize = 6;

/// One measurement of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    at_ms: u64,
    node: usize,
    rss_kib: u64,
    fds: u64,
    data_kib: u64,
    log_kib: u64,
    journal_kib: u64,
}

/// What is compared: its name, how it is read, and how much more is still flat: percent, and in its
/// own unit.
type Column = (&'static str, fn(&Sample) -> u64, u64, u64);

const COLUMNS: [Column; 5] = [
    ("memory, KiB", |sample| sample.rss_kib, 5, 6 * 1024),
    ("open files", |sample| sample.fds, 10, 8),
    (
        "data but the log",
        |sample| sample.data_kib.saturating_sub(sample.log_kib),
        15,
        4 * 1024,
    ),
    (
        "raft log, KiB",
        |sample| sample.log_kib,
        0,
        TWO_SEGMENTS_KIB,
    ),
    ("journal, KiB", |sample| sample.journal_kib, 15, 4 * 1024),
];
/// Two segments: the older of which goes when the newer is begun and a snapshot covers it.
const TWO_SEGMENTS_KIB: u64 = 2 * 16 * 1024;

/// Fills up the kept answers of admin writes, by writes that change nothing.
pub async fn fill(cluster: &SharedCluster) -> Result<(), LabError> {
    const AT_ONCE: usize = 16;
    let api = cluster.read().await.site(NAMES[0]).api.clone();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let api = api.clone();
        writers.spawn(async move {
            for _ in 0..REQUESTS_MAX.div_ceil(AT_ONCE) {
                api.unpause(AGENTS[0].0).await?;
            }
            Ok::<(), String>(())
        });
    }
    let written = writers.join_all().await;
    let written: Result<(), String> = written.into_iter().collect();
    written.map_err(LabError::Refused)
}

/// The measuring.
pub struct Meter {
    task: JoinHandle<Result<Vec<Sample>, LabError>>,
    stop: tokio::sync::watch::Sender<bool>,
    /// Where the table is.
    pub table: PathBuf,
}

impl Meter {
    /// Begins.
    pub fn begin(cluster: SharedCluster, chronicle: Chronicle, seed: u64) -> Meter {
        let table = std::env::temp_dir().join(format!("holdfast-soak-{seed}.csv"));
        let stop = tokio::sync::watch::Sender::new(false);
        let task = tokio::spawn(measure(cluster, chronicle, table.clone(), stop.subscribe()));
        Meter { task, stop, table }
    }

    /// Ends; what is to be told, and what was not flat.
    pub async fn end(self) -> Result<(String, Vec<String>), LabError> {
        self.stop.send_replace(true);
        let samples = self
            .task
            .await
            .map_err(|error| LabError::Refused(format!("the measuring broke off: {error}")))??;
        Ok(verdict(&samples))
    }
}

async fn measure(
    cluster: SharedCluster,
    chronicle: Chronicle,
    table: PathBuf,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Result<Vec<Sample>, LabError> {
    let failed = |source| LabError::Io {
        what: table.display().to_string(),
        source,
    };
    let mut file = std::fs::File::create(&table).map_err(failed)?;
    let head = "at_ms,node,rss_kib,fds,data_kib,log_kib,journal_kib";
    writeln!(file, "{head}").map_err(failed)?;
    let mut samples = Vec::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(samples),
        }
        let (folder, pids) = {
            let cluster = cluster.read().await;
            let pids: Vec<Option<u32>> = cluster.sites.iter().map(|s| s.process.pid()).collect();
            (cluster.folder().to_owned(), pids)
        };
        for (node, pid) in pids.into_iter().enumerate() {
            // A node that does not run now is measured again when it does.
            let Some(sample) = pid.and_then(|pid| look(&folder, node, pid, chronicle.now_ms()))
            else {
                continue;
            };
            let Sample {
                at_ms,
                rss_kib,
                fds,
                data_kib,
                log_kib,
                journal_kib,
                ..
            } = sample;
            let name = NAMES[node];
            writeln!(
                file,
                "{at_ms},{name},{rss_kib},{fds},{data_kib},{log_kib},{journal_kib}"
            )
            .map_err(failed)?;
            samples.push(sample);
        }
    }
}

fn look(folder: &Path, node: usize, pid: u32, at_ms: u64) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib = rss.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    let data = folder.join(NAMES[node]);
    Some(Sample {
        at_ms,
        node,
        rss_kib,
        fds,
        data_kib: size(&data) / 1024,
        log_kib: size(&data.join("log")) / 1024,
        journal_kib: size(&data.join("journal")) / 1024,
    })
}

/// Bytes of all files below a folder, those that vanish meanwhile left out.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |data| data.len()),
        })
        .sum()
}

/// Compares the last two quarters of the time.
fn verdict(samples: &[Sample]) -> (String, Vec<String>) {
    let end = samples.last().map_or(0, |sample| sample.at_ms);
    let begun = samples.first().map_or(0, |sample| sample.at_ms);
    let quarter = (end - begun) / 4;
    let (third, last) = (end - 2 * quarter, end - quarter);
    let mut text = String::from("medians of the third and the last quarter, and the most\n");
    let mut wrong = Vec::new();
    for (node, name) in NAMES.iter().enumerate() {
        for (what, read, percent, units) in COLUMNS {
            let of = |from: u64, to: u64| -> Vec<u64> {
                let within = samples.iter().filter(|s| s.node == node && s.at_ms > from);
                within.filter(|s| s.at_ms <= to).map(read).collect()
            };
            let (before, after) = (of(third, last), of(last, end));
            if before.len() < LEAST || after.len() < LEAST {
                wrong.push(format!(
                    "node {name}: too few measurements to compare {what}"
                ));
                continue;
            }
            let most = of(0, u64::MAX).into_iter().max().unwrap_or(0);
            let (before, after) = (median(before), median(after));
            writeln!(text, "  {name} {what:<17} {before:>8} {after:>8} {most:>8}")
                .expect("a text takes any length");
            let flat = before + before * percent / 100 + units;
            if after > flat {
                wrong.push(format!(
                    "node {name}: {what} grew from {before} to {after}, more than {percent} % and {units}"
                ));
            }
        }
    }
    (text, wrong)
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all[all.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rss_kib: impl Fn(u64) -> u64) -> Vec<String> {
        let samples: Vec<Sample> = (0..400)
            .flat_map(|n| (0..NAMES.len()).map(move |node| (n, node)))
            .map(|(n, node)| Sample {
                at_ms: n * 5_000,
                node,
                rss_kib: rss_kib(n),
                fds: 60,
                data_kib: 9_000,
                log_kib: 500,
                journal_kib: 4_000,
            })
            .collect();
        verdict(&samples).1
    }

    #[test]
    fn what_is_flat_or_was_restarted_passes_and_what_grows_does_not() {
        assert!(run(|_| 40_000).is_empty());
        assert!(run(|n| 30_000 + n % 60 * 100).is_empty());
        assert_eq!(run(|n| 30_000 + n * 100).len(), NAMES.len());
    }

    #[test]
    fn too_little_is_told_as_too_little() {
        let (_, wrong) = verdict(&[]);
        assert_eq!(wrong.len(), NAMES.len() * COLUMNS.len());
    }
}
