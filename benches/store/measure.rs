//! One turn: so many writers write to one store for a while, after a warm-up that is not counted, and
//! what they and the servers took is noted. And many commands in a row, for the disk they leave behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clients::{self, Writer};
use crate::figures::{Growth, Turn, percentile};
use crate::proc::{self, Used};
use crate::servers::{Servers, System};
use crate::{Error, GROWTH_WRITERS, KEYS, VALUE};

const LEADER: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
/// For the last entries to be applied everywhere.
const CATCH_UP: Duration = Duration::from_millis(300);

/// How a turn is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub round: usize,
    pub writers: usize,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What one writer saw: when each acknowledged command began, and how long it took; and how many were refused.
type Seen = (Vec<(Instant, Duration)>, Vec<Instant>);

pub async fn turn(servers: &mut Servers, plan: Plan, dir: &Path) -> Result<Turn, Error> {
    servers.all_run()?;
    let leader = leading(servers).await?;
    proc::settle(dir)?;
    let writers = Writer::connect(servers.system, servers.doors[leader], plan.writers).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = JoinSet::new();
    for (number, writer) in writers.into_iter().enumerate() {
        let stop = stop.clone();
        let more = move || !stop.load(Ordering::Relaxed);
        writing.spawn(write(writer, number, more));
    }
    tokio::time::sleep(plan.warm_up).await;
    if servers.system == System::Holdfast {
        for door in &servers.doors {
            clients::forget(*door).await?;
        }
    }
    let load = proc::load();
    let before = (Used::by(&servers.pids)?, own()?);
    let begun = Instant::now();
    tokio::time::sleep(plan.measured).await;
    let until = Instant::now();
    let after = (Used::by(&servers.pids)?, own()?);
    stop.store(true, Ordering::Relaxed);
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some(done) = writing.join_next().await {
        let (seen, not) = done.map_err(|e| Error::new("a writer", e))??;
        // In the rate are those that ended within the time.
        let within = |ended: Instant| ended > begun && ended <= until;
        let mine = seen.iter().filter(|(at, took)| within(*at + *took));
        times.extend(mine.map(|(_, took)| micros(*took)));
        refused += not.into_iter().filter(|at| within(*at)).count();
    }
    times.sort_unstable();
    if times.is_empty() {
        let what = format!("{} writers to {}", plan.writers, servers.system.name());
        return Err(Error::new(what, "nothing was acknowledged"));
    }
    let lags = match servers.system {
        System::Holdfast => lags(servers, leader).await?,
        System::Etcd | System::Redis => Vec::new(),
    };
    let lag = |percent| (!lags.is_empty()).then(|| percentile(&lags, percent));
    let commands = times.len();
    let seconds = (until - begun).as_secs_f64();
    let used = after.0.since(before.0);
    let per_command = |all: f64| all / commands as f64;
    Ok(Turn {
        kind: "turn",
        round: plan.round,
        system: servers.system.name(),
        writers: plan.writers,
        seconds,
        commands,
        refused,
        rate: commands as f64 / seconds,
        p50_us: percentile(&times, 50),
        p99_us: percentile(&times, 99),
        max_us: percentile(&times, 100),
        cpu_us: per_command(used.cpu.as_secs_f64() * 1e6),
        writers_cpu_us: per_command(after.1.since(before.1).cpu.as_secs_f64() * 1e6),
        written: per_command(used.written as f64),
        lag_p50_us: lag(50),
        lag_p99_us: lag(99),
        load,
    })
}

/// Lets so many commands be written, and tells the disk use at the start and after each tenth.
pub async fn growth(
    servers: &mut Servers,
    commands: usize,
    mut tell: impl FnMut(Growth) -> Result<(), Error>,
) -> Result<(), Error> {
    let (begun, name) = (Instant::now(), servers.system.name());
    for tenth in 0..=10 {
        if tenth > 0 {
            let leader = leading(servers).await?;
            let door = servers.doors[leader];
            let writers = Writer::connect(servers.system, door, GROWTH_WRITERS).await?;
            let left = Arc::new(AtomicUsize::new(commands / 10));
            let mut writing = JoinSet::new();
            for (number, writer) in writers.into_iter().enumerate() {
                let left = left.clone();
                let one_less = |left: usize| left.checked_sub(1);
                let take =
                    move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
                writing.spawn(write(writer, number, move || take().is_ok()));
            }
            while let Some(done) = writing.join_next().await {
                let (_, refused) = done.map_err(|e| Error::new("a writer", e))??;
                if !refused.is_empty() {
                    return Err(Error::new(
                        name,
                        format!("refused {} writes", refused.len()),
                    ));
                }
            }
        }
        servers.all_run()?;
        let fullest = servers.folders.iter().max_by_key(|f| proc::disk_use(f));
        let fullest = fullest.ok_or_else(|| Error::new(name, "has no folder"))?;
        tell(Growth {
            kind: "growth",
            system: name,
            commands: commands / 10 * tenth,
            bytes: proc::disk_use(fullest),
            parts: parts(fullest),
            seconds: begun.elapsed().as_secs_f64(),
        })?;
    }
    Ok(())
}

fn parts(folder: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.path().is_dir());
    let part = |e: std::fs::DirEntry| {
        let name = e.file_name().to_string_lossy().into_owned();
        (name, proc::disk_use(&e.path()))
    };
    let mut parts: Vec<_> = folders.map(part).collect();
    parts.sort();
    parts
}

async fn write(mut writer: Writer, number: usize, more: impl Fn() -> bool) -> Result<Seen, Error> {
    let (mut seen, mut refused) = (Vec::new(), Vec::new());
    let value = [b'v'; VALUE];
    for turn in 0.. {
        if !more() {
            break;
        }
        // Keys that no other writer has at the moment, as far as there are enough.
        let key = format!("key-{:06}", (number * 7919 + turn) % KEYS);
        let at = Instant::now();
        match writer.put(key.as_bytes(), &value).await? {
            true => seen.push((at, at.elapsed())),
            false => {
                refused.push(Instant::now());
                // A store that refuses is not asked ten thousand times a second.
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Ok((seen, refused))
}

async fn leading(servers: &Servers) -> Result<usize, Error> {
    let begun = Instant::now();
    loop {
        if let Some(leader) = servers.leader().await {
            return Ok(leader);
        }
        if begun.elapsed() > LEADER {
            let what = servers.system.name();
            return Err(Error::new(what, format!("no leader within {LEADER:?}")));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// By how much later the followers applied what the leader applied, in microseconds, in order.
async fn lags(servers: &Servers, leader: usize) -> Result<Vec<i64>, Error> {
    tokio::time::sleep(CATCH_UP).await;
    let first: HashMap<u64, u64> = clients::applied(servers.doors[leader])
        .await?
        .into_iter()
        .collect();
    let mut lags = Vec::new();
    for (place, door) in servers.doors.iter().enumerate() {
        if place == leader {
            continue;
        }
        for (index, at) in clients::applied(*door).await? {
            if let Some(leaders) = first.get(&index) {
                lags.push(i64::try_from(at).unwrap_or(0) - i64::try_from(*leaders).unwrap_or(0));
            }
        }
    }
    lags.sort_unstable();
    Ok(lags)
}

fn own() -> Result<Used, Error> {
    Used::by(&[std::process::id()])
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
