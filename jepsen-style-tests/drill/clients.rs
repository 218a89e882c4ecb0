//! Clients of the admin endpoints: they pause agents and bring them back, write values and read them,
//! each time through any node.
//!
//! Everything is written down as it was sent and as it was answered. An answer that did not come, or
//! that leaves open what was done, is unknown and never a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::agents::AGENTS;
use super::arena::SharedCluster;
use super::declare;
use crate::judge::Source;
use crate::judge::history::{Answer, ClientSaw, Op, Seen};
use crate::lab::cluster::NAMES;

/// Clients at work at the same time; one key never has more operations open than that, but for those
/// whose answer was lost.
const CLIENTS: u64 = 2;
/// Agents of which one is always left at work.
const NEVER_PAUSED: usize = 2;
/// So long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(6);

/// The clients.
pub struct Clients {
    desk: Desk,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a client needs.
#[derive(Clone)]
struct Desk {
    cluster: SharedCluster,
    source: Source,
    /// Numbers operations, and makes values unique.
    serial: Arc<AtomicU64>,
}

impl Clients {
    /// They begin. What is declared already counts as written.
    pub fn begin(cluster: SharedCluster, source: Source, seed: u64) -> Clients {
        let desk = Desk {
            cluster,
            source,
            serial: Arc::new(AtomicU64::new(1)),
        };
        for (agent, _) in AGENTS {
            desk.declared(agent);
        }
        let stop = watch::Sender::new(false);
        let client = |n: u64| {
            let rng = StdRng::seed_from_u64(seed ^ n);
            tokio::spawn(work(
                desk.clone(),
                format!("client-{n}"),
                rng,
                stop.subscribe(),
            ))
        };
        let tasks = (1..=CLIENTS).map(client).collect();
        Clients { desk, stop, tasks }
    }

    /// They end what they are at.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // It panics only if a test's own code does, and then the rest of it says so.
            let _ = task.await;
        }
    }

    /// Everybody comes back from lunch; says whom that was refused.
    pub async fn all_back(&self) -> Result<(), String> {
        for (agent, _) in AGENTS {
            let op = Op::Unpause {
                agent: agent.into(),
                queue: None,
            };
            if !self.desk.perform("foreman", NAMES[0], op).await {
                return Err(format!("agent {agent} could not be brought back"));
            }
        }
        Ok(())
    }
}

async fn work(desk: Desk, name: String, mut rng: StdRng, mut stop: watch::Receiver<bool>) {
    loop {
        let rest = Duration::from_millis(rng.random_range(200..900));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let serial = desk.serial.fetch_add(1, Ordering::Relaxed);
        let (paused, _) = AGENTS[rng.random_range(NEVER_PAUSED..AGENTS.len())];
        let (named, _) = AGENTS[rng.random_range(0..AGENTS.len())];
        let agent = paused.to_owned();
        let key = format!("name of {named}");
        let op = match rng.random_range(0..6) {
            0 => Op::Pause {
                agent,
                queue: None,
                reason: format!("lunch-{serial}"),
            },
            1 | 2 => Op::Unpause { agent, queue: None },
            3 => Op::ReadPause {
                agent,
                queue: None,
                stale: false,
            },
            4 => Op::Write {
                key,
                value: format!("v{serial}"),
            },
            _ => Op::Read { key, stale: false },
        };
        let node = NAMES.choose(&mut rng).expect("there are three of them");
        desk.perform(&name, node, op).await;
    }
}

impl Desk {
    /// The name that an agent was declared with.
    fn declared(&self, agent: &str) {
        let op = self.serial.fetch_add(1, Ordering::Relaxed);
        let write = Op::Write {
            key: format!("name of {agent}"),
            value: declare::name_of(agent),
        };
        let invoked = ClientSaw::Invoke {
            client: "declared".into(),
            node: NAMES[0].into(),
            op: write,
        };
        let answer = Answer::Done;
        for saw in [invoked, ClientSaw::Ok { answer }] {
            self.source.saw(Seen::Client { op, saw });
        }
    }

    /// One operation through one node; whether it was surely done.
    async fn perform(&self, client: &str, node: &str, op: Op) -> bool {
        let number = self.serial.fetch_add(1, Ordering::Relaxed);
        let api = self.cluster.read().await.site(node).api.clone();
        let saw = |saw| self.source.saw(Seen::Client { op: number, saw });
        saw(ClientSaw::Invoke {
            client: client.into(),
            node: node.into(),
            op: op.clone(),
        });
        let (method, path, body) = request(&op);
        let body = body.map(|text| ("application/json", text));
        let sent = tokio::time::timeout(PATIENCE, api.send(method, &path, body)).await;
        let outcome = match sent {
            Err(_) => ClientSaw::Unknown {
                why: "no answer in time".into(),
            },
            Ok(Err(why)) => ClientSaw::Unknown { why },
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => ClientSaw::Ok {
                answer: read(&op, &answer.body),
            },
            // Wrong questions are refused before anything is done. The rest leaves it open.
            Ok(Ok(answer)) if matches!(answer.status, 400..=404 | 422) => ClientSaw::Fail {
                why: format!("{} {}", answer.status, answer.text),
            },
            Ok(Ok(answer)) => ClientSaw::Unknown {
                why: format!("{} {}", answer.status, answer.text),
            },
        };
        let done = matches!(outcome, ClientSaw::Ok { .. });
        saw(outcome);
        done
    }
}

/// Method, path and body of an operation that this module makes.
fn request(op: &Op) -> (&'static str, String, Option<String>) {
    match op {
        Op::Pause { agent, reason, .. } => (
            "PUT",
            format!("/v1/agents/{agent}/pause"),
            Some(json!({ "reason": reason }).to_string()),
        ),
        Op::Unpause { agent, .. } => ("DELETE", format!("/v1/agents/{agent}/pause"), None),
        Op::ReadPause { agent, .. } => (
            "GET",
            format!("/v1/agents/{agent}?consistency=leader"),
            None,
        ),
        Op::Write { key, value } => (
            "PATCH",
            format!("/v1/agents/{}", agent_of(key)),
            Some(json!({ "name": value }).to_string()),
        ),
        Op::Read { key, .. } => (
            "GET",
            format!("/v1/agents/{}?consistency=leader", agent_of(key)),
            None,
        ),
        other => unreachable!("no client here does {other:?}"),
    }
}

fn agent_of(key: &str) -> &str {
    key.rsplit(' ').next().unwrap_or_default()
}

fn read(op: &Op, body: &serde_json::Value) -> Answer {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    match op {
        Op::ReadPause { .. } => Answer::Value(text(&body["pause"]["reason"])),
        Op::Read { .. } => Answer::Value(text(&body["settings"]["name"])),
        _ => Answer::Done,
    }
}
