//! One drill from its first process to its report.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tokio::sync::RwLock;

use super::agents::{self, AGENTS};
use super::arena::{Arena, Chronicle};
use super::callers::{Callers, Habits};
use super::clients::Clients;
use super::disk::Disks;
use super::inside::{self, Inside};
use super::nemesis::{ALL, Healing, Needs, Nemesis};
use super::report::{Ledger, Report};
use super::soak::{self, Meter};
use super::witness::Witness;
use super::workload::Workload;
use super::{declare, preload, settle};
use crate::judge::Recorder;
use crate::judge::history::{FaultSaw, NodeSaw, Seen};
use crate::lab::cluster::{Cluster, NAMES, PHONES};
use crate::lab::figures::wall_ms;
use crate::lab::hosts::Hosts;
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
    pub workload: Workload,
    /// How long callers wait before they hang up, least and most, in milliseconds.
    pub patience_ms: (u64, u64),
    /// How long a queue lets them wait, in milliseconds: less than the most patient would.
    pub max_wait_ms: u64,
    /// Memory, open files and disk are measured, and must be flat.
    pub measured: bool,
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
            hold: (Duration::from_millis(2_500), Duration::from_secs(4)),
            rest: Duration::from_secs(1),
            calls_per_minute: match kind {
                Kind::Sim => 140,
                Kind::Real => 24,
            },
            workload: Workload::default(),
            // Little, for a drill lasts until the last of them has gone.
            patience_ms: (3_000, 9_000),
            max_wait_ms: 7_000,
            measured: false,
        }
    }

    /// A fault every minute under a light load.
    pub fn soak(seed: u64, length: Duration, nemeses: Vec<&'static Nemesis>) -> Plan {
        Plan {
            length: Some(length),
            rest: Duration::from_secs(45),
            hold: (Duration::from_secs(5), Duration::from_secs(15)),
            calls_per_minute: 40,
            measured: true,
            ..Plan::once(Kind::Sim, seed, nemeses).with_patience()
        }
    }

    /// With callers who wait for so long that they outlast a leader, and a while without a majority.
    pub fn with_patience(self) -> Plan {
        Plan {
            patience_ms: (4_000, 15_000),
            max_wait_ms: 11_000,
            ..self
        }
    }

    fn again(&self) -> String {
        let names: Vec<&str> = self.nemeses.iter().map(|nemesis| nemesis.name).collect();
        let what = if self.measured { "soak" } else { "drill" };
        let names = match names.len() == ALL.len() {
            true => "all".to_owned(),
            false => names.join(","),
        };
        let mut words = format!("make {what} NEMESIS={names} SEED={}", self.seed);
        if let Some(length) = self.length {
            words += &format!(" FOR={}s", length.as_secs());
        }
        if self.kind == Kind::Real {
            words += " REAL=1";
        }
        if self.pairs {
            words += " PAIRS=1";
        }
        if self.workload != Workload::default() {
            words += &format!(" WORKLOAD={}", self.workload.name());
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
    let clock = chronicle.clone();
    let recorder = Recorder::new(move || clock.now_ms());
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
        let stage = Stage {
            plan,
            chronicle: chronicle.clone(),
            recorder: recorder.clone(),
            report: report.clone(),
        };
        runtime.block_on(stage.drill(hosts))
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
    report.judge(&recorder.history());
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

/// What one drill carries through all its parts.
struct Stage<'a> {
    plan: &'a Plan,
    chronicle: Chronicle,
    recorder: Recorder,
    report: Arc<Mutex<Report>>,
}

impl Stage<'_> {
    async fn drill(&self, hosts: Arc<Hosts>) -> Result<(), LabError> {
        let plan = self.plan;
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let needs = plan.needs();
        let mut cluster = Cluster::prepare_on(plan.kind, &hosts, needs.wire).await;
        cluster.keep_folder();
        let folder: PathBuf = cluster.folder().into();
        lock(&self.report).folder = Some(folder.clone());
        preload::prepare(&mut cluster, needs)?;
        let disks = match needs.disk {
            true => Disks::make(&folder, &NAMES)?,
            false => Disks::default(),
        };
        let begun_ms = wall_ms() - self.chronicle.now_ms() as i64;
        let witness = Witness::new(&self.recorder, begun_ms, &PHONES);
        let listener = witness.clone();
        cluster
            .oracle
            .tell(move |pbx, event| listener.hears(pbx, event));
        let cluster = cluster.begin().await;
        cluster
            .apply(&declare::queues(plan.workload, plan.max_wait_ms))
            .await;
        let seen = self.recorder.source(0);
        declare::rules(&seen, plan.workload, plan.max_wait_ms);
        let phones = agents::phones(&cluster, &mut rng).await?;
        for (agent, _) in AGENTS {
            cluster.login(agent).await;
        }
        let mut arena = Arena {
            hosts,
            cluster: Arc::new(RwLock::new(cluster)),
            rng,
            chronicle: self.chronicle.clone(),
            seen: seen.clone(),
            witness: witness.clone(),
            targets: BTreeSet::new(),
            struck: BTreeSet::new(),
            disks,
            hold: plan.hold,
        };
        for name in NAMES {
            arena.saw_node(
                name,
                NodeSaw::Started {
                    drives: name.into(),
                },
            );
        }
        let inside = Inside::begin(&arena.cluster, &self.recorder.source(inside::LATE_MS));
        if plan.measured {
            soak::fill(&arena.cluster).await?;
        }
        arena.note("the load begins");
        let habits = Habits {
            seed: plan.seed ^ 0xca11,
            per_minute: plan.calls_per_minute,
            first: plan.workload.first(plan.kind),
            queues: plan
                .workload
                .lines()
                .into_iter()
                .map(|it| it.name)
                .collect(),
            patience_ms: plan.patience_ms,
        };
        let shared = arena.cluster.clone();
        let mut callers = Callers::begin(shared.clone(), self.chronicle.clone(), habits);
        let mut clients = Clients::begin(shared, seen.clone(), plan.seed ^ 0x5417);
        let meter = plan
            .measured
            .then(|| Meter::begin(arena.cluster.clone(), self.chronicle.clone(), plan.seed));
        tokio::time::sleep(plan.rest).await;

        let struck = self.strike_all(&mut arena, &mut callers).await;
        clients.stop().await;
        if let Some(meter) = meter {
            self.flat(meter).await?;
        }
        struck?;
        // Faults are over, and the load goes on: now it has to heal.
        seen.saw(Seen::Quiet);
        settle::works(&arena).await;
        callers.stop().await;
        clients.all_back().await.map_err(LabError::Refused)?;
        settle::settle(&arena, &callers, plan.workload).await;
        witness.ends(&callers.calls());
        drop(inside);
        seen.saw(Seen::Closed);
        self.finish(&arena, &callers, &phones).await;
        // In this order, so that a disk is given back when nobody writes to it any more.
        let mut cluster = arena.cluster.write().await;
        for name in NAMES {
            cluster.kill(name);
        }
        Ok(())
    }

    /// Enters what was measured, and what was not flat.
    async fn flat(&self, meter: Meter) -> Result<(), LabError> {
        let table = meter.table.display().to_string();
        let (text, wrong) = meter.end().await?;
        let mut report = lock(&self.report);
        report.measured = format!("{text}  the whole table: {table}\n");
        report.violations.extend(wrong);
        Ok(())
    }

    /// Strikes until the plan is done.
    async fn strike_all(&self, arena: &mut Arena, callers: &mut Callers) -> Result<(), LabError> {
        let plan = self.plan;
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
            if turn > 0 && turn.is_multiple_of(order.len()) {
                order.shuffle(&mut arena.rng);
            }
            let mut picked = vec![order[turn % order.len()]];
            // Of two that are named both strike, of more now and then one alone.
            let both = order.len() == 2 || arena.rng.random_bool(0.7);
            if plan.pairs && order.len() > 1 && both {
                let others: Vec<_> = order
                    .iter()
                    .filter(|other| other.name != picked[0].name)
                    .filter(|other| !(other.costs_data && picked[0].costs_data))
                    .collect();
                picked.extend(others.choose(&mut arena.rng).copied());
                // What is struck first is healed last.
                picked.sort_by_key(|nemesis| !nemesis.costs_data);
            }
            turn += picked.len();
            if plan.workload.flood() > 0 {
                callers.flood(plan.workload.flood()).await;
                arena.note(format!("{} callers at once", plan.workload.flood()));
            }
            self.strike_once(&picked, arena).await?;
            tokio::time::sleep(plan.rest).await;
        }
    }

    async fn strike_once(
        &self,
        picked: &[&'static Nemesis],
        arena: &mut Arena,
    ) -> Result<(), LabError> {
        let names: Vec<&str> = picked.iter().map(|nemesis| nemesis.name).collect();
        let name = names.join(" with ");
        arena.note(format!("--- {name}"));
        let (struck_ms, struck_at) = (wall_ms(), arena.chronicle.now_ms());
        let fault = struck_at;
        arena.targets.clear();
        let mut healings: Vec<Healing> = Vec::new();
        // Those that must be replaced, for which the others are needed. They are struck first.
        let mut spoilt: BTreeSet<&str> = BTreeSet::new();
        for nemesis in picked {
            if arena.targets.len() == NAMES.len() {
                arena.note(format!("no node is left to strike with {}", nemesis.name));
                continue;
            }
            healings.push((nemesis.strike)(arena).await?);
            if nemesis.costs_data {
                spoilt.extend(arena.targets.iter().copied());
            }
        }
        let targets: Vec<String> = arena
            .targets
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        let begun = FaultSaw::Begun {
            name: name.clone(),
            no_quorum: picked.iter().any(|nemesis| nemesis.no_quorum)
                || targets.len() > 2
                || (picked.len() > 1 && targets.len() > 1),
            cut: targets.clone(),
            targets,
        };
        arena.seen.saw_at(
            struck_at,
            Seen::Fault {
                id: fault,
                saw: begun,
            },
        );
        arena.hold().await;
        let healed_ms = wall_ms();
        while let Some(healing) = healings.pop() {
            match healing.heal(arena).await {
                // The other of two may have left nothing that it could meet.
                Err(why @ LabError::NoEffect(_)) if picked.len() > 1 => {
                    arena.note(why.to_string());
                }
                healed => healed?,
            }
            if !healings.is_empty() && !spoilt.is_empty() {
                let others = NAMES.into_iter().filter(|name| !spoilt.contains(name));
                settle::mend(arena, &others.collect::<Vec<_>>()).await?;
            }
        }
        settle::mend(arena, &NAMES).await?;
        let resumed = settle::resumed(arena, healed_ms).await;
        let saw = FaultSaw::Ended;
        arena.seen.saw(Seen::Fault { id: fault, saw });
        let gap = next_leg(arena, struck_ms)
            .await
            .filter(|at| *at < healed_ms);
        arena.note(format!("--- healed; a phone was called {resumed} ms after"));
        let mut report = lock(&self.report);
        report
            .figures
            .gaps
            .push((name, gap.map(|at| (at - struck_ms).max(0) as u64)));
        report.figures.recoveries.push(resumed);
        Ok(())
    }

    /// Everything is over: enters the outcome.
    async fn finish(&self, arena: &Arena, callers: &Callers, phones: &[Phone]) {
        let cluster = arena.cluster.read().await;
        let talks = cluster.oracle.talks();
        let (ledger, mut violations) = Ledger::enter(&callers.calls(), &talks);
        violations.extend(cluster.oracle.faults());
        violations.extend(settle::logs(&cluster));
        // The phone of a dead Asterisk goes on with a call that is none any more, and nobody hangs up
        // one that was answered while its node died. The judge knows when; here they do not count.
        let alive = |phone: &&Phone| {
            let home = AGENTS.iter().find(|(agent, _)| *agent == phone.number());
            home.is_none_or(|(_, home)| !arena.struck.contains(home))
        };
        for phone in phones
            .iter()
            .filter(alive)
            .filter(|p| p.max_concurrent() > 1)
        {
            violations.push(format!(
                "agent {} was in {} calls at the same time",
                phone.number(),
                phone.max_concurrent()
            ));
        }
        let mut report = lock(&self.report);
        report.figures.talks = talks.len() as u64;
        report.figures.legs = phones.iter().map(Phone::times_rung).sum();
        report.ledger = ledger;
        report.violations.append(&mut violations);
    }
}

/// When the first phone was called after this moment, in milliseconds since the epoch.
pub(super) async fn next_leg(arena: &Arena, after_ms: i64) -> Option<i64> {
    arena.cluster.read().await.oracle.phone_called(after_ms)
}
