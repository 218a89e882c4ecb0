//! One drill from its first process to its report.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tokio::sync::RwLock;

use super::agents::{self, AGENTS, Shifts};
use super::arena::{Arena, Chronicle};
use super::callers::{Callers, Habits};
use super::disk::Disks;
use super::nemesis::{Healing, Needs, Nemesis};
use super::report::{Ledger, Report};
use super::{declare, preload, settle};
use crate::lab::cluster::{Cluster, NAMES};
use crate::lab::hosts::Hosts;
use crate::lab::moments::What;
use crate::lab::{Kind, LabError, Phone};

/// What is done in a drill.
#[derive(Clone)]
pub struct Plan {
    pub kind: Kind,
    pub seed: u64,
    pub nemeses: Vec<&'static Nemesis>,
    /// Strikes until so much time is over; `None`: each nemesis once.
    pub length: Option<Duration>,
    /// Two at a time, if there are two.
    pub pairs: bool,
    /// How long a fault lasts.
    pub hold: (Duration, Duration),
    /// Between two strikes.
    pub rest: Duration,
    pub calls_per_minute: u32,
}

impl Plan {
    /// One strike of each of these, as the tests do it.
    pub fn once(kind: Kind, seed: u64, nemeses: Vec<&'static Nemesis>) -> Plan {
        Plan {
            kind,
            seed,
            nemeses,
            length: None,
            pairs: false,
            hold: (Duration::from_secs(4), Duration::from_secs(7)),
            rest: Duration::from_secs(2),
            calls_per_minute: match kind {
                Kind::Sim => 100,
                Kind::Real => 24,
            },
        }
    }

    fn again(&self) -> String {
        let names: Vec<&str> = self.nemeses.iter().map(|nemesis| nemesis.name).collect();
        let mut words = format!("make drill NEMESIS={} SEED={}", names.join(","), self.seed);
        if let Some(length) = self.length {
            words += &format!(" FOR={}s", length.as_secs());
        }
        if self.kind == Kind::Real {
            words += " REAL=1";
        }
        if self.pairs {
            words += " PAIRS=1";
        }
        words
    }

    fn needs(&self) -> Needs {
        let all = self.nemeses.iter().map(|nemesis| nemesis.needs);
        all.fold(Needs::default(), Needs::and)
    }
}

/// Carries out the plan on hosts made for it, and tells what came of it. Root is needed.
pub fn perform(plan: &Plan) -> Report {
    let report = Arc::new(Mutex::new(Report {
        seed: plan.seed,
        again: plan.again(),
        ..Report::default()
    }));
    let chronicle = Chronicle::default();
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let hosts = Hosts::enter(&NAMES)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| LabError::Io {
                what: "runtime".into(),
                source,
            })?;
        runtime.block_on(drill(plan, hosts, chronicle.clone(), report.clone()))
    }));
    let mut report = std::mem::take(&mut *lock(&report));
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => report.violations.push(error.to_string()),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            report
                .violations
                .push(words.unwrap_or_else(|| "the drill panicked".into()));
        }
    }
    report.done = chronicle.lines();
    if report.is_clean()
        && let Some(folder) = report.folder.take()
    {
        // A folder left behind in the temporary folder is no reason to fail a drill.
        let _ = std::fs::remove_dir_all(folder);
    }
    report
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn drill(
    plan: &Plan,
    hosts: Arc<Hosts>,
    chronicle: Chronicle,
    report: Arc<Mutex<Report>>,
) -> Result<(), LabError> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let needs = plan.needs();
    let mut cluster = Cluster::prepare_on(plan.kind, &hosts, needs.wire).await;
    cluster.keep_folder();
    let folder: PathBuf = cluster.folder().into();
    lock(&report).folder = Some(folder.clone());
    preload::prepare(&mut cluster, needs)?;
    let disks = match needs.disk {
        true => Disks::make(&folder, &NAMES)?,
        false => Disks::default(),
    };
    let cluster = cluster.begin().await;
    cluster.apply(&declare::queues()).await;
    let phones = agents::phones(&cluster, &mut rng).await?;
    for (agent, _) in AGENTS {
        cluster.login(agent).await;
    }
    let mut arena = Arena {
        hosts,
        cluster: Arc::new(RwLock::new(cluster)),
        rng,
        chronicle,
        disks,
        hold: plan.hold,
    };
    arena.note("the load begins");
    let habits = Habits {
        seed: plan.seed ^ 0xca11,
        per_minute: plan.calls_per_minute,
        queues: declare::NAMES.map(str::to_owned).to_vec(),
        patience_ms: (4_000, 15_000),
    };
    let (shared, chronicle) = (arena.cluster.clone(), arena.chronicle.clone());
    let mut callers = Callers::begin(shared.clone(), chronicle.clone(), habits);
    let mut shifts = Shifts::begin(shared, chronicle, plan.seed ^ 0x5417);
    tokio::time::sleep(plan.rest).await;

    let struck = strike_all(plan, &mut arena, &report).await;
    callers.stop().await;
    shifts.stop().await;
    struck?;
    settle::settle(&arena, &callers).await;
    finish(&arena, &callers, &phones, &report).await;
    // In this order, so that a disk is given back when nobody writes to it any more.
    let mut cluster = arena.cluster.write().await;
    for name in NAMES {
        cluster.kill(name);
    }
    Ok(())
}

/// Strikes until the plan is done.
async fn strike_all(
    plan: &Plan,
    arena: &mut Arena,
    report: &Mutex<Report>,
) -> Result<(), LabError> {
    let begun = tokio::time::Instant::now();
    let mut order = plan.nemeses.clone();
    order.shuffle(&mut arena.rng);
    let mut turn = 0;
    loop {
        let over = match plan.length {
            None => turn >= order.len(),
            Some(length) => begun.elapsed() >= length,
        };
        if over || order.is_empty() {
            return Ok(());
        }
        if turn > 0 && turn % order.len() == 0 {
            order.shuffle(&mut arena.rng);
        }
        let mut picked = vec![order[turn % order.len()]];
        if plan.pairs && order.len() > 1 && arena.rng.random_bool(0.7) {
            let others: Vec<_> = order
                .iter()
                .filter(|other| other.name != picked[0].name)
                .collect();
            picked.extend(others.choose(&mut arena.rng).copied());
        }
        turn += 1;
        strike_once(&picked, arena, report).await?;
        tokio::time::sleep(plan.rest).await;
    }
}

async fn strike_once(
    picked: &[&'static Nemesis],
    arena: &mut Arena,
    report: &Mutex<Report>,
) -> Result<(), LabError> {
    let names: Vec<&str> = picked.iter().map(|nemesis| nemesis.name).collect();
    let name = names.join(" with ");
    arena.note(format!("--- {name}"));
    let struck_ms = wall_ms();
    let mut healings: Vec<Healing> = Vec::new();
    for nemesis in picked {
        healings.push((nemesis.strike)(arena).await?);
    }
    arena.hold().await;
    let healed_ms = wall_ms();
    while let Some(healing) = healings.pop() {
        healing.heal(arena).await?;
    }
    settle::mend(arena).await?;
    let resumed = settle::resumed(arena, healed_ms).await;
    let gap = next_leg(arena, struck_ms)
        .await
        .filter(|at| *at < healed_ms);
    arena.note(format!("--- healed; a phone was called {resumed} ms after"));
    let mut report = lock(report);
    report
        .figures
        .gaps
        .push((name, gap.map(|at| (at - struck_ms).max(0) as u64)));
    report.figures.recoveries.push(resumed);
    Ok(())
}

/// When the first phone was called after this moment, in milliseconds since the epoch.
pub(super) async fn next_leg(arena: &Arena, after_ms: i64) -> Option<i64> {
    let cluster = arena.cluster.read().await;
    let moments = cluster.oracle.moments();
    let legs = moments
        .iter()
        .filter(|moment| moment.what == What::Created && moment.phone.is_some());
    legs.map(|moment| moment.at_ms).find(|at| *at > after_ms)
}

/// The machine's wall clock, which the Asterisks stamp with too.
pub(super) fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as i64
}

/// Everything is over: enters the outcome.
async fn finish(arena: &Arena, callers: &Callers, phones: &[Phone], report: &Mutex<Report>) {
    let cluster = arena.cluster.read().await;
    let talks = cluster.oracle.talks();
    let (ledger, mut violations) = Ledger::enter(&callers.calls(), &talks);
    violations.extend(cluster.oracle.faults());
    violations.extend(settle::logs(&cluster));
    for phone in phones.iter().filter(|phone| phone.max_concurrent() > 1) {
        violations.push(format!(
            "agent {} was in {} calls at the same time",
            phone.number(),
            phone.max_concurrent()
        ));
    }
    let mut report = lock(report);
    report.figures.talks = talks.len() as u64;
    report.figures.legs = phones.iter().map(Phone::times_rung).sum();
    report.ledger = ledger;
    report.violations.append(&mut violations);
}
