//! Seeded people for the demo and for long tests: callers who arrive by chance, wait with limited
//! patience and talk for a while, and agents who mostly answer.
//!
//! The same seed gives the same callers at the same times. What becomes of them depends on the
//! system under test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::asterisk::SimAsterisk;
use crate::caller::{CallSpec, EndedBy};
use crate::handles::{Caller, Phone};
use crate::phone::{Habit, Person};

/// The most callers whose calls are under way at a time; further ones get no line.
const AT_A_TIME_MAX: usize = 10_000;

/// Who lives around the Asterisks. Ranges are (least, most) in milliseconds.
#[derive(Debug, Clone)]
pub struct CrowdSpec {
    /// Seed of all chance.
    pub seed: u64,
    /// Queues called, with equal chance.
    pub queues: Vec<String>,
    /// Mean rate of arrival over all Asterisks together.
    pub calls_per_minute: u32,
    /// How long a caller waits for an agent.
    pub patience_ms: (u64, u64),
    /// How long a caller talks; the agent's own habit may end the call earlier.
    pub talk_ms: (u64, u64),
    /// Agents: index of the Asterisk the phone registers at, and its number.
    pub agents: Vec<(usize, String)>,
    /// What the agents are like.
    pub person: Person,
}

/// What has become of the callers so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeopleReport {
    /// Calls placed.
    pub placed: u64,
    /// Calls that ended after talking to an agent.
    pub talked: u64,
    /// Calls whose caller gave up without having talked.
    pub gave_up: u64,
    /// Calls that came back into the dialplan without having talked, by QUEUESTATUS.
    pub returned: BTreeMap<String, u64>,
    /// Calls that ended because their Asterisk was killed.
    pub crashed: u64,
    /// Calls that ended in any other way without having talked: nothing of that kind may happen.
    pub lost: u64,
    /// Arrivals that found no line, because too many calls were under way.
    pub no_line: u64,
}

/// The people at work. Dropping it lets them go on.
pub struct Crowd {
    phones: Vec<Phone>,
    report: Arc<Mutex<PeopleReport>>,
    stop: watch::Sender<bool>,
    arrivals: JoinHandle<Vec<Caller>>,
}

impl Crowd {
    /// Registers the agents' phones and lets callers arrive at the Asterisks by turns of chance.
    pub fn start(asterisks: &[SimAsterisk], spec: CrowdSpec) -> Crowd {
        let phones = spec
            .agents
            .iter()
            .filter_map(|(at, number)| {
                Some(
                    asterisks
                        .get(*at)?
                        .phone(number, Habit::Person(spec.person)),
                )
            })
            .collect();
        let report = Arc::new(Mutex::new(PeopleReport::default()));
        let stop = watch::Sender::new(false);
        let asterisks = asterisks.to_vec();
        let arrivals = tokio::spawn(arrive(asterisks, spec, report.clone(), stop.subscribe()));
        Crowd {
            phones,
            report,
            stop,
            arrivals,
        }
    }

    /// The agents' phones, in the order of the specification.
    pub fn phones(&self) -> &[Phone] {
        &self.phones
    }

    /// How it stands.
    pub fn report(&self) -> PeopleReport {
        self.report
            .lock()
            .expect("no holder of this lock can panic")
            .clone()
    }

    /// Lets nobody arrive any more; answers the callers whose calls are still under way.
    pub async fn stop(self) -> (Vec<Caller>, PeopleReport) {
        self.stop.send_replace(true);
        let callers = self.arrivals.await.unwrap_or_default();
        let report = self
            .report
            .lock()
            .expect("no holder of this lock can panic")
            .clone();
        (callers, report)
    }
}

async fn arrive(
    asterisks: Vec<SimAsterisk>,
    spec: CrowdSpec,
    report: Arc<Mutex<PeopleReport>>,
    mut stop: watch::Receiver<bool>,
) -> Vec<Caller> {
    let mut rng = StdRng::seed_from_u64(spec.seed);
    let mut callers: Vec<Caller> = Vec::new();
    let mut at = tokio::time::Instant::now();
    let mut number: u64 = 0;
    if asterisks.is_empty() || spec.queues.is_empty() || spec.calls_per_minute == 0 {
        return callers;
    }
    loop {
        let mean_ms = 60_000.0 / f64::from(spec.calls_per_minute);
        let chance: f64 = rng.random_range(f64::EPSILON..1.0);
        at += Duration::from_secs_f64(-chance.ln() * mean_ms / 1000.0);
        number += 1;
        // Everything is drawn before waiting, so that the dice fall the same whatever happens.
        let asterisk = &asterisks[rng.random_range(0..asterisks.len())];
        let queue = &spec.queues[rng.random_range(0..spec.queues.len())];
        let mut within = |(least, most): (u64, u64)| rng.random_range(least..=most.max(least));
        let call = CallSpec {
            name: format!("Caller {number}"),
            patience_ms: Some(within(spec.patience_ms)),
            talk_ms: Some(within(spec.talk_ms)),
            ..CallSpec::new(&format!("q-{queue}"), &format!("5550{number:06}"))
        };
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            _ = stop.wait_for(|stop| *stop) => return callers,
        }
        callers.retain(|caller| caller.state() != crate::caller::CallerState::Ended);
        let mut counts = report.lock().expect("no holder of this lock can panic");
        if callers.len() >= AT_A_TIME_MAX {
            counts.no_line += 1;
            continue;
        }
        counts.placed += 1;
        drop(counts);
        let caller = asterisk.place_call(call);
        tokio::spawn(watch_end(caller.clone(), report.clone()));
        callers.push(caller);
    }
}

async fn watch_end(caller: Caller, report: Arc<Mutex<PeopleReport>>) {
    let end = caller.ended().await;
    let mut report = report.lock().expect("no holder of this lock can panic");
    match (end.talked_to.is_empty(), end.by) {
        (false, _) => report.talked += 1,
        (true, EndedBy::Caller) => report.gave_up += 1,
        (true, EndedBy::Crash) => report.crashed += 1,
        (true, EndedBy::Dialplan) => match end.dialplan.get("QUEUESTATUS") {
            Some(status) => *report.returned.entry(status.clone()).or_default() += 1,
            None => report.lost += 1,
        },
        (true, EndedBy::Ari) => report.lost += 1,
    }
}
