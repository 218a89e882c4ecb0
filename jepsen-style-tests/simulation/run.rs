//! One run: set up, load with faults, quiet, and the demand that everything goes on and comes to
//! an end; then the judgement.

use crate::asterisk::Asterisk;
use crate::book::{Clock, Violation};
use crate::clients::{SETTLED_MS, settings};
use crate::options::Options;
use crate::world::World;
use holdfast_acd::command::AdminOp;
use holdfast_acd::settings::{Connect, MemberSettings};
use holdfast_acd::{AgentId, PbxId, QueueName, RequestId};
use holdfast_drills::judge::history::{Answer, ClientSaw, Op, Rules, Seen};
use holdfast_drills::judge::{History, Limits, Property, judge};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For the first leader and the first admin writes.
const SET_UP_MS: u64 = 60_000;
/// After the faults: for the callers of the load to come to their ends.
const DRAIN_MS: u64 = 150_000;
/// For a caller who finds everybody at work to talk.
const PROBE_MS: u64 = 30_000;

/// What came out of a run.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub trace: (u64, u64),
    pub virtual_ms: u64,
    pub last: Vec<String>,
    pub callers: (u64, u64, u64),
    pub faults: u64,
    pub history: History,
    /// What the judge says, if he found something.
    pub report: String,
}

/// Runs a seed to its end.
pub fn run(options: Options, clock: Clock, trace: Option<File>) -> Outcome {
    let mut world = World::new(options, clock, trace);
    world.begin();
    phases(&mut world);
    let history = world.watch.recorder().history();
    let report = judged(&world, &history);
    Outcome {
        violation: world.book.violation(),
        trace: world.book.trace(),
        virtual_ms: world.now(),
        last: world.book.last(),
        callers: (world.watch.entered, world.watch.talked, world.watch.ended),
        faults: world.nemesis.begun,
        history,
        report,
    }
}

/// What the judge says of what was seen, if he finds something. What was found on the way stopped the
/// run, and stays the first violation; his word is added.
fn judged(world: &World, history: &History) -> String {
    let mut limits = Limits {
        node_lost_ms: world.options.node_lost_ms,
        ..Limits::simulation()
    };
    if world.book.violation().is_some() {
        // There may have been too little of everything.
        limits.demands.clear();
    }
    let verdict = judge(history, &limits);
    let Some(broken) = verdict.broken.first() else {
        return String::new();
    };
    let property = broken.violation.property();
    let name = property.map_or("the history".into(), |it| format!("{it:?}"));
    let what = format!("at {} ms: {}", broken.when.at_ms, broken.violation);
    match property {
        Some(Property::Heals) => world.book.overdue(&name, what),
        _ => world.book.violated(&name, what),
    }
    let names = verdict.broken_properties();
    let names: Vec<String> = names.iter().map(|it| format!("{it:?}")).collect();
    format!(
        "{}\nbroken properties: {}",
        verdict.report(),
        names.join(" ")
    )
}

fn phases(world: &mut World) {
    let declared = declared(world);
    if !writes(world, declared, SET_UP_MS) {
        return overdue(world, "set-up", "no leader took the first admin writes");
    }
    let until = world.now() + world.options.load_ms;
    while world.now() < until {
        world.live();
        world.pass();
        if world.book.violation().is_some() {
            return;
        }
    }
    world.heal();
    world.people.be_good(&world.asterisks);
    // What clients asked for last may still be done, a pause as well: nobody is made ready before.
    passes_until(world, SETTLED_MS, |_| false);
    let ready = everybody_ready(world);
    let asked = asked_to_be_ready(world);
    let written = writes(world, ready, DRAIN_MS);
    done(world, &asked);
    if !written {
        return overdue(
            world,
            "resumes",
            "after the faults no leader took admin writes",
        );
    }
    if !passes_until(world, DRAIN_MS, |world| world.watch.under_way() == 0) {
        let what = format!(
            "{} callers have not come to an end",
            world.watch.under_way()
        );
        return overdue(world, "every caller ends", &what);
    }
    if !passes_until(world, DRAIN_MS, is_empty) {
        return overdue(world, "no agent stays reserved", &left_over(world));
    }
    let driven = |world: &World| {
        let mut hosts = world.hosts.iter();
        hosts.all(|host| host.handle().is_some_and(|it| it.ari_status().connected))
    };
    if !passes_until(world, DRAIN_MS, driven) {
        return overdue(
            world,
            "every asterisk is driven",
            "one is not, long after the faults",
        );
    }
    probes(world);
    if world.book.violation().is_none() && !passes_until(world, DRAIN_MS, is_empty) {
        overdue(world, "no agent stays reserved", &left_over(world));
    }
    for host in &world.hosts {
        world.checks.standing(host);
    }
    world.watch.saw(Seen::Closed);
}

fn overdue(world: &World, property: &str, what: &str) {
    world.book.overdue(property, what.into());
}

/// Lets time pass until the condition holds; false if it did not in time, or a promise was broken.
fn passes_until(world: &mut World, ms: u64, holds: impl Fn(&World) -> bool) -> bool {
    let until = world.now() + ms;
    while !holds(world) {
        if world.now() >= until || world.book.violation().is_some() {
            return false;
        }
        world.pass();
    }
    true
}

/// The queues and agents of the options.
fn declared(world: &World) -> Vec<AdminOp> {
    let options = &world.options;
    let mut ops = Vec::new();
    for (queue, settings) in &options.queues {
        let rules = Rules {
            timeout_ms: settings.timeout_ms,
            wrap_up_ms: settings.wrap_up_ms,
            announce_ms: settings.announce.frequency_ms,
            announce_first_ms: settings.announce.first_after_ms,
            announce_min_ms: settings.announce.min_frequency_ms,
            announce_always: true,
            periodic_ms: settings.announce.periodic_frequency_ms,
            announce_limit: 0,
            dialplan: settings.connect == Connect::Dialplan,
            one_step: true,
        };
        world.watch.rules(queue, rules);
        ops.push(AdminOp::QueuePut {
            queue: queue_name(queue),
            settings: Box::new(settings.clone()),
        });
    }
    for (number, home, queues) in &options.agents {
        let agent = agent_id(number);
        let home = world.hosts[*home].name.as_str();
        ops.push(AdminOp::AgentPut {
            agent: agent.clone(),
            settings: settings("", PbxId::new(home).expect("a host's name is a name")),
        });
        for (place, queue) in queues.iter().enumerate() {
            let settings = MemberSettings {
                penalty: u32::try_from(place % 2).unwrap_or(0),
                ..MemberSettings::default()
            };
            ops.push(AdminOp::MemberPut {
                queue: queue_name(&options.queues[*queue].0),
                agent: agent.clone(),
                settings,
            });
        }
        ops.push(AdminOp::AgentLogin { agent });
    }
    ops
}

/// What makes every agent take calls in the end.
fn everybody_ready(world: &World) -> Vec<AdminOp> {
    let agents = world.options.agents.iter();
    agents
        .flat_map(|(number, _, _)| {
            let agent = agent_id(number);
            let queue = None;
            [
                AdminOp::AgentLogin {
                    agent: agent.clone(),
                },
                AdminOp::AgentUnpause { agent, queue },
            ]
        })
        .collect()
}

/// The same as the judge has to know it: one operation that spans all attempts.
fn asked_to_be_ready(world: &mut World) -> Vec<u64> {
    let agents: Vec<String> = world.options.agents.iter().map(|it| it.0.clone()).collect();
    let mut asked = Vec::new();
    for agent in agents {
        let login = Op::Login {
            agent: agent.clone(),
        };
        let unpause = Op::Unpause { agent, queue: None };
        for op in [login, unpause] {
            let id = world.clients.next_op();
            let saw = ClientSaw::Invoke {
                client: format!("client-{id}"),
                node: "any".into(),
                op,
            };
            world.watch.saw(Seen::Client { op: id, saw });
            asked.push(id);
        }
    }
    asked
}

fn done(world: &World, asked: &[u64]) {
    for op in asked {
        let answer = Answer::Done;
        let saw = ClientSaw::Ok { answer };
        world.watch.saw(Seen::Client { op: *op, saw });
    }
}

fn queue_name(name: &str) -> QueueName {
    QueueName::new(name).expect("the options give names that are names")
}

fn agent_id(number: &str) -> AgentId {
    AgentId::new(number).expect("a number is an agent's name")
}

/// Has the writes done, one after the other, by way of the first node that runs; tried again until
/// each is known to be done.
fn writes(world: &mut World, ops: Vec<AdminOp>, ms: u64) -> bool {
    let until = world.now() + ms;
    for op in ops {
        let request = RequestId(world.random());
        let done = Arc::new(AtomicBool::new(false));
        let mut asked_at = None;
        while !done.load(Ordering::Relaxed) {
            if world.now() >= until || world.book.violation().is_some() {
                return false;
            }
            let due = asked_at.is_none_or(|at| world.now() >= at + 3_000);
            if due
                && let Some((host, handle)) = world
                    .hosts
                    .iter()
                    .find_map(|host| Some((host, host.handle()?)))
            {
                asked_at = Some(world.book.clock.now());
                let (op, done) = (op.clone(), done.clone());
                host.spawn(async move {
                    let wait = Duration::from_secs(3);
                    let answer = handle.admin(op, "set-up", Some(request), None, wait).await;
                    if answer.is_ok() {
                        done.store(true, Ordering::Relaxed);
                    }
                });
            }
            world.pass();
        }
    }
    true
}

/// No node knows of a call or of an agent who has something in hand, and all have applied the same.
fn is_empty(world: &World) -> bool {
    let mut applied = None;
    world.hosts.iter().all(|host| {
        host.handle().is_some_and(|handle| {
            let at = *handle.raft().applied().borrow();
            let same = *applied.get_or_insert(at) == at;
            same && handle.read(|state| {
                let free = |agent: &holdfast_acd::agent::Agent| {
                    agent.hand == holdfast_acd::agent::Hand::Free
                };
                state.calls().next().is_none() && state.agents().all(free)
            })
        })
    })
}

fn left_over(world: &World) -> String {
    let each = world.hosts.iter().map(|host| match host.handle() {
        None => format!("{} does not run", host.name),
        Some(handle) => handle.read(|state| {
            let calls: Vec<_> = state
                .calls()
                .map(|call| (call.id.0, &call.pbx, &call.channel, &call.phase))
                .collect();
            let agents: Vec<_> = state
                .agents()
                .map(|agent| {
                    let times = (agent.wrap_up_until, agent.retry_at);
                    let here = (agent.login_at.is_some(), agent.pause.is_some());
                    (agent.id.as_str(), &agent.hand, here, times, &agent.devices)
                })
                .collect();
            let pbxes: Vec<_> = state.pbxes().map(|it| (it.id.as_str(), it.sight)).collect();
            let applied = *handle.raft().applied().borrow();
            format!(
                "{} at {applied}, {}: calls {calls:?}, agents {agents:?}, asterisks {pbxes:?}",
                host.name,
                state.now()
            )
        }),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// At every Asterisk a caller for every queue that has agents: all must talk.
fn probes(world: &mut World) {
    let asterisks: Vec<Asterisk> = world.asterisks.clone();
    for asterisk in asterisks {
        for at in 0..world.options.queues.len() {
            let staffed = world
                .options
                .agents
                .iter()
                .any(|(_, _, queues)| queues.contains(&at));
            if !staffed {
                continue;
            }
            let queue = world.options.queues[at].0.clone();
            let serial = world
                .people
                .patient_call(&asterisk, &queue, &mut world.watch);
            let Some(serial) = serial else {
                let what = format!("{} did not take a call for {queue}", asterisk.name);
                return overdue(world, "resumes", &what);
            };
            let talked = |_: &World| asterisk.look(|pbx| !pbx.caller_talked_to(serial).is_empty());
            if !passes_until(world, PROBE_MS, talked) {
                let what = format!(
                    "a caller of {queue} at {} found nobody; {}",
                    asterisk.name,
                    left_over(world)
                );
                return overdue(world, "resumes", &what);
            }
        }
    }
}
